"""The projector's files, by the rules that TensorBoard reads them with."""

import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector as tensorboard_projector
from tensorboard.plugins.projector import projector_plugin

from garden.reports import projector


def write(directory, *, features=None, count=9, **changes):
    chance = np.random.default_rng(0)
    arguments = {
        "features": chance.normal(size=(count, 5)) if features is None else features,
        "labels": ["cat", "dog"],
        "true_indices": np.arange(count) % 2,
        "predicted_indices": np.zeros(count, int),
        "scores": np.full(count, 0.75),
        "thumbnails": np.zeros((count, 4, 6, 3), np.uint8),
        "paths": [Path("photos") / f"{k}.png" for k in range(count)],
        **changes,
    }
    return projector.write_projector(directory, **arguments)


def read_config(directory):
    text = (directory / "projector_config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, tensorboard_projector.ProjectorConfig())


def read_as_tensorboard_does(directory, embedding):
    path = str(directory / embedding.tensor_path)
    try:
        return projector_plugin._read_tensor_tsv_file(path)
    except UnicodeDecodeError:
        return projector_plugin._read_tensor_binary_file(path, embedding.tensor_shape)


def test_features_are_read_back_as_they_were(tmp_path):
    features = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    write(tmp_path, features=features)
    [embedding] = read_config(tmp_path).embeddings
    np.testing.assert_array_equal(read_as_tensorboard_does(tmp_path, embedding), features)
    for name in (embedding.tensor_path, embedding.metadata_path, embedding.sprite.image_path):
        assert (tmp_path / name).parent == tmp_path
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((9, 5)),
        # Bytes that are text up to the first line end: "AAAAAAAA\nAAA…".
        np.frombuffer((b"A" * 8 + b"\n" + b"A" * 31) * 4, "<f4").reshape(8, 5),
    ],
)
def test_features_that_look_like_text_are_written_as_text(tmp_path, features):
    count = len(features)
    write(tmp_path, count=count)
    assert (tmp_path / "features.bytes").is_file()
    write(tmp_path, features=features, count=count)
    assert (tmp_path / "features.tsv").is_file()
    assert not (tmp_path / "features.bytes").exists()
    embedding = read_config(tmp_path).embeddings[0]
    np.testing.assert_array_equal(read_as_tensorboard_does(tmp_path, embedding), features.astype(np.float32))


def test_metadata_has_a_header_and_a_line_for_each_image(tmp_path):
    paths = [Path("a\tb\n.png"), Path("x/c.png")]
    write(tmp_path, count=2, labels=["a cat\t", "dog"], paths=paths)
    assert (tmp_path / "metadata.tsv").read_text(encoding="utf-8").split("\n") == [
        "label\tpredicted\tanswer\tscore\tpicture",
        "a cat\ta cat\tright\t0.7500\ta b .png",
        "dog\ta cat\twrong\t0.7500\tc.png",
        "",
    ]


def test_the_sprite_is_a_square_grid_in_reading_order(tmp_path):
    thumbnails = np.stack([np.full((4, 6, 3), 40 * k, np.uint8) for k in range(5)])
    write(tmp_path, count=5, thumbnails=thumbnails)
    sprite = np.asarray(Image.open(tmp_path / "sprite.png"))
    assert sprite.shape == (12, 18, 3)
    assert [sprite[y * 4, x * 6, 0] for y, x in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]] == [0, 40, 80, 120, 160]
    assert list(read_config(tmp_path).embeddings[0].sprite.single_image_dim) == [6, 4]


def test_a_sprite_shrinks_to_what_the_projector_takes(monkeypatch):
    monkeypatch.setattr(projector, "MAXIMUM_SPRITE_SIDE", 100)
    sprite, tile = projector.sprite_image(np.full((10, 64, 32, 3), 7, np.uint8))
    assert tile == (12, 25)
    assert sprite.shape == (100, 48, 3)
    assert (sprite[:25, :12] == 7).all()


def test_sizes_that_do_not_fit_are_named(tmp_path):
    sentence = (
        "`features` must have shape (images, dimensions), with at least one image, and the other arguments as many "
        "images. Received: features (9, 5), sizes [8, 9]."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        write(tmp_path, scores=np.zeros(8))
