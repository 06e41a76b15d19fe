"""Requests that TF Serving replays before a version becomes available, so that no client waits for a first call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from garden import tensor_protos
from garden.export import signatures
from garden.image_spec import ImageSpec

# Where TF Serving looks for it, below the version directory.
WARM_UP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

Inputs = Mapping[str, np.ndarray]


def make_requests(image_spec: ImageSpec, image_bytes: bytes) -> list[tuple[str, Inputs]]:
    """`(signature, inputs)` of the requests: one encoded picture, and one picture as pixels.

    Args:
        image_spec: The network's; the pixels come in its size.
        image_bytes: A small encoded picture.
    """
    pixels = np.zeros((1, image_spec.height, image_spec.width, 3), np.uint8)
    encoded = np.array([image_bytes], dtype=object)
    return [(signatures.SERVING_DEFAULT, {"image_bytes": encoded}), (signatures.PIXELS, {"pixels": pixels})]


def write(version_directory: Path, name: str, requests: list[tuple[str, Inputs]]) -> None:
    """Write the requests as a TFRecord of PredictionLog, the form that TF Serving reads.

    Args:
        version_directory: Where `saved_model.pb` lies.
        name: The model's name.
        requests: As `make_requests` gives them.
    """
    path = version_directory / WARM_UP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for input_name, value in inputs.items():
                request.inputs[input_name].CopyFrom(tensor_protos.to_proto(value))
            writer.write(log.SerializeToString())
