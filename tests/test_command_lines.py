"""Every command: help with an example, one sentence and the right exit code when it goes wrong."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from garden import cli, commands

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("command", commands.load_all(), ids=lambda command: command.NAME)
def test_help_has_an_example_and_fits_the_page(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command.NAME, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert f"garden {command.NAME} " in command.DESCRIPTION, "the description shows the command as one types it"
    assert command.DESCRIPTION.splitlines()[0] in printed
    assert command.HELP and not command.HELP.endswith(".")


def test_the_list_of_commands_and_the_files_agree():
    files = {path.stem.removesuffix("_command") for path in (ROOT / "garden/commands").glob("*_command.py")}
    assert files == set(commands.NAMES)


def test_an_unknown_command_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["finetun"])
    assert stop.value.code == 2
    assert "invalid choice: 'finetun'" in capsys.readouterr().err


def test_wrong_usage_is_one_sentence_and_exit_code_2(capsys):
    code = cli.main(["finetune", "photos", "--architecture", "lenet5", "--output", "run", "--folds", "1"])
    printed = capsys.readouterr()
    assert code == 2 and not printed.out
    assert printed.err == (
        "garden finetune: --folds 1 leaves nothing to hold out; give 2 or more, or 0 for one split.\n"
    )


def test_the_generated_pages_are_fresh():
    for script in ("write_command_line.py", "write_catalogue.py"):
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / script, "--check"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_a_terminal_without_unicode_is_no_reason_to_fail(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert cli.main(["list", "lenet5"]) == 0
    sys.stdout.flush()
    assert b"32\\xd732\\xd71" in written.getvalue()
