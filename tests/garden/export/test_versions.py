"""Versions appear whole or not at all, each exporter gets its own, and leftovers are swept."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from garden.errors import ExportError, ResourceError, UsageError
from garden.export import versions


def contents(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_first_version_is_one(tmp_path: Path) -> None:
    assert versions.next_version(tmp_path / "not there") == 1
    assert versions.next_version(tmp_path) == 1


def test_next_version_is_one_above_the_highest_number_that_tf_serving_reads(tmp_path: Path) -> None:
    for name in ("1", "0007", "9.bak", "v12", "99999999999999999999", ".exporting-55", "-3"):
        (tmp_path / name).mkdir()
    (tmp_path / "5").write_text("a plain file counts, as in TF Serving")
    assert versions.versions(tmp_path) == [-3, 1, 5, 7]
    assert versions.next_version(tmp_path) == 8


def test_published_version_holds_what_was_written(tmp_path: Path) -> None:
    with versions.publish(tmp_path / "models", "pets") as publication:
        (publication.aside / "variables").mkdir()
        (publication.aside / "variables" / "data").write_text("weights")
        assert versions.versions(tmp_path / "models" / "pets") == []
    assert publication.path == tmp_path / "models" / "pets" / "1"
    assert publication.version == 1
    assert (publication.path / "variables" / "data").read_text() == "weights"
    assert contents(tmp_path / "models" / "pets") == ["1"]


def test_version_is_unknown_before_the_end(tmp_path: Path) -> None:
    with versions.publish(tmp_path, "pets") as publication:
        (publication.aside / "file").touch()
        with pytest.raises(ValueError, match="known only after"):
            publication.version  # noqa: B018


def test_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), versions.publish(tmp_path / "models", "pets") as publication:
        (publication.aside / "half").write_text("x")
        raise KeyboardInterrupt
    assert contents(tmp_path) == []


def test_failing_writer_leaves_older_versions_alone(tmp_path: Path) -> None:
    (tmp_path / "pets" / "4").mkdir(parents=True)
    with pytest.raises(RuntimeError), versions.publish(tmp_path, "pets"):
        raise RuntimeError
    assert contents(tmp_path / "pets") == ["4"]


def write_until_killed(models: Path, ready: multiprocessing.synchronize.Event) -> None:
    with versions.publish(models, "pets") as publication:
        (publication.aside / "half").write_text("x")
        ready.set()
        signal.pause()


def test_killed_writer_publishes_nothing_and_is_swept_later(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=write_until_killed, args=(tmp_path, ready))
    writer.start()
    assert ready.wait(timeout=30)
    assert writer.pid is not None
    [aside] = (tmp_path / "pets").iterdir()
    os.utime(aside, (0, 0))

    # The writer lives and holds its lock: another export must leave it alone, however old it looks.
    with versions.publish(tmp_path, "pets") as publication:
        (publication.aside / "file").touch()
    assert aside.exists()

    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert contents(tmp_path / "pets") == [aside.name, "1"]
    assert versions.versions(tmp_path / "pets") == [1]
    os.utime(aside, (0, 0))
    with versions.publish(tmp_path, "pets") as publication:
        (publication.aside / "file").touch()
    assert contents(tmp_path / "pets") == ["1", "2"]


def test_fresh_leftover_is_not_swept(tmp_path: Path) -> None:
    # Its writer may be between making and locking it.
    (tmp_path / "pets" / f"{versions.ASIDE_PREFIX}fresh").mkdir(parents=True)
    with versions.publish(tmp_path, "pets") as publication:
        (publication.aside / "file").touch()
    assert contents(tmp_path / "pets") == [f"{versions.ASIDE_PREFIX}fresh", "1"]


def test_exporters_at_once_get_different_versions(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    published: list[tuple[int, str]] = []

    def work(index: int) -> None:
        with versions.publish(tmp_path, "pets") as publication:
            (publication.aside / "who").write_text(str(index))
            together.wait(timeout=30)
        published.append((publication.version, str(index)))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version for version, _ in published) == list(range(1, 9))
    for version, who in published:
        assert (tmp_path / "pets" / str(version) / "who").read_text() == who


def test_models_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("x")
    with pytest.raises(ExportError) as caught, versions.publish(tmp_path / "models", "pets"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/models is a file, but models are written into a directory. Name a directory with --models."
    )


@pytest.mark.parametrize(
    ("number", "kind", "sentence"),
    [
        (
            errno.ENOSPC,
            ResourceError,
            "The disk of {models} is full, so nothing was exported. Free some space, or name another directory "
            "with --models, and export again.",
        ),
        (
            errno.EACCES,
            ExportError,
            "{models} cannot be written (Permission denied), so nothing was exported. Give yourself permission to "
            "write there, or name another directory with --models.",
        ),
        (
            errno.EROFS,
            ExportError,
            "{models} cannot be written (Read-only file system), so nothing was exported. Give yourself permission "
            "to write there, or name another directory with --models.",
        ),
    ],
)
def test_refusals_of_the_system_become_sentences(
    tmp_path: Path, number: int, kind: type[Exception], sentence: str
) -> None:
    models = tmp_path / "models"
    with pytest.raises(kind) as caught, versions.publish(models, "pets") as publication:
        (publication.aside / "half").touch()
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == sentence.format(models=models)
    assert not models.exists()


@pytest.mark.parametrize("name", ["", "a/b", "a:b", ".hidden", "-flag", "with blank", "..", "ä"])
def test_names_that_no_url_carries(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError) as caught, versions.publish(tmp_path, name):
        pass
    assert str(caught.value) == (
        f"{name!r} cannot be the name of a served model: clients write it into URLs, and it is a directory. "
        "Use letters, digits, '_', '-' and '.', not beginning with '.' or '-', such as --name pets."
    )
    assert contents(tmp_path) == []


@pytest.mark.parametrize("name", ["pets", "pets_2", "v1.0", "resnet-50", "7"])
def test_names_that_can_be_served(name: str) -> None:
    versions.check_model_name(name)
