"""build(): from a name to a flat functional network."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
from keras.src.backend.common import global_state

from garden import weights as weights_module
from garden.architectures import registry
from garden.errors import ArchitectureError

# Tells "not given" from `None`, which asks for features.
_DEFAULT = object()


def build(
    name: str,
    *,
    num_classes: int | None | object = _DEFAULT,
    input_shape: tuple[int, int, int] | None = None,
    weights: str | Path | None = None,
    dropout_rate: float | None = None,
    **options: Any,
) -> keras.Model:
    """Build a network of the catalogue.

    Args:
        name: Name of the entry; `garden.list_architectures` knows them.
        num_classes: Number of logits; by default the original's; None for features instead of logits.
        input_shape: `(height, width, channels)` with 1, 3 or 4 channels; by default the entry's.
        weights: None for random weights, the name of pretrained ones such as "imagenet", or a file's path.
            `garden.load_weights` does the same and returns the report of every tensor.
        dropout_rate: Share of the features dropped while training; by default the entry's.
        **options: What this network takes besides, such as `output_stride=16`; its entry's `options` say.
    Returns: a flat functional model. Its only input is `(batch, height, width, channels)`, float pixels
        prepared by the entry's ImageSpec; its only output is `(batch, num_classes)` float32 logits from the
        layer "logits", or `(batch, features)` float32. Options that ask for more outputs, such as
        `auxiliary_heads=True`, make it a dictionary with the logits under "logits".
    Raises:
        ArchitectureError: no such entry, or it cannot have this input shape or option.
        WeightsError: the weights cannot be had or do not fit.
        ValueError: an argument is not of the kind described.
    """
    entry = registry.get(name)
    classes = entry.num_classes if num_classes is _DEFAULT else num_classes
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int) or classes < 1):
        raise ValueError(f"`num_classes` must be a positive integer or None. Received: num_classes={num_classes!r}.")
    shape = entry.image_spec.input_shape if input_shape is None else _checked_shape(entry, input_shape)
    rate = entry.dropout_rate if dropout_rate is None else dropout_rate
    if not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
        raise ValueError(f"`dropout_rate` must be at least 0 and below 1. Received: dropout_rate={dropout_rate!r}.")
    chosen = _checked_options(entry, options)

    pixels = keras.Input(shape, name="pixels")
    outputs = entry.builder(entry.variant, pixels, num_classes=classes, dropout_rate=rate, **chosen)
    model = keras.Model(pixels, outputs, name=name)
    if weights is not None:
        weights_module.load_weights(model, weights, architecture=entry)
    return model


def outline(name: str, **arguments: Any) -> keras.Model:
    """The network of `build` without its weights: shapes and layers to read, no memory, no answers.

    Args: as `build`, but `weights`.
    """
    # Keras notes weights that are made in such a scope, to make them later; nobody shall make these.
    pending = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = list(pending)
    try:
        with keras.StatelessScope(initialize_variables=False):
            return build(name, **arguments)
    finally:
        global_state.set_global_attribute("uninitialized_variables", before)


def _checked_options(entry: registry.Architecture, options: dict[str, Any]) -> dict[str, Any]:
    for option, value in options.items():
        if option not in entry.options:
            known = f"it takes {' and '.join(entry.options)}" if entry.options else "it takes none"
            raise ArchitectureError(
                f"{entry.name} has no option {option!r}; {known}. Leave it out, or build a network that has it."
            )
        if value not in entry.options[option]:
            values = ", ".join(map(str, entry.options[option]))
            raise ArchitectureError(
                f"{entry.name} cannot be built with {option}={value!r}; it can be one of {values}. Give one of these."
            )
    # The entry's own value: somebody who writes 1 or 16.0 means True or 16, and builders tell these apart.
    return {
        option: values[values.index(options[option])] if option in options else values[0]
        for option, values in entry.options.items()
    }


def _checked_shape(entry: registry.Architecture, input_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    if len(shape) != 3 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(
            f"`input_shape` must be (height, width, channels), three positive integers. "
            f"Received: input_shape={input_shape!r}."
        )
    height, width, channels = shape
    if min(height, width) < entry.minimum_size:
        raise ArchitectureError(
            f"{entry.name} cannot see {height}×{width} pixels: its strides leave nothing of a side below "
            f"{entry.minimum_size}. Give at least {entry.minimum_size}×{entry.minimum_size}."
        )
    if channels not in (1, 3, 4):
        raise ArchitectureError(
            f"{entry.name} cannot be built with {channels} input channels; a picture has 1 (grey), "
            "3 (colour) or 4 (colour and one more). Give one of these."
        )
    return height, width, channels
