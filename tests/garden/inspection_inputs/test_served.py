"""A server sees exactly the pixels that are asked about, although it prepares pictures itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from garden.errors import RemoteError
from garden.grpc_client import PredictClient
from garden.image_spec import ImageSpec
from garden.inspection_inputs.served import ServedClassifier


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
@pytest.mark.parametrize(
    ("height", "width", "fraction"), [(224, 224, 0.875), (8, 11, 0.875), (37, 20, 0.6), (9, 9, 1.0)]
)
def test_preparing_the_canvas_gives_back_the_pixels(resize: str, height: int, width: int, fraction: float) -> None:
    spec = ImageSpec(height, width, resize=resize, crop_fraction=fraction)
    classifier = ServedClassifier.__new__(ServedClassifier)
    classifier._image_spec = spec
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(spec.resize_pixels(classifier._on_canvas(pixels))), pixels)


def test_scores_of_a_server_are_those_of_the_network(fake_server: Any, colour_model: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    expected = colour_model.scores_of_logits(colour_model.predict_logits(pixels.astype(np.float32) / 255))
    with PredictClient(fake_server.address) as client:
        classifier = ServedClassifier(client, "colours", colour_model.image_spec, 6)
        np.testing.assert_allclose(classifier.probabilities(pixels), expected, atol=1e-5)
        assert classifier.name == f"colours at {fake_server.address}"
        # Requests stay small.
        assert len(fake_server.requests) == 2


def test_another_number_of_classes_is_told(fake_server: Any, colour_model: Any) -> None:
    with PredictClient(fake_server.address) as client:
        classifier = ServedClassifier(client, "colours", colour_model.image_spec, 3)
        with pytest.raises(RemoteError, match=r"answers with 6 classes, but the inspected network has 3; they are not"):
            classifier.probabilities(np.zeros((1, 8, 8, 3), np.uint8))
