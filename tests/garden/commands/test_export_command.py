"""`garden export`: a run becomes a version, with pictures of its validation split."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import pytest

from garden.commands import export_command
from garden.data import image_folder, split
from garden.errors import ExportError, RunError, UsageError
from garden.export import golden, manifest, verify_directory


@pytest.fixture
def run_directory(colour_model: Any, tmp_path: Path, plain_picture: Any) -> Path:
    """A finished run: network, split of four photos, model card."""
    photos = tmp_path / "photos"
    files = []
    for label in ("red", "blue"):
        for index in range(2):
            path = photos / label / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = (250 - index, 0, 0) if label == "red" else (0, 0, 250 - index)
            path.write_bytes(plain_picture(colour))
            content_hash = hashlib.sha256(path.read_bytes()).hexdigest()
            index_of_label = colour_model.labels.index(label)
            files.append(image_folder.LabelledFile(path, index_of_label, content_hash))
    run = tmp_path / "run"
    colour_model.save(run)
    validation = (files[0], files[2])
    recorded = split.Split(train=(files[1], files[3]), validation=validation, test=())
    split.write_split_csv(recorded, run / "split.csv", class_names=colour_model.labels)
    (run / "model_card.md").write_text("# Colours\n")
    return run


def export(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    export_command.add_arguments(parser)
    return export_command.run(parser.parse_args([str(word) for word in words]))


def test_run_becomes_a_version_with_its_photos_and_card(
    run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    assert export(run_directory, "--models", models, "--name", "colours") == 0
    version = models / "colours" / "1"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Wrote {version} (")
    assert lines[0].endswith(" MB): colours, version 1.")
    assert lines[1] == (
        "Optimized for answering, with the answers of the trained network (--no-optimize writes it as it is)."
    )
    assert lines[3:] == [f"Next: garden serve {models}", "      garden predict PHOTO --model colours"]
    assert (version / "assets.extra" / "model_card.md").read_text() == "# Colours\n"
    assert manifest.read(version)["answers_unknown"] is False
    recorded = golden.read(version)
    assert [example.image.label for example in recorded.examples] == ["blue", "red"]
    assert verify_directory(version).problems == []


def test_photos_stay_home_on_request(run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = tmp_path / "models"
    words = (run_directory, "--models", models, "--name", "colours", "--golden-images", "0", "--answer-unknown")
    assert export(*words) == 0
    assert "validation photo" not in capsys.readouterr().err
    recorded = golden.read(models / "colours" / "1")
    assert {example.image.label for example in recorded.examples} == {None}
    assert recorded.unknown_threshold == 0.5


def test_photos_that_are_gone_are_replaced_by_drawn_ones(
    run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in (tmp_path / "photos").rglob("*.png"):
        photo.unlink()
    models = tmp_path / "models"
    assert export(run_directory, "--models", models, "--name", "colours") == 0
    assert capsys.readouterr().err == (
        "No validation photo of the run is at hand any more; drawn pictures are recorded instead.\n"
    )
    assert golden.read(models / "colours" / "1").examples[0].image.source == "drawn, JPEG 64x48"


def test_directory_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no trained network"):
        export(tmp_path, "--models", tmp_path / "models", "--name", "colours")
    assert not (tmp_path / "models").exists()


def test_name_is_checked_before_the_network_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'a/b' cannot be the name of a served model"):
        export(tmp_path, "--models", tmp_path / "models", "--name", "a/b")


def test_negative_number_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export(tmp_path, "--models", tmp_path, "--name", "a", "--golden-images", "-1")
    assert str(caught.value) == "--golden-images is a number of pictures. Received: -1."


def test_models_directory_that_is_a_file(run_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    with pytest.raises(ExportError, match="models is a file, but models are written into a directory"):
        export(run_directory, "--models", tmp_path / "models", "--name", "colours")
