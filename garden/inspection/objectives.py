"""What is explained or made large: a class, a unit, a channel, a layer, a direction, or a sum of those.

Each value is one number per picture of a batch; indices may differ from picture to picture, so that many questions
run as one batch. Objectives add, subtract and scale as numbers do: `value(a - b) == value(a) - value(b)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection.inspected_network import SCORES, InspectedNetwork


@dataclasses.dataclass(frozen=True, eq=False)
class Term:
    """One summand.

    Args:
        kind: "unit", "channel", "strongest", "layer" or "direction".
        path: Whose output is read.
        arguments: Indices or vectors; each either for all pictures alike or with a first axis of pictures.
        power: Of the cosine, for "direction".
    """

    kind: str
    path: str
    arguments: tuple[np.ndarray, ...]
    power: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of terms; see the functions below that make one."""

    terms: tuple[tuple[float, Term], ...]

    def __add__(self, other: Objective) -> Objective:
        return Objective((*self.terms, *other.terms))

    def __sub__(self, other: Objective) -> Objective:
        return self + (-other)

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple((factor * weight, term) for weight, term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    @property
    def paths(self) -> tuple[str, ...]:
        """The layers that are read, each once."""
        return tuple(dict.fromkeys(term.path for _, term in self.terms))

    @property
    def key(self) -> Hashable:
        """What decides the graph: two objectives with one key share a traced function."""
        return tuple((weight, term.kind, term.path, term.power, len(term.arguments)) for weight, term in self.terms)

    @property
    def count(self) -> int:
        """How many pictures its indices tell apart; 1 where they are the same for all."""
        return max(
            (len(argument) for _, term in self.terms for argument, per_picture in _with_axes(term) if per_picture),
            default=1,
        )

    def check(self, network: InspectedNetwork) -> Objective:
        """Itself, if the network has what it names.

        Raises: InspectionError, if a layer, a channel or a position does not exist.
        """
        for _, term in self.terms:
            shape = network.shape_of(term.path)
            if term.path == SCORES and term.kind == "unit" and len(term.arguments) == 1:
                check_classes(network)
            what = "class" if term.path == SCORES else "channel"
            limits = () if term.kind in ("layer", "direction") else (shape[-1], *shape[:-1])
            for name, limit, argument in zip((what, "row", "column"), limits, term.arguments, strict=False):
                found = np.asarray(argument)
                if limit is not None and ((found < 0) | (found >= limit)).any():
                    wrong = found[(found < 0) | (found >= limit)].flat[0]
                    where = "the scores" if term.path == SCORES else f"'{term.path}'"
                    raise InspectionError(
                        f"There is no {name} {wrong} in {where}: there are {limit}, counted from 0. "
                        f"Choose one within 0..{limit - 1}."
                    )
        return self

    def arguments(self, batch: int) -> list[np.ndarray]:
        """The arguments of all terms, each with a first axis of `batch` pictures."""
        return [
            np.broadcast_to(argument, (batch, *argument.shape[1:]))
            if per_picture
            else np.broadcast_to(argument, (batch, *argument.shape))
            for _, term in self.terms
            for argument, per_picture in _with_axes(term)
        ]

    def rows(self, start: int, stop: int) -> Objective:
        """The objective of some of the pictures."""
        return Objective(
            tuple(
                (
                    weight,
                    dataclasses.replace(
                        term,
                        arguments=tuple(
                            argument[start:stop] if per_picture and len(argument) > 1 else argument
                            for argument, per_picture in _with_axes(term)
                        ),
                    ),
                )
                for weight, term in self.terms
            )
        )

    def signature(self) -> list[tf.TensorSpec]:
        """Specs of `arguments`, for the signature of a traced function."""
        return [
            tf.TensorSpec((None, *argument.shape[1 if per_picture else 0 :]), tf.as_dtype(argument.dtype))
            for _, term in self.terms
            for argument, per_picture in _with_axes(term)
        ]

    def values(self, captured: Mapping[str, tf.Tensor], arguments: Sequence[tf.Tensor]) -> tf.Tensor:
        """One number per picture, float32; call it inside a traced function.

        Args:
            captured: Path → output, as `InspectedNetwork.run` gives them for `paths`.
            arguments: As tensors, in the order of `arguments(batch)`.
        """
        rest = list(arguments)
        total: Any = 0.0
        for weight, term in self.terms:
            mine, rest = rest[: len(term.arguments)], rest[len(term.arguments) :]
            total += weight * _value(term, tf.cast(captured[term.path], tf.float32), mine)
        return total


def check_classes(network: InspectedNetwork) -> None:
    """Raises: InspectionError, if a network's scores are not one number for each class: it labels places, say."""
    shape = network.shape_of(SCORES)
    if len(shape) != 1:
        raise InspectionError(
            f"The scores of '{network.model.name}' are {shape}, not one number for each class, which classes are "
            "explained by. Take the mean over all places at the end of the model, or a method that asks for no class."
        )


def class_score(index: int | Sequence[int] | np.ndarray) -> Objective:
    """The score of a class before softmax; one index for all pictures, or one for each."""
    return unit(SCORES, index)


def unit(path: str, channel: Any, row: Any = None, column: Any = None) -> Objective:
    """One output: of a vector its channel, of a map the channel at a row and a column."""
    places = () if row is None else (row, column)
    return _one("unit", path, *(np.asarray(index, np.int32) for index in (channel, *places)))


def channel(path: str, index: Any) -> Objective:
    """The mean of a channel over all positions."""
    return _one("channel", path, np.asarray(index, np.int32))


def strongest(path: str, index: Any) -> Objective:
    """The largest output of a channel over all positions; the first of them where several are."""
    return _one("strongest", path, np.asarray(index, np.int32))


def layer(path: str) -> Objective:
    """The mean of the squares of all outputs of a layer: what DeepDream makes large."""
    return _one("layer", path)


def direction(path: str, vector: Any, *, power: float = 2.0) -> Objective:
    """How far the outputs of a layer point along a vector: dot product × max(0.1, cosine)^power, mean of positions.

    Source: Olah et al., "Feature Visualization", 2017, https://distill.pub/2017/feature-visualization
    """
    return Objective(((1.0, Term("direction", path, (np.asarray(vector, np.float32),), power)),))


def _one(kind: str, path: str, *arguments: np.ndarray) -> Objective:
    return Objective(((1.0, Term(kind, path, arguments)),))


def _with_axes(term: Term) -> list[tuple[np.ndarray, bool]]:
    own_axes = 1 if term.kind == "direction" else 0
    return [(argument, argument.ndim > own_axes) for argument in term.arguments]


def _value(term: Term, output: tf.Tensor, arguments: Sequence[tf.Tensor]) -> tf.Tensor:
    positions = list(range(1, len(output.shape) - 1))
    if term.kind == "layer":
        return tf.reduce_mean(tf.square(output), axis=[*positions, -1])
    if term.kind == "direction":
        vector = tf.reshape(arguments[0], (-1, *[1] * len(positions), output.shape[-1]))
        dot = tf.reduce_sum(output * vector, axis=-1)
        if term.power:
            lengths = tf.norm(output, axis=-1) * tf.norm(vector, axis=-1) + 1e-6
            dot *= tf.maximum(dot / lengths, 0.1) ** term.power
        return tf.reduce_mean(dot, axis=positions) if positions else dot
    chosen = _of_channel(output, arguments[0])
    if term.kind == "channel":
        return tf.reduce_mean(chosen, axis=positions) if positions else chosen
    if term.kind == "strongest":
        # Among equals the first, as a pooling layer's switch: a maximum's gradient would go to all of them.
        everywhere = tf.reshape(chosen, (tf.shape(chosen)[0], -1))
        return tf.gather(everywhere, tf.argmax(everywhere, axis=1), axis=1, batch_dims=1)
    for index in arguments[1:]:
        chosen = tf.gather(chosen, index, axis=1, batch_dims=1)
    if len(chosen.shape) > 1:
        raise InspectionError(
            f"'{term.path}' gives a map; one output of it is a channel at a row and a column. Name all three."
        )
    return chosen


def _of_channel(output: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The channel of each picture's own index: `(batch, …positions)`."""
    last = len(output.shape) - 1
    return tf.gather(tf.transpose(output, (0, last, *range(1, last))), index, axis=1, batch_dims=1)
