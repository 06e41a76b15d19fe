"""The arrays of a batch: measured, made equal, put together, and taken apart again.

Sources: tensorflow_serving/batching/batching_session.cc and batching_util.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from serving.errors import FailedPrecondition, InvalidArgument

Inputs = Mapping[str, np.ndarray]

_HIGHEST_PADDED_RANK = 6


def batch_dimension(inputs: Inputs) -> int:
    """How many rows a request has.

    Raises: InvalidArgument, if its inputs have no or no common first dimension.
    """
    if not inputs:
        raise InvalidArgument("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise InvalidArgument("Batching Run() input tensors must have at least one dimension")
    sizes = {array.shape[0] for array in inputs.values()}
    if len(sizes) > 1:
        raise InvalidArgument("Batching Run() input tensors must have equal 0th-dimension size")
    return int(sizes.pop())


def padded_size(size: int, allowed_sizes: Sequence[int]) -> int:
    """The first of the allowed sizes that holds so many rows; the size itself if none does."""
    return next((allowed for allowed in allowed_sizes if allowed >= size), size)


def merge(tasks: Sequence[Inputs], rows: int, *, pad_variable_length: bool = False) -> dict[str, np.ndarray]:
    """The inputs of all tasks, one below the other.

    Args:
        tasks: Inputs by name, of the same names in each.
        rows: How many there shall be; missing ones repeat the first row of the last task.
        pad_variable_length: Whether dimensions after the first are made equal.
    Raises: InvalidArgument, for what cannot be padded.
    """
    merged = {}
    for name in tasks[0]:
        pieces = [task[name] for task in tasks]
        if pad_variable_length:
            pieces = _pad_to_longest(pieces)
        missing = rows - sum(len(piece) for piece in pieces)
        source = next((piece for piece in reversed(pieces) if len(piece)), None) if missing > 0 else None
        if source is not None:
            pieces.append(np.repeat(source[:1], missing, axis=0))
        merged[name] = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return merged


def _pad_to_longest(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each piece with its own first value appended in every dimension but the first, up to the longest."""
    if not 1 <= pieces[0].ndim <= _HIGHEST_PADDED_RANK:
        raise InvalidArgument("Only tensors with rank from 1 to 6 can be padded.")
    longest = tuple(max(sizes) for sizes in zip(*(piece.shape[1:] for piece in pieces), strict=True))
    return [_pad(piece, longest) for piece in pieces]


def _pad(piece: np.ndarray, row_shape: tuple[int, ...]) -> np.ndarray:
    shape = (piece.shape[0], *row_shape)
    # No rows are as many values in any shape.
    if piece.shape == shape or not piece.shape[0]:
        return piece.reshape(shape)
    if not piece.size:
        raise InvalidArgument("Got empty tensor in batch of non-empty tensors.")
    padded = np.empty(shape, piece.dtype)
    padded[...] = piece.flat[0]
    padded[tuple(slice(size) for size in piece.shape)] = piece
    return padded


def split(outputs: Sequence[np.ndarray], rows: int, task_sizes: Sequence[int]) -> list[list[np.ndarray]]:
    """The outputs of each task; what is left over belonged to padding.

    Args:
        outputs: Of the whole batch.
        rows: How many rows went in.
        task_sizes: How many of them were each task's, in order.
    Raises: FailedPrecondition, if the model's outputs are not as many rows as went in.
    """
    for array in outputs:
        if array.ndim == 0:
            raise FailedPrecondition("Batched output tensor has 0 dimensions")
        if array.shape[0] != rows:
            raise FailedPrecondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes "
                "of the input tensors"
            )
    if len(task_sizes) == 1 and task_sizes[0] == rows:
        return [list(outputs)]
    result = []
    start = 0
    for size in task_sizes:
        result.append([array[start : start + size] for array in outputs])
        start += size
    return result


def part_sizes(size: int, *, room: int, limit: int) -> list[int]:
    """How a request is cut: first what the open batch has room for, then full batches, then the rest.

    Args:
        size: Its rows.
        room: Rows that fit into the open batch.
        limit: Rows that fit into a batch.
    """
    if size <= room:
        return [size]
    sizes = [room] if room > 0 else []
    rest = size - max(room, 0)
    return sizes + [limit] * (rest // limit) + ([rest % limit] if rest % limit else [])


def join(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The outputs of a request that ran in several parts.

    Raises: FailedPrecondition, if the parts' outputs do not fit together.
    """
    joined = []
    for arrays in zip(*parts, strict=True):
        shapes = sorted({array.shape[1:] for array in arrays})
        if len(shapes) > 1:
            # Upstream's concatenation fails here, too: each part was padded to the longest of its own batch.
            raise FailedPrecondition(
                f"The rows of a split request got outputs of shapes {shapes[0]} and {shapes[-1]}, as its parts were "
                "padded to different lengths. Send at most max_execution_batch_size rows in one request."
            )
        joined.append(np.concatenate(arrays))
    return joined
