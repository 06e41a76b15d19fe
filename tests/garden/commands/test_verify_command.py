"""`garden verify`: a table, and exit code 1 with a sentence where an answer differs."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from garden.commands import verify_command
from garden.errors import ExportError, RemoteError, UsageError


def verify(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    verify_command.add_arguments(parser)
    return verify_command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def changed_copy(exported_colours: Any, tmp_path: Path) -> Path:
    """The export with one recorded score that is off by 0.001."""
    copy = tmp_path / "colours" / "1"
    shutil.copytree(exported_colours.path, copy)
    file = copy / "assets.extra" / "golden" / "golden.json"
    facts = json.loads(file.read_text())
    facts["examples"][0]["scores"][0] += 0.001
    file.write_text(json.dumps(facts))
    return copy


def test_directory_that_answers_as_recorded(exported_colours: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # A model's directory means its highest version.
    assert verify(exported_colours.path.parent) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "IMAGE     SIGNATURE        OUTPUT    DIFFERENCE"
    assert len(lines) == 1 + 10 + 1
    assert lines[1].startswith("red.png   serving_default  scores  ")
    assert lines[-1] == f"{exported_colours.path} answers as recorded: 10 outputs within 1e-05."


def test_directory_that_answers_otherwise(changed_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(changed_copy) == 1
    told = capsys.readouterr()
    assert [line.split()[-1] for line in told.out.splitlines()].count("differs") == 3
    assert told.err == (
        f"garden verify: {changed_copy} does not answer as recorded: The scores of 'serving_default' for 'red.png' "
        "differ by 0.001, more than the tolerance of 1e-05. 2 more differ.\n"
    )
    assert verify(changed_copy, "--tolerance=0.01") == 0


def test_server_that_answers_as_recorded(
    exported_colours: Any, fake_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(exported_colours.path, "--address", fake_server.address) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"colours at {fake_server.address} answers as recorded: 10 outputs within 0.0001."
    )
    # The directory's own version is asked for, not the server's latest.
    assert {request.model_spec.version.value for request in fake_server.requests} == {1}


def test_server_that_answers_otherwise(
    changed_copy: Path, fake_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(changed_copy, "--address", fake_server.address) == 1
    assert "does not answer as recorded" in capsys.readouterr().err


def test_model_of_another_name(exported_colours: Any, fake_server: Any) -> None:
    with pytest.raises(RemoteError, match="serves no model 'shapes'"):
        verify(exported_colours.path, "--address", fake_server.address, "--name", "shapes")


def test_directory_without_an_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="holds no golden examples"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--tolerance=-1", "--tolerance must be 0 or more. Received: -1.0."),
        ("--tolerance=nan", "--tolerance must be 0 or more. Received: nan."),
        ("--timeout=0", "--timeout must be above 0 seconds. Received: 0."),
    ],
)
def test_wrong_numbers(tmp_path: Path, flag: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        verify(tmp_path, flag)
    assert str(caught.value) == sentence
