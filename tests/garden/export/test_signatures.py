"""The four signatures: names, types, shapes, and answers known on paper, through a TF1 Session."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from garden.errors import ExportError
from garden.export import signatures
from garden.export.saved_model_session import SavedModelSession
from garden.export.verification import make_example

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta")


@pytest.fixture(scope="module")
def session(exported_colours: Any) -> Iterator[SavedModelSession]:
    with SavedModelSession(exported_colours.path) as session:
        yield session


def strings(*values: bytes) -> np.ndarray:
    return np.array(values, dtype=object)


def declared(session: SavedModelSession, name: str) -> dict[str, tuple[tf.DType, list[int | None]]]:
    definition = session.signatures[name]
    tensors = {**definition.inputs, **definition.outputs}
    return {
        alias: (tf.dtypes.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape).as_list())
        for alias, info in tensors.items()
    }


def test_signatures_are_declared_as_designed(session: SavedModelSession) -> None:
    assert set(session.signatures) - {"__saved_model_init_op"} == {
        "serving_default",
        "pixels",
        "features",
        "classify",
    }
    assert declared(session, "serving_default") == {
        "image_bytes": (tf.string, [None]),
        "classes": (tf.string, [None, 5]),
        "scores": (tf.float32, [None, 5]),
    }
    assert declared(session, "pixels") == {
        "pixels": (tf.uint8, [None, None, None, 3]),
        "scores": (tf.float32, [None, 6]),
        "logits": (tf.float32, [None, 6]),
    }
    assert declared(session, "features") == {
        "image_bytes": (tf.string, [None]),
        "features": (tf.float32, [None, 3]),
    }
    assert declared(session, "classify") == {
        "inputs": (tf.string, [None]),
        "classes": (tf.string, [None, 5]),
        "scores": (tf.float32, [None, 5]),
    }


def test_encoded_inputs_end_in_bytes_so_that_rest_clients_send_base64(session: SavedModelSession) -> None:
    for name in ("serving_default", "features"):
        [alias] = session.signatures[name].inputs
        assert alias.endswith("_bytes")


def test_method_names_are_those_of_tf_serving(session: SavedModelSession) -> None:
    methods = {name: definition.method_name for name, definition in session.signatures.items()}
    assert methods["classify"] == "tensorflow/serving/classify"
    assert {methods[name] for name in ("serving_default", "pixels", "features")} == {"tensorflow/serving/predict"}


def test_best_classes_come_first_with_calibrated_scores(
    session: SavedModelSession, plain_picture: Any, colour_scores: Any
) -> None:
    answer = session.run(
        "serving_default",
        {"image_bytes": strings(plain_picture((255, 0, 0)), plain_picture((0, 230, 255), height=30, width=9))},
    )
    for row, colour in enumerate([(255, 0, 0), (0, 230, 255)]):
        scores = colour_scores(colour)
        order = np.argsort(-scores, kind="stable")[:5]
        assert [name.decode() for name in answer["classes"][row]] == [COLOURS[index] for index in order]
        np.testing.assert_allclose(answer["scores"][row], scores[order], atol=1e-6)
    assert answer["scores"].dtype == np.float32


def test_pixels_answer_in_label_order(session: SavedModelSession, colour_scores: Any, colour_logits: Any) -> None:
    pixels = np.empty((2, 21, 11, 3), np.uint8)
    pixels[0], pixels[1] = (255, 0, 0), (40, 80, 120)
    answer = session.run("pixels", {"pixels": pixels})
    for row, colour in enumerate([(255, 0, 0), (40, 80, 120)]):
        np.testing.assert_allclose(answer["logits"][row], colour_logits(colour), atol=1e-5)
        np.testing.assert_allclose(answer["scores"][row], colour_scores(colour), atol=1e-6)


def test_features_are_what_the_head_sees(session: SavedModelSession, plain_picture: Any) -> None:
    answer = session.run("features", {"image_bytes": strings(plain_picture((51, 102, 255)))})
    np.testing.assert_allclose(answer["features"], [[0.2, 0.4, 1.0]], atol=1e-6)


def test_classify_reads_the_image_of_an_example(session: SavedModelSession, plain_picture: Any) -> None:
    encoded = [plain_picture((255, 0, 0)), plain_picture((0, 0, 255))]
    examples = strings(*(make_example(image_bytes) for image_bytes in encoded))
    answer = session.run("classify", {"inputs": examples})
    expected = session.run("serving_default", {"image_bytes": strings(*encoded)})
    assert answer["classes"].tolist() == expected["classes"].tolist()
    assert answer["classes"][:, 0].tolist() == [b"red", b"blue"]
    np.testing.assert_array_equal(answer["scores"], expected["scores"])


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_every_format_of_the_contract_is_decoded(
    session: SavedModelSession, encode: Any, colour_scores: Any, encoding: str
) -> None:
    image_bytes = encode(np.full((16, 24, 3), (255, 0, 0)), encoding)
    answer = session.run("serving_default", {"image_bytes": strings(image_bytes)})
    assert answer["classes"][0, 0] == b"red"
    # JPEG and WebP are off by a few levels of 255.
    assert answer["scores"][0, 0] == pytest.approx(colour_scores((255, 0, 0))[0], abs=0.02)


def test_empty_batches_get_empty_answers(session: SavedModelSession) -> None:
    assert session.run("serving_default", {"image_bytes": strings()})["classes"].shape == (0, 5)
    assert session.run("classify", {"inputs": strings()})["scores"].shape == (0, 5)
    assert session.run("features", {"image_bytes": strings()})["features"].shape == (0, 3)
    assert session.run("pixels", {"pixels": np.zeros((0, 0, 0, 3), np.uint8)})["logits"].shape == (0, 6)


def test_broken_picture_fails_with_the_decoders_words(session: SavedModelSession) -> None:
    with pytest.raises(ExportError, match="The signature 'serving_default' fails: .*JPEG, PNG, GIF, BMP or WebP"):
        session.run("serving_default", {"image_bytes": strings(b"no picture")})


def test_two_classes_answer_two(colour_model: Any, tmp_path: Path, plain_picture: Any) -> None:
    import keras

    head = keras.layers.Dense(2, name="logits")(colour_model.network.get_layer("mean").output)
    two = dataclasses.replace(
        colour_model, network=keras.Model(colour_model.network.inputs, head), labels=("yes", "nö")
    )
    classifier = signatures.ExportedClassifier(two, tmp_path / "labels.txt")
    answer = classifier.functions["serving_default"](tf.constant([plain_picture((1, 2, 3))]))
    assert answer["classes"].shape == (1, 2)
    assert {name.decode() for name in answer["classes"].numpy()[0]} == {"yes", "nö"}


def test_unknown_is_answered_below_the_threshold_only(
    colour_model: Any, tmp_path: Path, plain_picture: Any, colour_scores: Any
) -> None:
    classifier = signatures.ExportedClassifier(colour_model, tmp_path / "labels.txt", answer_unknown=True)
    pictures = [plain_picture((255, 0, 0)), plain_picture((90, 90, 90))]
    assert colour_scores((255, 0, 0)).max() > colour_model.unknown_threshold > colour_scores((90, 90, 90)).max()
    answer = classifier.functions["serving_default"](tf.constant(pictures))
    assert answer["classes"].numpy()[:, 0].tolist() == [b"red", b"unknown"]
    assert b"unknown" not in answer["classes"].numpy()[:, 1:]
    np.testing.assert_allclose(answer["scores"][1, 0], colour_scores((90, 90, 90)).max(), atol=1e-6)
    examples = tf.constant([make_example(picture) for picture in pictures])
    answer = classifier.functions["classify"](examples)
    assert answer["classes"].numpy()[:, 0].tolist() == [b"red", b"unknown"]


def test_unknown_without_a_threshold_is_a_wrong_call(colour_model: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`answer_unknown` needs a threshold"):
        signatures.ExportedClassifier(
            dataclasses.replace(colour_model, unknown_threshold=None), tmp_path / "labels.txt", answer_unknown=True
        )


def test_network_is_untouched(convolutional_model: Any, tmp_path: Path, plain_picture: Any) -> None:
    network = convolutional_model.network
    before = [weight.numpy() for weight in network.weights]
    trainable = [layer.trainable for layer in network.layers]
    classifier = signatures.ExportedClassifier(convolutional_model, tmp_path / "labels.txt")
    classifier.functions["serving_default"](tf.constant([plain_picture((1, 2, 3))]))
    for weight, old in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), old)
    assert [layer.trainable for layer in network.layers] == trainable
