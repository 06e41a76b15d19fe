"""A numeric graph compiled by OpenVINO: arrays in, arrays out, from any thread."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from serving import graph_parts
from serving.errors import DeadlineExceeded, FailedPrecondition

_log = logging.getLogger(__name__)

# Fewer threads than this do one inference together; more than that are better used side by side.
_THREADS_PER_STREAM = 4
# A network of fixed sizes needs no transposition and reuses its memory better: one row through MobileNetV2 takes 10 to
# 25 % less time. ResNet-50, whose operations are long, gains 2 %, and twice its weights is much memory.
_MOST_BYTES_FOR_ONE_ROW = 32 * 2**20


class CannotConvert(FailedPrecondition):
    """OpenVINO does not take a graph.

    Attributes:
        operations: The types of operations that it named as unknown.
    """

    def __init__(self, message: str, operations: frozenset[str]) -> None:
        super().__init__(message)
        self.operations = operations


class Compiler:
    """Compiles graphs for the processor."""

    def __init__(self, *, num_threads: int, precision: str = "f32") -> None:
        """
        Args:
            num_threads: Threads of all inferences of one network together.
            precision: OpenVINO's name of the type to compute in, "f32" or "bf16".
        """
        self._core = openvino.Core()
        # Measured on 2 cores with ResNet-50 and MobileNetV2: both threads at one inference answer one client almost
        # twice as fast as a stream each, and 16 clients within 5 %.
        self._options = {
            "NUM_STREAMS": max(1, num_threads // _THREADS_PER_STREAM),
            "INFERENCE_NUM_THREADS": num_threads,
            "INFERENCE_PRECISION_HINT": precision,
            # Every network would pin its threads to the same first cores: two models with a thread each then share one
            # core of two.
            "ENABLE_CPU_PINNING": False,
        }

    def compile(self, graph_def: Any, num_outputs: int) -> Network:
        """Compile a frozen GraphDef.

        Args:
            graph_def: Its inputs are its placeholders, its outputs the results of `graph_split.split`.
            num_outputs: How many of these.
        Raises: CannotConvert.
        """
        inputs = [node.name for node in graph_def.node if node.op == "Placeholder"]
        outputs = [graph_parts.result_name(index) for index in range(num_outputs)]
        # A folder of its own: OpenVINO reads files, and a graph object only without conditions and loops.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network.pb"
            try:
                file.write_bytes(graph_def.SerializeToString())
                model = self._core.read_model(file)
                any_rows = self._compile(model, inputs, outputs)
            except (RuntimeError, ValueError, KeyError) as error:  # ValueError: protobuf's, of more than 2 GB
                raise CannotConvert(_reason(str(error)), _unknown_operations(str(error))) from error
            is_small = file.stat().st_size <= _MOST_BYTES_FOR_ONE_ROW
            return Network(any_rows, self._compile_for_one_row(model, inputs, outputs) if is_small else None)

    def _compile(self, model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> _Compiled:
        compiled = self._core.compile_model(model, "CPU", self._options)
        return _Compiled(compiled, _positions(compiled.inputs, inputs), _positions(compiled.outputs, outputs))

    def _compile_for_one_row(self, model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> _Compiled | None:
        """The same model where only the number of rows is open and one is possible, else None."""
        shapes = [port.get_partial_shape() for port in model.inputs]
        if not any(shape.is_dynamic for shape in shapes) or not all(_has_open_rows_only(shape) for shape in shapes):
            return None
        try:
            model.reshape(
                {position: [1, *list(shape)[1:]] for position, shape in enumerate(shapes) if shape.is_dynamic}
            )
            return self._compile(model, inputs, outputs)
        except RuntimeError as error:
            _log.debug("OpenVINO takes a network only without a number of rows: %s", error)
            return None


class Network:
    """One compiled graph; where it is small, a second time for one row."""

    def __init__(self, any_rows: _Compiled, one_row: _Compiled | None = None) -> None:
        self._any_rows = any_rows
        self._one_row = one_row

    def run(self, arrays: Sequence[np.ndarray], *, deadline: float | None = None) -> list[np.ndarray]:
        """The outputs for some inputs, both in the order of the graph.

        Args:
            arrays: Of the inputs' types.
            deadline: When to give up, by `time.monotonic`.
        Raises: DeadlineExceeded; RuntimeError, with OpenVINO's words.
        """
        if self._one_row is not None and self._one_row.has_shapes_of(arrays):
            return self._one_row.run(arrays, deadline)
        return self._any_rows.run(arrays, deadline)

    @property
    def for_any_rows(self) -> Network:
        """The same without what was compiled for one row."""
        return self if self._one_row is None else Network(self._any_rows)


class _Compiled:
    """What OpenVINO made of a graph."""

    def __init__(self, compiled: Any, ports: Sequence[int], results: Sequence[int]) -> None:
        self._compiled = compiled
        self._ports = ports
        self._results = results
        shapes = [compiled.inputs[port].get_partial_shape() for port in ports]
        self._shapes = [None if shape.is_dynamic else tuple(shape.to_shape()) for shape in shapes]
        # An inference request has its own buffers and serves one caller at a time.
        self._idle: deque[Any] = deque()

    def has_shapes_of(self, arrays: Sequence[np.ndarray]) -> bool:
        """Whether these are the sizes that it was compiled for."""
        return self._shapes == [array.shape for array in arrays]

    def run(self, arrays: Sequence[np.ndarray], deadline: float | None) -> list[np.ndarray]:
        """As `Network.run`."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        for port, array in zip(self._ports, arrays, strict=True):
            request.set_input_tensor(port, _tensor(array))
        request.start_async()
        if deadline is None:
            request.wait()
        elif not request.wait_for(max(0, int((deadline - time.monotonic()) * 1000))):
            # It ends at its next operation; the next caller gets another one.
            request.cancel()
            raise DeadlineExceeded("Timed out waiting for notification")
        outputs = [np.array(request.get_output_tensor(result).data) for result in self._results]
        self._idle.append(request)
        return outputs


def _has_open_rows_only(shape: Any) -> bool:
    """Whether all sizes of an input behind its first are known."""
    return bool(shape.rank.is_static) and len(shape) > 0 and not any(size.is_dynamic for size in list(shape)[1:])


def _positions(ports: Sequence[Any], names: Sequence[str]) -> list[int]:
    """Where operations are among the compiled model's inputs or outputs."""
    positions = {name: position for position, port in enumerate(ports) for name in port.get_names()}
    return [positions[f"{name}:0"] for name in names]


def _tensor(array: np.ndarray) -> Any:
    if array.flags.writeable and array.flags.c_contiguous and array.ndim:
        return openvino.Tensor(array, shared_memory=True)
    # What came over the wire is read-only, which OpenVINO does not share.
    return openvino.Tensor(np.array(array), shared_memory=False)


def _unknown_operations(text: str) -> frozenset[str]:
    """The operation types in OpenVINO's report."""
    found: set[str] = set()
    for names in re.findall(r"(?:No conversion rule found for operations|Conversion is failed for): ([\w, ]+)", text):
        found.update(name.strip() for name in names.split(",") if name.strip())
    return frozenset(found)


def _reason(text: str) -> str:
    """The telling lines of OpenVINO's report, without its own source files."""
    lines = [line.strip("- ") for line in text.splitlines() if line.strip() and not re.search(r"\bsrc/|https?:", line)]
    return " ".join(lines[:4]) or "OpenVINO gives no reason"
