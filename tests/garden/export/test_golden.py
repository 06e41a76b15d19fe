"""Golden examples: which pictures are chosen, and that a record reads back as it was written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from garden.errors import ExportError
from garden.export import golden


def put(folder: Path, name: str, image_bytes: bytes, label: str) -> tuple[Path, str, str]:
    path = folder / name
    path.write_bytes(image_bytes)
    return path, label, hashlib.sha256(image_bytes).hexdigest()


def test_answers_are_those_of_the_network(colour_model: Any, plain_picture: Any, colour_scores: Any) -> None:
    images = [golden.GoldenImage("grey.png", plain_picture((90, 60, 30)), "red")]
    recorded = golden.record(colour_model, images, answer_unknown=True)
    [example] = recorded.examples
    np.testing.assert_allclose(example.scores, colour_scores((90, 60, 30)), atol=1e-6)
    np.testing.assert_allclose(example.features, np.array([90, 60, 30]) / 255, atol=1e-6)
    assert recorded.labels == colour_model.labels
    assert recorded.unknown_threshold == 0.5
    assert recorded.tolerance == 1e-5
    assert golden.record(colour_model, images, answer_unknown=False).unknown_threshold is None


def test_half_precision_promises_less(colour_model: Any) -> None:
    import dataclasses

    import keras

    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D(name="mean", dtype="mixed_float16")(image)
    network = keras.Model(image, keras.layers.Dense(6, name="logits", dtype="float32")(x))
    recorded = golden.record(dataclasses.replace(colour_model, network=network), [], answer_unknown=False)
    assert recorded.tolerance == 2e-2


def test_record_reads_back_bit_for_bit(convolutional_model: Any, tmp_path: Path) -> None:
    recorded = golden.record(convolutional_model, golden.draw_images(), answer_unknown=False)
    golden.write(recorded, tmp_path)
    read = golden.read(tmp_path)
    assert (read.labels, read.tolerance, read.unknown_threshold) == (recorded.labels, 1e-5, None)
    for ours, theirs in zip(read.examples, recorded.examples, strict=True):
        assert ours.image == theirs.image
        np.testing.assert_array_equal(ours.scores, theirs.scores)
        np.testing.assert_array_equal(ours.logits, theirs.logits)
        np.testing.assert_array_equal(ours.features, theirs.features)


def test_changed_picture_is_noticed(convolutional_model: Any, tmp_path: Path) -> None:
    golden.write(golden.record(convolutional_model, golden.draw_images(), answer_unknown=False), tmp_path)
    picture = tmp_path / "assets.extra" / "golden" / "1.png"
    picture.write_bytes(picture.read_bytes()[:-1])
    with pytest.raises(ExportError) as caught:
        golden.read(tmp_path)
    assert str(caught.value) == (
        f"{picture} is missing or not the picture that was recorded (its sha256 differs). Export the run again."
    )


def test_directory_without_examples(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        golden.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no golden examples (there is no assets.extra/golden/golden.json). "
        "Name a version directory that `garden export` wrote, such as models/pets/1."
    )


def test_every_class_comes_before_a_second_of_one(tmp_path: Path, plain_picture: Any) -> None:
    files = [
        put(tmp_path, f"{label}{index}.png", plain_picture((index, len(label), 9)), label)
        for label in ("cat", "bear", "gnu")
        for index in range(3)
    ]
    chosen = list(golden.choose_images(files, count=4, root=tmp_path))
    labels = [image.label for image in chosen]
    assert labels[:3] == ["bear", "cat", "gnu"]
    assert labels[3] == "bear"
    by_content = sorted(file for file in files if file[1] == "bear")
    assert {chosen[0].source, chosen[3].source} <= {path.name for path, _, _ in by_content}
    assert list(golden.choose_images(list(reversed(files)), count=4, root=tmp_path)) == chosen


def test_gone_changed_broken_and_huge_pictures_are_passed_over(
    tmp_path: Path, plain_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = put(tmp_path, "sound.png", plain_picture((1, 2, 3)), "a")
    gone = put(tmp_path, "gone.png", plain_picture((4, 5, 6)), "a")
    gone[0].unlink()
    changed = put(tmp_path, "changed.png", plain_picture((7, 8, 9)), "a")
    changed[0].write_bytes(plain_picture((9, 8, 7)))
    broken = put(tmp_path, "broken.png", plain_picture((3, 2, 1))[:-20], "a")
    text = put(tmp_path, "text.png", b"text", "a")
    huge = put(tmp_path, "huge.png", plain_picture((5, 5, 5), height=400, width=400), "a")
    monkeypatch.setattr(golden, "MAXIMUM_IMAGE_BYTES", len(huge[0].read_bytes()) - 1)
    files = [gone, changed, broken, text, huge, sound]
    assert [image.source for image in golden.choose_images(files, count=6, root=tmp_path)] == ["sound.png"]
