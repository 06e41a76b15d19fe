"""Whether a model answers so fast that handing a request to another thread would cost more than the answer.

Two things must hold: its graph has only operations whose work is bounded by the size of what they are fed (no loop, no
decoding, nothing that makes tensors of a size that a value asks for), and its runs so far took next to no time.

The time is the processor's, of runs that stay in the calling thread. A clock on the wall would count the wait for the
interpreter's lock, which threads that answer requests make long: under load a quick model would look slow, go to the
threads, and stay there.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# A handover between threads costs about this much in Python, with its wait for the interpreter's lock.
QUICK_SECONDS = 3e-4
# More than this on the wire is another matter than the requests that were quick.
QUICK_REQUEST_BYTES = 16 * 1024

_RUNS_BEFORE_TRUST = 5
# A model that is not quick is tried again this often: it may have been its first runs, or another's load.
_RUNS_BETWEEN_TRIALS = 8
_WEIGHT_OF_THE_LAST = 0.2
# One run that the machine held up shall not weigh like a hundred.
_LONGEST_COUNTED_SECONDS = 5e-3

_BOUNDED = frozenset(
    [
        "Abs",
        "Add",
        "AddN",
        "AddV2",
        "All",
        "Any",
        "ArgMax",
        "ArgMin",
        "AvgPool",
        "BatchMatMul",
        "BatchMatMulV2",
        "BiasAdd",
        "Cast",
        "ConcatV2",
        "Const",
        "Conv2D",
        "DepthwiseConv2dNative",
        "Div",
        "DivNoNan",
        "Elu",
        "Equal",
        "Exp",
        "ExpandDims",
        "Floor",
        "FusedBatchNorm",
        "FusedBatchNormV3",
        "GatherV2",
        "Greater",
        "GreaterEqual",
        "Identity",
        "IdentityN",
        "LeakyRelu",
        "Less",
        "LessEqual",
        "Log",
        "LogSoftmax",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
        "MatMul",
        "Max",
        "MaxPool",
        "Maximum",
        "Mean",
        "Min",
        "Minimum",
        "Mul",
        "Neg",
        "NoOp",
        "NotEqual",
        "Pack",
        "PartitionedCall",
        "Placeholder",
        "PlaceholderWithDefault",
        "Pow",
        "Prod",
        "ReadVariableOp",
        "RealDiv",
        "Relu",
        "Relu6",
        "Reshape",
        "Rsqrt",
        "SelectV2",
        "Selu",
        "Shape",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Split",
        "SplitV",
        "Sqrt",
        "Square",
        "SquaredDifference",
        "Squeeze",
        "StatefulPartitionedCall",
        "StopGradient",
        "StridedSlice",
        "Sub",
        "Sum",
        "Tanh",
        "TopKV2",
        "Transpose",
        "Unpack",
        "VarHandleOp",
        "VariableV2",
    ]
)
# Saving, restoring and initialising are in every SavedModel's graph; no request reaches them.
_NEVER_ASKED = frozenset(
    [
        "AssignVariableOp",
        "Assign",
        "HashTableV2",
        "LookupTableImportV2",
        "MergeV2Checkpoints",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
        "StaticRegexFullMatch",
        "StringJoin",
        "VarIsInitializedOp",
        "DisableCopyOnRead",
        "Select",
        "InitializeTableFromTextFileV2",
    ]
)


def is_bounded(operations: Iterable[str]) -> bool:
    """Whether a graph of these operation types does work in proportion to the size of its inputs at most."""
    return all(operation in _BOUNDED or operation in _NEVER_ASKED for operation in operations)


class Pace:
    """How fast one loaded version has been. Races between threads lose a sample, which does no harm."""

    def __init__(self, *, is_bounded: bool) -> None:
        """
        Args:
            is_bounded: What `is_bounded` says of its graph.
        """
        self._is_bounded = is_bounded
        self._runs = 0
        self._trials = 0
        self._mean_seconds = QUICK_SECONDS

    def shall_try(self, inputs: Iterable[np.ndarray]) -> bool:
        """Whether the run that begins now shall stay in its thread and be recorded, although nobody asked for it.

        Args:
            inputs: What it is fed.
        """
        self._runs += 1
        return (
            self._is_bounded
            and (self._trials < _RUNS_BEFORE_TRUST or self._runs % _RUNS_BETWEEN_TRIALS == 0)
            and sum(array.nbytes for array in inputs) <= QUICK_REQUEST_BYTES
        )

    def record(self, processor_seconds: float) -> None:
        """Count a run that stayed in its thread."""
        seconds = min(processor_seconds, _LONGEST_COUNTED_SECONDS)
        self._trials += 1
        if self._trials == 1:
            return  # It built what all later ones use.
        self._mean_seconds += _WEIGHT_OF_THE_LAST * (seconds - self._mean_seconds)

    def is_quick(self, request_bytes: int) -> bool:
        """Whether a request of so many bytes may be answered where it arrived."""
        return (
            self._is_bounded
            and request_bytes <= QUICK_REQUEST_BYTES
            and self._trials >= _RUNS_BEFORE_TRUST
            and self._mean_seconds < QUICK_SECONDS
        )
