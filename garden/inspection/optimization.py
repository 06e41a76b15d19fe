"""The loop behind all pictures that a network makes: a variable climbs a value, inside one traced function.

Every number of it is a tensor: other classes, seeds, step counts and settings never trace again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import input_space, parametrization, picture_transforms, relu_rules
from garden.inspection.inspected_network import INPUT, InspectedNetwork
from garden.inspection.objectives import Objective

# Kingma & Ba, 2014, with their constants.
ADAM = "adam"
# x += min(learning_rate, progress / ‖g‖²) · g: with a progress, the value should rise by it in a step (Yosinski).
ASCENT = "ascent"
# x += learning_rate · g / mean|g|: every step is as long (Mordvintsev); with `fall` = 1 shorter to nothing at the end.
NORMALIZED = "normalized"
# Momentum 0.9; after a quarter of the steps a tenth of the rate, after three quarters a hundredth (Mahendran).
MOMENTUM = "momentum"
RULES = (ADAM, ASCENT, NORMALIZED, MOMENTUM)

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_MOMENTUM = 0.9


class Settings(NamedTuple):
    """The numbers of a loop. Those of pixels are in steps of 1/255 of the range, counted from gray.

    Args:
        learning_rate: As the rule says.
        progress: Of ASCENT; infinite for a constant rate.
        first_step: Of ASCENT: all steps are scaled alike, each row by its own factor, so that the first moves pixels
            by this much in the mean. A rate that suits one network's gradients says nothing to another. 0 leaves them.
        fall: Share of the learning rate that is gone at the last step.
        start_deviation: Of the noise at the start.
        augmentation: Strength of the random transforms, 1 for lucid's.
        decay: Share that each pixel loses in a step.
        blur_radius: Of a Gaussian blur, in pixels.
        blur_every: Steps between blurs; 0 for none.
        small_norm_percentile: Share of the pixels, those closest to gray, that becomes gray in a step.
        small_contribution_percentile: The same for those that contribute least to the value.
        l2: Weight of the sum of the squares of all pixels, subtracted from the value; one, or one for each row.
        clip: 1 keeps pixels within the valid range, 0 lets them go where they want.
    """

    learning_rate: float
    progress: float = float("inf")
    first_step: float = 0.0
    fall: float = 0.0
    start_deviation: float = 0.0
    augmentation: float = 0.0
    decay: float = 0.0
    blur_radius: float = 0.0
    blur_every: float = 0.0
    small_norm_percentile: float = 0.0
    small_contribution_percentile: float = 0.0
    l2: Any = 0.0
    clip: float = 1.0

    def tensors(self) -> Settings:
        """As a traced function takes them."""
        numbers = Settings(*(tf.constant(number, tf.float32) for number in self))
        return numbers._replace(l2=tf.reshape(numbers.l2, (-1, 1, 1, 1)))

    @classmethod
    def signature(cls) -> Settings:
        """Their specs."""
        spec: Any = tf.TensorSpec((), tf.float32)
        return cls(*(spec for _ in cls._fields))._replace(l2=tf.TensorSpec((None, 1, 1, 1), tf.float32))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What of a synthesis decides its graph.

    Args:
        parametrization: One of `parametrization.KINDS`.
        rule: One of `RULES`.
        augmented: Whether pictures are moved about at random before the network sees them.
    """

    parametrization: str = parametrization.FFT
    rule: str = ADAM
    augmented: bool = True

    def __post_init__(self) -> None:
        if self.parametrization not in parametrization.KINDS:
            raise ValueError(
                f"`parametrization` must be one of {parametrization.KINDS}. "
                f"Received: parametrization={self.parametrization!r}."
            )
        if self.rule not in RULES:
            raise ValueError(f"`rule` must be one of {RULES}. Received: rule={self.rule!r}.")


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Pictures that a network made.

    Args:
        images: Prepared, `(rows, height, width, channels)`, within the valid range.
        values: The objective at each step, of what the network saw, `(rows, steps)`.
        final: The objective of `images`, `(rows,)`.
        snapshots: Prepared pictures on the way, `(rows, snapshots, height, width, channels)`.
    """

    images: np.ndarray
    values: np.ndarray
    final: np.ndarray
    snapshots: np.ndarray


def climb(
    variable: tf.Tensor,
    value_and_gradient: Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    *,
    rule: str,
    settings: Settings,
    steps: tf.Tensor,
    project: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] = lambda variable, gradient, step: variable,
    snapshots: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Steps uphill, inside a traced function.

    Args:
        variable: Where to begin, `(rows, …)`.
        value_and_gradient: Of a variable and the step's number: values `(rows,)`, gradient as the variable.
        rule: One of `RULES`.
        settings: As tensors.
        steps: How many, int32.
        project: Of variable, gradient and step: what is done after each step.
        snapshots: How many of the variables on the way are kept, int32; None for none.
    Returns: the variable, values `(steps, rows)`, snapshots `(snapshots, rows, …)`.
    """
    shape = variable.shape
    kept = tf.constant(0) if snapshots is None else snapshots
    # One page more than asked for: TensorFlow cannot stack none.
    history = tf.TensorArray(tf.float32, size=steps + 1, element_shape=(None,))
    album = tf.TensorArray(tf.float32, size=kept + 1, element_shape=shape)
    zeros = tf.zeros_like(variable)

    def body(step: tf.Tensor, x: tf.Tensor, first: tf.Tensor, second: tf.Tensor, past: Any, kept_so_far: Any) -> Any:
        values, gradient = value_and_gradient(x, step)
        change, first, second = _step(rule, gradient, first, second, step, steps, settings)
        x = tf.ensure_shape(project(x + change, gradient, step), shape)
        page = (step + 1) * kept // steps
        kept_so_far = tf.cond(page > step * kept // steps, lambda: kept_so_far.write(page - 1, x), lambda: kept_so_far)
        return step + 1, x, first, second, past.write(step, values), kept_so_far

    _, variable, _, _, history, album = tf.while_loop(
        lambda step, *_: step < steps, body, (tf.constant(0), variable, zeros, zeros, history, album)
    )
    history, album = history.write(steps, tf.zeros(tf.shape(variable)[:1])), album.write(kept, variable)
    return variable, history.stack()[:-1], album.stack()[:-1]


def synthesize(
    network: InspectedNetwork,
    objective: Objective,
    recipe: Recipe,
    settings: Settings,
    *,
    rows: int,
    steps: int,
    seeds: Sequence[int],
    size: tuple[int, int] | None = None,
    snapshots: int = 0,
    batch_size: int = 8,
) -> Synthesis:
    """Pictures that make an objective large, one for each row.

    Args:
        network: Whose objective it is.
        objective: What to make large; its indices may differ from row to row.
        recipe: What is optimised, and how.
        settings: The numbers of it.
        rows: How many pictures.
        steps: How many steps.
        seeds: Of each row's chance; rows with one seed meet the same chance.
        size: Height and width of the pictures; the network's where left out.
        snapshots: How many pictures on the way to keep.
        batch_size: Rows that run at once; for the memory.
    Raises: InspectionError, if the objective names what does not exist or does not depend on the picture, or if its
        layers cannot take pictures of this size.
    """
    objective.check(network)
    if steps < 0 or rows < 1 or not 0 <= snapshots <= steps:
        raise ValueError(
            "`steps` must be at least 0, `rows` at least 1, `snapshots` within 0..steps. "
            f"Received: steps={steps!r}, rows={rows!r}, snapshots={snapshots!r}."
        )
    height, width = network.input_shape[:2] if size is None else size
    run = network.compiled(
        ("synthesis", recipe, objective.key, (height, width)),
        lambda: _traced(network, objective, recipe, (height, width)),
    )
    parts = []
    for start in range(0, rows, batch_size):
        stop = min(rows, start + batch_size)
        arguments = objective.rows(start, stop).arguments(stop - start)
        try:
            made = run(
                tf.constant(seeds[start:stop], tf.int32),
                tf.constant(steps),
                tf.constant(snapshots),
                settings._replace(l2=np.broadcast_to(settings.l2, rows)[start:stop]).tensors(),
                [tf.constant(argument) for argument in arguments],
            )
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            if (height, width) == tuple(network.input_shape[:2]):
                raise
            raise InspectionError(
                f"'{objective.paths[0]}' of '{network.model.name}' cannot be computed for pictures of {height} × "
                f"{width}; the network takes {network.input_shape[0]} × {network.input_shape[1]}. Leave the size out, "
                "or name an earlier layer."
            ) from error
        parts.append([np.asarray(part) for part in made])
    images, values, final, album = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Synthesis(images, values, final, album)


def _traced(network: InspectedNetwork, objective: Objective, recipe: Recipe, size: tuple[int, int]) -> Any:
    spec = network.image_spec
    gray, unit = input_space.gray(spec), input_space.unit(spec)
    low, high = input_space.bounds(spec)

    def clipped(pictures: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(pictures, low, high)

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.int32),
            Settings.signature(),
            objective.signature(),
        ],
    )
    def run(
        seeds: tf.Tensor, steps: tf.Tensor, snapshots: tf.Tensor, settings: Settings, arguments: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        chances = picture_transforms.random_numbers(seeds, steps, picture_transforms.AUGMENTATION_NUMBERS)

        def value_of(variable: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            variable = tf.identity(variable)
            made = parametrization.picture(recipe.parametrization, variable, spec, size)
            seen = made
            if recipe.augmented:
                seen = picture_transforms.augmented(made, chances[:, step], gray, settings.augmentation)
            with relu_rules.redirected():
                captured = network.run(seen, objective.paths)
            values = objective.values(captured, arguments)
            (slope,) = tf.gradients(values, made)
            if slope is None:
                raise InspectionError(
                    f"{' and '.join(objective.paths)} of '{network.model.name}' does not depend on '{INPUT}' in a way "
                    "that has a gradient. Choose another objective."
                )
            slope = tf.cast(slope, tf.float32) - 2.0 * settings.l2 * (made - gray) / unit**2
            (gradient,) = tf.gradients(made, variable, grad_ys=slope)
            return values, gradient

        def project(variable: tf.Tensor, gradient: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
            if recipe.parametrization != parametrization.PIXELS:
                return variable
            variable = regularized(variable, gradient, step, settings)
            held = tf.clip_by_value(variable, (low - gray) / unit, (high - gray) / unit)
            return tf.where(settings.clip > 0, held, variable)

        begun = parametrization.start(recipe.parametrization, seeds, spec, size, settings.start_deviation)
        variable, history, album = climb(
            begun, value_of, rule=recipe.rule, settings=settings, steps=steps, project=project, snapshots=snapshots
        )
        images = clipped(parametrization.picture(recipe.parametrization, variable, spec, size))
        final = objective.values(network.run(images, objective.paths), arguments)
        flat = tf.reshape(album, tf.concat([[-1], tf.shape(variable)[1:]], axis=0))
        flat = tf.ensure_shape(flat, (None, *variable.shape[1:]))
        pages = clipped(parametrization.picture(recipe.parametrization, flat, spec, size))
        pages = tf.reshape(pages, tf.concat([tf.shape(album)[:2], tf.shape(pages)[1:]], axis=0))
        return [images, tf.transpose(history), final, tf.transpose(pages, (1, 0, 2, 3, 4))]

    return run


def regularized(pixels: tf.Tensor, gradient: tf.Tensor, step: tf.Tensor, settings: Settings) -> tf.Tensor:
    """Decay, blur and the two clips of Yosinski et al., in their order.

    Source: Yosinski et al., "Understanding Neural Networks Through Deep Visualization", 2015, section 3,
    https://arxiv.org/abs/1506.06579

    Args:
        pixels: Counted from gray, `(rows, height, width, channels)`.
        gradient: Of the value with respect to them, from before the step.
        step: Its number.
        settings: As tensors.
    """
    pixels *= 1.0 - settings.decay
    every = tf.cast(settings.blur_every, tf.int32)
    blurs = (every > 0) & (tf.math.floormod(step, tf.maximum(every, 1)) == 0)
    pixels = tf.cond(blurs, lambda: picture_transforms.blurred(pixels, settings.blur_radius), lambda: pixels)
    pixels = picture_transforms.without_smallest(pixels, tf.norm(pixels, axis=-1), settings.small_norm_percentile)
    contribution = tf.abs(tf.reduce_sum(gradient * pixels, axis=-1))
    return picture_transforms.without_smallest(pixels, contribution, settings.small_contribution_percentile)


def _step(
    rule: str,
    gradient: tf.Tensor,
    first: tf.Tensor,
    second: tf.Tensor,
    step: tf.Tensor,
    steps: tf.Tensor,
    settings: Settings,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """How far to go, and what the rule remembers."""
    done = tf.cast(step, tf.float32) / tf.cast(steps, tf.float32)
    rate = settings.learning_rate * (1.0 - settings.fall * done)
    own_axes = list(range(1, len(gradient.shape)))
    if rule == ADAM:
        count = tf.cast(step + 1, tf.float32)
        first = _BETA_1 * first + (1.0 - _BETA_1) * gradient
        second = _BETA_2 * second + (1.0 - _BETA_2) * tf.square(gradient)
        mean, square = first / (1.0 - _BETA_1**count), second / (1.0 - _BETA_2**count)
        return rate * mean / (tf.sqrt(square) + _EPSILON), first, second
    if rule == ASCENT:
        squares = tf.reduce_sum(tf.square(gradient), axis=own_axes, keepdims=True)
        change = tf.minimum(rate, settings.progress / tf.maximum(squares, 1e-30)) * gradient
        length = tf.reduce_mean(tf.abs(change), axis=own_axes, keepdims=True)
        factor = tf.where(settings.first_step > 0, settings.first_step / tf.maximum(length, 1e-30), 1.0)
        second = tf.where(step == 0, tf.ones_like(second) * factor, second)
        return second * change, first, second
    if rule == NORMALIZED:
        size = tf.reduce_mean(tf.abs(gradient), axis=own_axes, keepdims=True)
        return rate * gradient / tf.maximum(size, 1e-30), first, second
    starts = (step == steps // 4) | (step == steps - steps // 4)
    phase = tf.cast(step >= steps // 4, tf.float32) + tf.cast(step >= steps - steps // 4, tf.float32)
    first = tf.where(starts, tf.zeros_like(first), _MOMENTUM * first) + rate * 0.1**phase * gradient
    return first, first, second
