"""Weights come from a package, once, with the right hash, or with a sentence. pip works offline here."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import os
import stat
import subprocess
import sys
import zipfile

import pytest

from garden.errors import WeightsError
from garden.weights import fetching
from garden.weights.sources import WeightsSource

CONTENT = b"numbers " * 1000


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from, instead of any other place."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("GARDEN_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def source(index):
    """A package with a file of weights."""
    wheel = index / "tiny_weights_of_a_test-1.0-py3-none-any.whl"
    information = "tiny_weights_of_a_test-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/weights.bin", CONTENT)
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights-of-a-test\nVersion: 1.0\n"
        )
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return WeightsSource(
        package="tiny-weights-of-a-test",
        version="1.0",
        archive_sha256=sha256(wheel.read_bytes()),
        member="tiny/weights.bin",
        size=len(CONTENT),
        sha256=sha256(CONTENT),
        licence="MIT",
        notes="",
    )


def test_is_fetched_once_whole_and_readable_by_all(source, index, capsys):
    path = fetching.fetch(source)
    assert path == index.parent / "cache/weights/tiny-weights-of-a-test-1.0/weights.bin"
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in path.parent.iterdir()] == ["weights.bin"]
    assert capsys.readouterr().err == "fetching tiny-weights-of-a-test==1.0 (weights, 0 MB, MIT)\n"
    (index / "tiny_weights_of_a_test-1.0-py3-none-any.whl").unlink()
    assert fetching.fetch(source) == path
    assert capsys.readouterr().err == ""


def test_a_damaged_copy_in_the_cache_is_replaced(source):
    path = fetching.fetch(source)
    path.write_bytes(CONTENT[:-1])
    assert fetching.fetch(source).read_bytes() == CONTENT


def test_another_archive_than_expected_is_not_opened(source):
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(dataclasses.replace(source, archive_sha256="0" * 64))
    assert str(caught.value) == (
        "tiny-weights-of-a-test==1.0 came with another content than expected, so it is not used. "
        "Check which package index pip is configured for."
    )


def test_another_file_than_expected_is_not_used_nor_kept(source, index):
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(dataclasses.replace(source, sha256="0" * 64))
    assert str(caught.value) == (
        "tiny-weights-of-a-test 1.0 holds a weights.bin with another content than expected (sha256 "
        f"{source.sha256[:16]}…, not 0000000000000000…), so it is not used. "
        "Check which package index pip is configured for."
    )
    assert list((index.parent / "cache/weights/tiny-weights-of-a-test-1.0").iterdir()) == []


def test_a_file_longer_than_expected_is_not_copied_whole(source):
    with pytest.raises(WeightsError, match="with another content than expected"):
        fetching.fetch(dataclasses.replace(source, size=10))


def test_a_package_without_the_file_is_named(source):
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(dataclasses.replace(source, member="tiny/other.bin"))
    assert str(caught.value) == (
        "tiny_weights_of_a_test-1.0-py3-none-any.whl does not hold tiny/other.bin. "
        "Check which package index pip is configured for."
    )


def test_offline_says_what_to_do_by_hand(source, index):
    (index / "tiny_weights_of_a_test-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(source)
    assert str(caught.value) == (
        "pip could not fetch tiny-weights-of-a-test==1.0 (No matching distribution found for "
        "tiny-weights-of-a-test==1.0). Where there is a connection, `pip download --no-deps "
        "tiny-weights-of-a-test==1.0` gets it; put its tiny/weights.bin at "
        f"{index.parent}/cache/weights/tiny-weights-of-a-test-1.0/weights.bin."
    )


def test_a_full_disk_is_named_and_not_taken_for_a_missing_connection(source, index, monkeypatch):
    def full(command, **options):
        stderr = "ERROR: Exception:\nTraceback (most recent call last):\nOSError: [Errno 28] No space left on device\n"
        return subprocess.CompletedProcess(command, 2, "", stderr)

    monkeypatch.setattr(subprocess, "run", full)
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(source)
    assert str(caught.value) == (
        f"Weights cannot be kept in {index.parent}/cache/weights/tiny-weights-of-a-test-1.0 (No space left on device). "
        "Make room or set GARDEN_CACHE to a directory that can be written."
    )


def test_a_python_without_pip_is_named(source, index, monkeypatch):
    python = index / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(source)
    assert str(caught.value).startswith(
        "This Python has no pip, which fetches tiny-weights-of-a-test==1.0. Install pip. Where there is a connection, "
    )


def test_a_cache_that_cannot_be_written_is_named(source, index, monkeypatch):
    (index / "file").write_text("")
    monkeypatch.setenv("GARDEN_CACHE", str(index / "file"))
    with pytest.raises(WeightsError) as caught:
        fetching.fetch(source)
    assert str(caught.value) == (
        f"Weights cannot be kept in {index}/file/weights/tiny-weights-of-a-test-1.0 (Not a directory). "
        "Make room or set GARDEN_CACHE to a directory that can be written."
    )


@pytest.mark.parametrize("content", [CONTENT, b"something else"])
def test_an_installed_package_is_taken_if_its_file_is_right(source, index, monkeypatch, content):
    (index / "site/tiny").mkdir(parents=True)
    (index / "site/tiny/weights.bin").write_bytes(content)
    information = index / "site/tiny_weights_of_a_test-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights-of-a-test\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(index / "site")
    assert importlib.metadata.version("tiny-weights-of-a-test") == "1.0"
    path = fetching.fetch(source)
    assert path.read_bytes() == CONTENT
    assert (path == index / "site/tiny/weights.bin") is (content == CONTENT)
