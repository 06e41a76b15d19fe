"""RBFOutput."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden.layers import arguments

# Ten digits of 7 × 12 dots, drawn for this file in the manner of the source's figure 3: # is ink.
DIGIT_BITMAPS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...##..  .#####.  .#####.  ....##.  ######.  ..####.  #######  .#####.  .#####.
.##.##.  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  #....##  ##...##  ##...##
##...##  .####..  ##...##  .....##  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  .....##  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  ##..##.  #####..  #####..  ....##.  .#####.  ##..###
##...##  ...##..  ...##..  .....##  #######  ....##.  ##..##.  ...##..  .#####.  .######
##...##  ...##..  ..##...  .....##  ....##.  .....##  ##...##  ...##..  ##...##  .....##
##...##  ...##..  .##....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
.##.##.  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  .#####.  ..##...  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


@keras.saving.register_keras_serializable(package="garden")
class RBFOutput(keras.layers.Layer):
    """Units that answer how near the input is to a target of their own: minus the squared distance.

    The targets are fixed patterns of -1 and 1. Ten units that read 84 numbers have the ten digits as bitmaps
    of 7 × 12 dots, row by row, ink 1, as the source has them (its drawings are not printed dot by dot; these
    are ours). Any other number of units or inputs has random patterns, all different, that depend on these two
    numbers only.
    The source's units give the distance itself, and the smallest wins. With its sign turned the largest wins,
    and a softmax of it is the source's criterion (8), (9) without the class of rubbish.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II.B,
    equation (7).

    Args:
        units: Number of targets.
        scale: Factor of the squared distance.
    Input shape: `(batch, features)`.
    Output shape: `(batch, units)`.
    Raises: ValueError, if an argument is not of the kind described, or there are not so many patterns.
    """

    def __init__(self, units: int, *, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = arguments.positive_integer("units", units)
        self.scale = arguments.positive_number("scale", scale)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        targets = rbf_targets(self.units, input_shape[-1])
        self.targets = self.add_weight(
            name="targets",
            shape=targets.shape,
            initializer=lambda shape, dtype=None: tf.constant(targets, dtype),
            trainable=False,
        )

    def call(self, inputs: Any) -> Any:
        # The square of a sum of dozens of numbers is too coarse in 16 bits.
        x = tf.cast(inputs, tf.float32)[:, None, :]
        distances = tf.reduce_sum(tf.math.squared_difference(x, tf.cast(self.targets, tf.float32)), axis=-1)
        return tf.cast(-self.scale * distances, inputs.dtype)

    def multiply_adds(self, input_shapes: Sequence[tuple[Any, ...]], output_shape: tuple[Any, ...]) -> int:
        """One for each unit and input: a difference is squared and added."""
        return math.prod(input_shapes[0][1:]) * self.units

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "scale": self.scale}


def rbf_targets(units: int, features: int) -> np.ndarray:
    """The targets of `units` units that read `features` numbers: `(units, features)` of -1 and 1, float32.

    Raises: ValueError, if there are fewer patterns than units.
    """
    if (units, features) == (10, 84):
        lines = [line.split() for line in DIGIT_BITMAPS.split("\n") if line]
        ink = np.array([[[dot == "#" for dot in cell] for cell in line] for line in lines])  # row, digit, column
        return np.where(ink.transpose(1, 0, 2).reshape(10, 84), np.float32(1), np.float32(-1))
    if features < 63 and units > 2**features:
        raise ValueError(
            f"`units` must be at most {2**features}, the number of patterns of {features} inputs. "
            f"Received: units={units!r}."
        )
    chance = np.random.default_rng([units, features])
    patterns: dict[bytes, np.ndarray] = {}
    while len(patterns) < units:
        pattern = chance.choice(np.array([-1, 1], np.float32), features)
        patterns[pattern.tobytes()] = pattern
    return np.stack(list(patterns.values()))
