"""The SavedModel as every peer calls it: a session's callable, which takes a third of the time of a signature.

Also how a peer's process learns what it hosts: `SERVED_MODEL` is a version's directory, `SERVED_SIGNATURE` a signature.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

NUMPY_TYPES = {1: np.dtype(np.float32), 4: np.dtype(np.uint8), 7: np.dtype(object)}


class Engine:
    """One signature of a SavedModel: arrays by name in, arrays by name out."""

    def __init__(self) -> None:
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], os.environ["SERVED_MODEL"])
        signature = meta_graph.signature_def[os.environ["SERVED_SIGNATURE"]]
        self.input_types: dict[str, Any] = {name: NUMPY_TYPES[info.dtype] for name, info in signature.inputs.items()}
        self._outputs = sorted(signature.outputs)
        options = config_pb2.CallableOptions()
        options.feed.extend(signature.inputs[name].name for name in self.input_types)
        options.fetch.extend(signature.outputs[name].name for name in self._outputs)
        self._call = session._make_callable_from_options(options)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs of the signature."""
        return dict(zip(self._outputs, self._call(*(inputs[name] for name in self.input_types)), strict=True))

    def array(self, name: str, values: Any) -> np.ndarray:
        """An input from what JSON holds: nested lists of numbers, or strings in base64, bare or as `{"b64": …}`."""
        if self.input_types[name].kind != "O":
            return np.asarray(values, self.input_types[name])
        texts = [value["b64"] if isinstance(value, dict) else value for value in values]
        return np.array([base64.b64decode(text) for text in texts], object)


def plain(array: np.ndarray) -> Any:
    """An output as JSON holds it."""
    if array.dtype != object:
        return array.tolist()
    return [[value.decode() for value in row] for row in array]
