"""CNN codes: what a network makes of a picture before it names a class, as one vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import gallery_reader, input_space
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.session import Gallery, InspectionSession


def codes_of(network: InspectedNetwork, images: np.ndarray, *, path: str | None = None) -> np.ndarray:
    """The codes of some pictures.

    Source: Sharif Razavian et al., "CNN Features off-the-shelf", 2014, https://arxiv.org/abs/1403.6382

    Args:
        network: Whose codes.
        images: Prepared pictures; as many as memory holds maps of.
        path: Layer that is the code; a map is averaged over its positions. None takes the last before the scores.
    Input shape: `(pictures, height, width, channels)`.
    Output shape: `(pictures, channels of the layer)`, float32.
    """
    path = network.features_path() if path is None else network.check_path(path)

    def make() -> Any:
        @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.float32)])
        def run(x: tf.Tensor) -> tf.Tensor:
            output = tf.cast(network.run(x, [path])[path], tf.float32)
            positions = list(range(1, len(output.shape) - 1))
            return tf.reduce_mean(output, axis=positions) if positions else output

        return run

    return np.asarray(network.compiled(("codes", path, images.shape[1:]), make)(tf.constant(images, tf.float32)))


def of_gallery(session: InspectionSession, gallery: Gallery) -> np.ndarray:
    """The codes of a whole gallery, computed once in a session: `(pictures, dimensions)`, float32."""
    path = session.layer_or(session.network.features_path)
    key = ("codes", path)
    if key not in session.cache:
        session.cache[key] = np.concatenate(
            [
                codes_of(session.network, input_space.prepare(session.network.image_spec, pixels), path=path)
                for _, pixels in gallery_reader.batches(session, gallery, "codes")
            ]
        )
    return np.asarray(session.cache[key])
