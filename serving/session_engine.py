"""The engine: a SavedModel as a graph in a TensorFlow session, as TF Serving itself runs it.

The session is entered through TensorFlow's thin C++ binding. `Session.run` checks feeds and rewrites error
texts in Python, which costs several times the call and changes the sentences that clients compare.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving import signatures
from serving.errors import (
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
    Unimplemented,
)
from serving.messages import Signature
from serving.pace import Pace, is_bounded
from serving.status import Code

# Importing TensorFlow sets up logging of its own; the level must be known before.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

import tensorflow as tf  # noqa: E402

_log = logging.getLogger(__name__)

_MAX_TIMEOUT_MILLISECONDS = 2**31 - 1
# With oneDNN, TensorFlow 2.21 looks for the channels of an input of a lower rank behind its last dimension, finds that
# wrong (tensor_format.h: Check failed) and ends the process: one wrong request would end them all.
_ABORT_ON_A_WRONG_RANK = frozenset(["Conv2D", "Conv3D", "DepthwiseConv2dNative", "_FusedConv2D"])


Extend = Callable[[Any, Any], None]


class SessionEngine:
    """Loads SavedModels of TF1, TF2 and Keras into sessions of their own."""

    def __init__(
        self,
        *,
        tags: Sequence[str] = ("serve",),
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
        default_threads: int = 0,
        session_config: Any = None,
    ) -> None:
        """
        Args:
            tags: The MetaGraph to serve.
            intra_op_threads: Threads within one operation; 0 leaves it to TensorFlow.
            inter_op_threads: Operations at a time; 0 leaves it to TensorFlow.
            default_threads: Both of them where neither they nor `session_config` say a number.
            session_config: A ConfigProto with everything else; serving.session_config makes one.
        """
        logging.getLogger("tensorflow").addFilter(_is_news)
        self._tags = tuple(tags)
        self._config = tf.compat.v1.ConfigProto()
        if session_config is not None:
            self._config.CopyFrom(session_config)
        for name, asked in (
            ("intra_op_parallelism_threads", intra_op_threads),
            ("inter_op_parallelism_threads", inter_op_threads),
        ):
            setattr(self._config, name, asked or getattr(self._config, name) or default_threads)

    def load(self, path: Path, *, extend: Extend | None = None) -> SessionServable:
        """Load the SavedModel in `path` and run its initialisation.

        Args:
            path: The version's directory.
            extend: Called with the session and its MetaGraphDef, before the graph takes nothing more.
        Raises: ServingError, in TF Serving's words.
        """
        if not any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            if (path / "export.meta").is_file():
                raise Unimplemented("Session Bundle is deprecated and removed.")
            raise NotFound(
                "Specified file path does not appear to contain a SavedModel bundle (should have a file "
                f"called `saved_model.pb`)\nSpecified file path: {path}"
            )
        graph = tf.Graph()
        session = tf.compat.v1.Session(graph=graph, config=self._config)
        try:
            with graph.as_default():
                meta_graph = _load_meta_graph(session, self._tags, path)
                if extend is not None:
                    extend(session, meta_graph)
            graph.finalize()
            return SessionServable(session, meta_graph)
        except tf.errors.OpError as error:
            session.close()
            raise _serving_error(error) from error
        except Exception:
            session.close()
            raise


def _load_meta_graph(session: Any, tags: Sequence[str], path: Path) -> Any:
    try:
        return tf.compat.v1.saved_model.load(session, list(tags), str(path))
    except RuntimeError as error:
        if "could not be found in SavedModel" not in str(error):
            raise
        raise NotFound(
            f"Could not find meta graph def matching supplied tags: {{ {' '.join(tags)} }}. To inspect "
            "available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
        ) from error
    except (OSError, ValueError) as error:
        raise DataLoss(f"The SavedModel at {path} cannot be read: {error}") from error


def _is_news(record: logging.LogRecord) -> bool:
    # The loader announces at every use that it is a compat.v1 function; that is known and chosen.
    return "is deprecated and will be removed" not in str(record.msg)


class SessionServable:
    """One loaded SavedModel."""

    def __init__(self, session: Any, meta_graph: Any) -> None:
        self._session = session
        self._signature_defs = dict(meta_graph.signature_def)
        self._signatures = {name: signatures.from_proto(proto) for name, proto in self._signature_defs.items()}
        self._call: Call | None = _find_call(session)
        operations = _operations(meta_graph.graph_def)
        self._pace = Pace(is_bounded=is_bounded(operations))
        self._ranks = _checked_ranks(self._signatures) if operations & _ABORT_ON_A_WRONG_RANK else {}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The ways to call it, by name."""
        return self._signatures

    @property
    def signature_def_map(self) -> bytes:
        """A serialized `tensorflow.serving.SignatureDefMap`, without the graph's internals."""
        return signatures.to_map(self._signature_defs)

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        """Compute tensors; only the part of the graph that they need runs.

        Args:
            inputs: Values by tensor name.
            outputs: Names of the wanted tensors.
            timeout_seconds: How long the client still waits; None: as long as it takes.
            at_once: Compute in the calling thread, whatever the timeout.
        Raises: ServingError, with the runtime's own sentence.
        """
        timeout_milliseconds = 0
        if timeout_seconds is not None:
            if timeout_seconds <= 0:
                raise DeadlineExceeded("Timed out waiting for notification")
            timeout_milliseconds = min(max(1, int(timeout_seconds * 1000)), _MAX_TIMEOUT_MILLISECONDS)
        for name, rank in self._ranks.items():
            if name in inputs and np.ndim(inputs[name]) != rank:
                sizes = ",".join(str(size) for size in np.shape(inputs[name]))
                raise InvalidArgument(f"input must be {rank}-dimensional[{sizes}]")
        try:
            if self._call is None:
                raise Unavailable("This version of the model has been unloaded.")
            if not at_once and not self._pace.shall_try(inputs.values()):
                return self._call(inputs, outputs, timeout_milliseconds, False)
            started = time.thread_time()
            arrays = self._call(inputs, outputs, timeout_milliseconds, True)
            self._pace.record(time.thread_time() - started)
            return arrays
        except tf.errors.OpError as error:
            raise _serving_error(error) from error
        except (ValueError, TypeError, KeyError) as error:
            # The Python side of the binding refused the values before the runtime saw them.
            raise ServingError(str(error), code=Code.INVALID_ARGUMENT) from error

    def is_quick(self, request_bytes: int) -> bool:
        """Whether a request of so many bytes may be computed where it arrived."""
        return self._pace.is_quick(request_bytes)

    def run_operation(self, name: str) -> None:
        """Run an operation for its effect."""
        self._session.run(self._session.graph.get_operation_by_name(name))

    def unload(self) -> None:
        """Close the session and drop the graph."""
        self._call = None
        self._session.close()


def _checked_ranks(known: Mapping[str, Signature]) -> dict[str, int]:
    """The ranks of the inputs that may reach a convolution as they are, by tensor name."""
    specs = [spec for signature in known.values() for spec in signature.inputs.values()]
    return {spec.name: len(spec.shape) for spec in specs if spec.shape is not None and len(spec.shape) >= 3}


def _operations(graph_def: Any) -> set[str]:
    """The types of all operations of a graph; a function's call is its body's operations."""
    functions = {function.signature.name for function in graph_def.library.function}
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    return {node.op for node in nodes} - functions


Call = Callable[[Mapping[str, np.ndarray], Sequence[str], int, bool], list[np.ndarray]]


def _find_call(session: Any) -> Call:
    """How to run the session: the thin binding where this TensorFlow has it, else the public way."""
    try:
        from tensorflow.python.client import pywrap_tf_session as binding

        return _thin_call(session, binding)
    except (ImportError, AttributeError) as error:
        _log.warning("TensorFlow's thin session binding is not there (%s); requests will be slower.", error)
        return _public_call(session)


def _thin_call(session: Any, binding: Any) -> Call:
    run, new_buffer, delete_buffer = (
        binding.TF_SessionRun_wrapper,
        binding.TF_NewBufferFromString,
        binding.TF_DeleteBuffer,
    )
    handle = session._session
    graph = session.graph
    endpoints: dict[str, Any] = {}
    quantized: dict[str, np.dtype] = {}

    def endpoint(name: str) -> Any:
        # Two threads may both look a name up; they find the same.
        found = endpoints.get(name)
        if found is None:
            tensor = graph.get_tensor_by_name(name)
            if tensor.dtype.is_quantized:
                quantized[name] = np.dtype(tensor.dtype.as_numpy_dtype)
            found = endpoints[name] = tensor._as_tf_output()
        return found

    # Without threads of its own between the operations: a quick graph costs a fifth. No timeout could end it.
    in_this_thread = new_buffer(tf.compat.v1.RunOptions(inter_op_thread_pool=-1).SerializeToString())

    def call(
        inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_ms: int, at_once: bool
    ) -> list[np.ndarray]:
        arrays = [_array(value) for value in compute(inputs, outputs, timeout_ms, at_once)]
        if quantized:
            # The binding gives the integers of a quantized tensor, without what they are.
            arrays = [array.view(quantized.get(name, array.dtype)) for name, array in zip(outputs, arrays, strict=True)]
        return arrays

    def compute(inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_ms: int, at_once: bool) -> list[Any]:
        feeds = {endpoint(name): value for name, value in inputs.items()}
        fetches = [endpoint(name) for name in outputs]
        if at_once:
            return list(run(handle, in_this_thread, feeds, fetches, [], None))
        if not timeout_ms:
            return list(run(handle, None, feeds, fetches, [], None))
        # Field 2 of RunOptions is timeout_in_ms.
        buffer = new_buffer(tf.compat.v1.RunOptions(timeout_in_ms=timeout_ms).SerializeToString())
        try:
            return list(run(handle, buffer, feeds, fetches, [], None))
        finally:
            delete_buffer(buffer)

    return call


def _public_call(session: Any) -> Call:
    def call(
        inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout_ms: int, at_once: bool
    ) -> list[np.ndarray]:
        options = tf.compat.v1.RunOptions(timeout_in_ms=timeout_ms, inter_op_thread_pool=-1 if at_once else 0)
        return [_array(value) for value in session.run(list(outputs), dict(inputs), options=options)]

    return call


def _array(value: Any) -> np.ndarray:
    """A computed value as an array: scalars come as numpy's or Python's own."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, object if isinstance(value, bytes) else None)


def _serving_error(error: Any) -> ServingError:
    """A runtime error with its own sentence, freed of what TensorFlow's Python side adds to it."""
    return ServingError(clean_runtime_message(error.message), code=Code(error.error_code))


def clean_runtime_message(message: str) -> str:
    """The runtime's sentence as C++ clients get it: no Python stack traces, no function names.

    Args:
        message: What an OpError says.
    """
    message = re.split(r"\n\nOriginal stack trace for ", message)[0]
    message = re.sub(r" ?\[Op:__\w+\]( name: )?", "", message)
    if message.startswith("Graph execution error:"):
        # Then, perhaps, "Detected at node … defined at (most recent call last): … Node: 'x'\n", then the sentence.
        message = re.split(r"\nNode: '[^\n]*'\n", message)[-1].removeprefix("Graph execution error:").lstrip()
    return message.rstrip()
