"""`garden serve`: what it refuses, and what it becomes."""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from garden.commands import serve_command
from garden.errors import ExportError, UsageError


def parse(*argv):
    parser = argparse.ArgumentParser()
    serve_command.add_arguments(parser)
    return parser.parse_args(list(argv))


@pytest.fixture
def executed(monkeypatch):
    commands = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    return commands


def make_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()


def test_becomes_the_server(tmp_path, executed):
    make_model(tmp_path / "cats" / "3")
    serve_command.run(parse(str(tmp_path), "--port", "0", "--rest-port", "9000"))
    assert executed == [
        [sys.executable, "-m", "serving", f"--models_dir={tmp_path}", "--port=0", "--rest_api_port=9000",
         "--host=0.0.0.0", "--enable_batching", "--enable_web_page", "--enable_model_listing"]
    ]  # fmt: skip


def test_a_relative_folder_is_made_absolute(tmp_path, executed, monkeypatch):
    make_model(tmp_path / "models" / "cats" / "3")
    monkeypatch.chdir(tmp_path)
    serve_command.run(parse("models", "--no-batching"))
    assert executed[0][3] == f"--models_dir={tmp_path}/models"
    assert "--enable_batching" not in executed[0]


def test_flags_of_the_server_are_handed_on(tmp_path, executed):
    make_model(tmp_path / "cats" / "3")
    flags = ("--server-flags=--engine=openvino", "--server-flags=--rest_strict_format")
    serve_command.run(parse(str(tmp_path), "--no-batching", "--no-web-page", *flags))
    assert executed[0][6:] == ["--host=0.0.0.0", "--engine=openvino", "--rest_strict_format"]


def test_a_flag_of_the_server_without_dashes(tmp_path, executed):
    make_model(tmp_path / "cats" / "3")
    with pytest.raises(UsageError) as raised:
        serve_command.run(parse(str(tmp_path), "--server-flags", "engine=openvino"))
    assert str(raised.value) == (
        "'engine=openvino' is no flag of the server. Write it whole: --server-flags=--engine=openvino"
    )
    assert executed == []


def refusal(*argv):
    with pytest.raises(ExportError) as raised:
        serve_command.run(parse(*argv))
    return str(raised.value)


def test_a_missing_folder(tmp_path, executed):
    assert refusal(str(tmp_path / "no")) == (
        f"{tmp_path}/no is not a folder. Give the folder that `garden export --models` wrote to, with "
        "DIR/NAME/VERSION/saved_model.pb in it."
    )
    assert executed == []


def test_a_folder_without_models(tmp_path, executed):
    (tmp_path / "cats" / "notes").mkdir(parents=True)
    assert refusal(str(tmp_path)) == (
        f"{tmp_path} holds no exported model; one looks like DIR/NAME/VERSION/saved_model.pb. "
        f"Make one with: garden export RUN --models {tmp_path} --name NAME"
    )


def test_one_model_instead_of_a_folder_of_models(tmp_path, executed):
    make_model(tmp_path / "cats" / "3")
    assert refusal(str(tmp_path / "cats")) == (
        f"{tmp_path}/cats is one model, not a folder of models. Serve the folder above it: garden serve {tmp_path}"
    )


def test_one_version_instead_of_a_folder_of_models(tmp_path, executed):
    make_model(tmp_path / "cats" / "3")
    assert refusal(str(tmp_path / "cats" / "3")) == (
        f"{tmp_path}/cats/3 is one version of a model, not a folder of models. Serve the folder two above it: "
        f"garden serve {tmp_path}"
    )


def test_ports_have_a_range(tmp_path, executed):
    make_model(tmp_path / "cats" / "3")
    with pytest.raises(UsageError) as raised:
        serve_command.run(parse(str(tmp_path), "--rest-port", "70000"))
    assert str(raised.value) == "--rest-port must be 0 to 65535; got 70000."
