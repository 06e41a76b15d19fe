"""Which folders are versions, which versions are chosen, what polling tells the manager."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from serving.config import ModelConfig, PolicyKind, VersionPolicy
from serving.errors import InvalidArgument
from serving.source import FileSystemSource, choose_versions, find_models, find_versions, parse_version


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1), ("00000123", 123), ("+5", 5), ("-2", -2), (" 7 ", 7), ("0", 0),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None),
        ("", None), ("1.0", None), ("v1", None), ("1e3", None), ("1_000", None), ("١", None), (".5.partial", None),
    ],
)  # fmt: skip
def test_parse_version(name, version):
    assert parse_version(name) == version


def make(base: Path, *names: str) -> Path:
    for name in names:
        (base / name).mkdir(parents=True)
    return base


def test_of_duplicates_the_later_name_wins(tmp_path, caplog):
    make(tmp_path, "1", "001", "notes")
    assert find_versions(tmp_path) == {1: tmp_path / "1"}
    assert caplog.messages == [
        f"Duplicate version directories detected. Version 1 will be loaded from {tmp_path}/1, "
        f"{tmp_path}/001 will be ignored."
    ]


VERSIONS = {version: Path(str(version)) for version in (1, 2, 10, 9)}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (VersionPolicy(), {10}),
        (VersionPolicy(num_versions=2), {9, 10}),
        (VersionPolicy(num_versions=9), {1, 2, 9, 10}),
        (VersionPolicy(PolicyKind.ALL), {1, 2, 9, 10}),
        (VersionPolicy(PolicyKind.SPECIFIC, versions=(2, 7)), {2}),
        (VersionPolicy(PolicyKind.SPECIFIC), set()),
    ],
)
def test_choose_versions(policy, chosen):
    assert set(choose_versions(VERSIONS, policy)) == chosen


class Aspirations(dict):
    def __call__(self, name, versions):
        self[name] = set(versions)


def test_a_missing_base_path_leaves_its_model_alone_and_the_others_served(tmp_path, caplog):
    make(tmp_path, "a/1")
    aspired = Aspirations()
    models = [ModelConfig("gone", tmp_path / "gone"), ModelConfig("a", tmp_path / "a")]
    source = FileSystemSource(models, aspire=aspired)
    source.poll()
    source.poll()
    assert aspired == {"a": {1}}
    assert caplog.messages == [  # once, not at every poll
        "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path "
        f"{tmp_path}/gone for servable gone with error NOT_FOUND: {tmp_path}/gone not found"
    ]


def test_a_base_path_without_versions_unloads_and_warns(tmp_path, caplog):
    make(tmp_path, "a")
    aspired = Aspirations()
    FileSystemSource([ModelConfig("a", tmp_path / "a")], aspire=aspired).poll()
    assert aspired == {"a": set()}
    assert caplog.messages == [
        f"No versions of servable a found under base path {tmp_path}/a. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    ]


def finish(path: Path) -> None:
    (path / "saved_model.pb").touch()


def test_models_of_a_directory_come_and_go(tmp_path):
    make(tmp_path, "cats/1", "cats/2", "half/1", ".hidden/1", "notes")
    for finished in ("cats/1", ".hidden/1"):
        finish(tmp_path / finished)
    aspired = Aspirations()
    source = FileSystemSource([], aspire=aspired, models_dir=tmp_path)
    source.poll()
    assert aspired == {"cats": {1}}  # cats/2 and half/1 are still being copied
    finish(tmp_path / "cats/2")
    finish(tmp_path / "half/1")
    source.poll()
    assert aspired == {"cats": {2}, "half": {1}}
    assert source.names == {"cats", "half"}
    (tmp_path / "half").rename(tmp_path / ".half")
    source.poll()
    assert aspired == {"cats": {2}, "half": set()}
    assert source.names == {"cats"}


def test_an_unmounted_models_directory_changes_nothing(tmp_path, caplog):
    make(tmp_path, "models/cats/1")
    finish(tmp_path / "models/cats/1")
    aspired = Aspirations()
    source = FileSystemSource([], aspire=aspired, models_dir=tmp_path / "models")
    source.poll()
    (tmp_path / "models").rename(tmp_path / "away")
    source.poll()
    assert aspired == {"cats": {1}}
    assert caplog.messages == [f"Could not read models directory {tmp_path}/models: No such file or directory"]
    with pytest.raises(InvalidArgument):
        find_models(tmp_path / "models")


def test_polling_survives_anything(tmp_path, caplog, tools):
    make(tmp_path, "a/1")
    polls = []

    def aspire(name, versions):
        polls.append(versions)
        if len(polls) == 2:
            raise RuntimeError("a bug")

    source = FileSystemSource([ModelConfig("a", tmp_path / "a")], aspire=aspire, poll_wait_seconds=0.01)
    with caplog.at_level(logging.ERROR):
        source.start()
        tools.wait_for(lambda: len(polls) >= 4)
        source.stop()
    assert "Polling the models failed; trying again in 0.01 s." in caplog.messages


def test_a_zero_wait_polls_once_and_a_negative_one_never(tmp_path):
    make(tmp_path, "a/1")
    for wait, expected in ((0, {"a": {1}}), (-1, {})):
        aspired = Aspirations()
        source = FileSystemSource([ModelConfig("a", tmp_path / "a")], aspire=aspired, poll_wait_seconds=wait)
        source.start()
        source.stop()
        assert aspired == expected
