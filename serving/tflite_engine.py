"""The engine of `model.tflite` files: TensorFlow Lite's interpreter, a signature at a time.

Source: TF Serving's TfLiteSession (servables/tensorflow/tflite_session.cc): a version directory with a `model.tflite`,
the file's own signatures, and a pool of interpreters, for one serves one request at a time.
"""

from __future__ import annotations

import logging
import queue
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from serving import signatures
from serving.errors import DeadlineExceeded, Internal, InvalidArgument, NotFound, Unavailable
from serving.messages import DEFAULT_SIGNATURE, Signature
from serving.servable import Engine, Servable

_log = logging.getLogger(__name__)

MODEL_FILE = "model.tflite"
_PREDICT = "tensorflow/serving/predict"


class TfLiteEngine:
    """Loads `model.tflite` of a version."""

    def __init__(self, *, num_interpreters: int, otherwise: Engine | None = None) -> None:
        """
        Args:
            num_interpreters: Of each version: requests at a time.
            otherwise: What loads versions without such a file; None: nothing does.
        """
        # TensorFlow 2.21 still has its interpreter, and announces at every use that it will move to another package.
        announcement = r"\s*Warning: tf.lite.Interpreter is deprecated"
        warnings.filterwarnings("ignore", message=announcement, category=UserWarning)
        self._num_interpreters = num_interpreters
        self._otherwise = otherwise

    def load(self, path: Path) -> Servable:
        """Load the model in `path`.

        Raises: ServingError, if there is none or it cannot be loaded.
        """
        file = path / MODEL_FILE
        if not file.is_file():
            if self._otherwise is not None:
                return self._otherwise.load(path)
            raise NotFound(
                f"{path} has no {MODEL_FILE}, which the engine tflite serves. Convert the SavedModel with "
                "tf.lite.TFLiteConverter, or use --engine=tensorflow for it."
            )
        try:
            interpreters = [tf.lite.Interpreter(str(file), num_threads=1) for _ in range(self._num_interpreters)]
            return TfLiteServable(interpreters)
        except (ValueError, RuntimeError) as error:
            raise InvalidArgument(f"{file} cannot be loaded: {error}") from error


class TfLiteServable:
    """One loaded `model.tflite`."""

    def __init__(self, interpreters: Sequence[Any]) -> None:
        first = interpreters[0]
        self._keys = list(first.get_signature_list())
        if self._keys:
            protos = {key: _signature_def(first, key) for key in self._keys}
        else:
            protos = {DEFAULT_SIGNATURE: _signature_def_without_keys(first)}
        self._signature_def_map = signatures.to_map(protos)
        self._signatures = signatures.from_map(self._signature_def_map)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._idle.put(interpreter)
        self._is_unloaded = False

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The ways to call it, by name."""
        return self._signatures

    @property
    def signature_def_map(self) -> bytes:
        """A serialized `tensorflow.serving.SignatureDefMap`."""
        return self._signature_def_map

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """As `Servable.run`. A computation that has begun is not interrupted.

        Raises: ServingError.
        """
        if self._is_unloaded:
            raise Unavailable("This version of the model has been unloaded.")
        try:
            interpreter = self._idle.get(timeout=None if timeout_seconds is None else max(0.0, timeout_seconds))
        except queue.Empty:
            raise DeadlineExceeded("Timed out waiting for notification") from None
        started = time.monotonic()
        try:
            arrays = self._compute(interpreter, inputs, outputs)
        except (ValueError, RuntimeError) as error:
            raise InvalidArgument(str(error)) from error
        finally:
            self._idle.put(interpreter)
        if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
            raise DeadlineExceeded("Timed out waiting for notification")
        return arrays

    def is_quick(self, request_bytes: int) -> bool:
        """Never: an interpreter may have to be waited for."""
        return False

    def unload(self) -> None:
        """Drop the interpreters."""
        self._is_unloaded = True
        self._idle = queue.SimpleQueue()

    def _compute(self, interpreter: Any, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        signature = self._signature_of(inputs, outputs)
        aliases = {spec.name: alias for alias, spec in signature.inputs.items()}
        names = {spec.name: alias for alias, spec in signature.outputs.items()}
        for name, array in inputs.items():
            expected = tf.DType(signature.inputs[aliases[name]].dtype)
            given = tf.as_dtype(array.dtype) if array.dtype != object else tf.string
            if given != expected:
                raise InvalidArgument(
                    f"Expects input {aliases[name]!r} to be {expected.name} but {given.name} is provided"
                )
        if not self._keys:
            return _computed_by_index(interpreter, inputs, outputs)
        key = next(key for key, known in self._signatures.items() if known is signature)
        runner = interpreter.get_signature_runner(key)
        results = runner(**{aliases[name]: array for name, array in inputs.items()})
        return [np.array(results[names[name]]) for name in outputs]

    def _signature_of(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Signature:
        for signature in self._signatures.values():
            if set(inputs) == {spec.name for spec in signature.inputs.values()} and set(outputs) <= {
                spec.name for spec in signature.outputs.values()
            }:
                return signature
        raise Internal("No signature has these inputs and outputs.")


def _signature_def(interpreter: Any, key: str) -> Any:
    """A signature of the file as a SignatureDef; tensors are named after the signature, which no file need do."""
    runner = interpreter.get_signature_runner(key)
    proto = tf.compat.v1.MetaGraphDef().signature_def[key]
    proto.method_name = _PREDICT
    for side, details in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
        for alias, detail in details.items():
            _describe(getattr(proto, side)[alias], f"{key}_{side}_{alias}:0", detail)
    return proto


def _signature_def_without_keys(interpreter: Any) -> Any:
    """What a file without signatures takes and gives, under the names of its tensors."""
    proto = tf.compat.v1.MetaGraphDef().signature_def[DEFAULT_SIGNATURE]
    proto.method_name = _PREDICT
    for side, details in (("inputs", interpreter.get_input_details()), ("outputs", interpreter.get_output_details())):
        for detail in details:
            _describe(getattr(proto, side)[detail["name"]], f"{side}_{detail['index']}:0", detail)
    return proto


def _describe(info: Any, name: str, detail: Mapping[str, Any]) -> None:
    info.name = name
    dtype = tf.string if detail["dtype"] in (np.bytes_, np.str_, object) else tf.as_dtype(detail["dtype"])
    info.dtype = dtype.as_datatype_enum
    # Older files know only the sizes they were traced with.
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    info.tensor_shape.CopyFrom(tf.TensorShape([None if size < 0 else int(size) for size in shape]).as_proto())


def _computed_by_index(interpreter: Any, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    for name, array in inputs.items():
        interpreter.resize_tensor_input(_index(name), array.shape)
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(_index(name), array)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(_index(name))) for name in outputs]


def _index(name: str) -> int:
    return int(name.rpartition("_")[2].partition(":")[0])
