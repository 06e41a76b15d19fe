"""Which folders are versions, which versions are chosen, what polling tells the manager."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from serving.config import ModelConfig, PolicyKind, VersionPolicy
from serving.errors import InvalidArgument
from serving.source import FileSystemSource, choose_versions, find_models, index_by_version, parse_version


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


@pytest.mark.parametrize(
    ("policy", "folder"),
    [
        (VersionPolicy(), "1"),
        (VersionPolicy(PolicyKind.SPECIFIC, versions=(1,)), "1"),
        (VersionPolicy(PolicyKind.ALL), "001"),  # both are named, and the manager keeps the first
    ],
)
def test_of_duplicates_one_is_loaded(tmp_path, caplog, policy, folder):
    make(tmp_path, "1", "001", "01", "notes")
    aspired = {}
    FileSystemSource([ModelConfig("m", tmp_path, policy)], aspire=aspired.__setitem__).poll()
    assert aspired == {"m": {1: tmp_path / folder}}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            "Duplicate version directories detected. Version 1 will be loaded from 01, 001 will be ignored.",
        ),
        ("WARNING", "Duplicate version directories detected. Version 1 will be loaded from 1, 01 will be ignored."),
    ]


VERSIONS = {version: [str(version)] for version in (1, 2, 10, 9)}


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


@pytest.mark.parametrize(
    ("policy", "sentences"),
    [
        (
            VersionPolicy(PolicyKind.SPECIFIC, versions=(1, 5, 4)),
            [
                f"Version {version} of servable a, which was requested to be served as a 'specific' version in the "
                "servable's version policy, was not found in the file system"
                for version in (4, 5)
            ],
        ),
        (VersionPolicy(PolicyKind.SPECIFIC), ["No specific versions requested for servable a."]),
    ],
)
def test_what_is_said_of_specific_versions(tmp_path, caplog, policy, sentences):
    make(tmp_path, "1")
    aspired = Aspirations()
    FileSystemSource([ModelConfig("a", tmp_path, policy)], aspire=aspired).poll()
    assert aspired == {"a": {1} & set(policy.versions)}
    assert caplog.messages == sentences
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_a_plain_file_is_no_base_path(tmp_path, caplog):
    (tmp_path / "a").touch()
    source = FileSystemSource([ModelConfig("a", tmp_path / "a")], aspire=Aspirations())
    source.poll()
    assert source.problem("a") == (
        f"Could not find base path {tmp_path}/a for servable a with error FAILED_PRECONDITION: {tmp_path}/a; "
        "Not a directory"
    )
    (tmp_path / "a").unlink()
    make(tmp_path, "a/1")
    source.poll()
    assert source.problem("a") is None


def test_names_below_a_base_path():
    assert index_by_version(["2", "x", "002", "2", "-1"]) == {2: ["002", "2"], -1: ["-1"]}


def test_another_list_takes_effect_at_once_and_what_is_gone_is_not_aspired(tmp_path, tools):
    make(tmp_path, "a/1", "b/2")
    aspired = Aspirations()
    source = FileSystemSource([ModelConfig("a", tmp_path / "a")], aspire=aspired, poll_wait_seconds=1000)
    source.start()
    assert source.wait_for_poll(20)
    assert aspired == {"a": {1}}
    source.update([ModelConfig("b", tmp_path / "b")])
    tools.wait_for(lambda: aspired == {"a": set(), "b": {2}})
    assert source.names == {"b"}
    source.stop()


def test_a_zero_wait_polls_once_and_a_negative_one_never(tmp_path):
    make(tmp_path, "a/1")
    for wait, expected in ((0, {"a": {1}}), (-1, {})):
        aspired = Aspirations()
        source = FileSystemSource([ModelConfig("a", tmp_path / "a")], aspire=aspired, poll_wait_seconds=wait)
        source.start()
        assert source.wait_for_poll(20)
        source.stop()
        assert aspired == expected
