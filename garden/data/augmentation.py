"""Random versions of an image, from Keras' layers, the same for the same seed.

Presets, on pixels of 0..255 at the network's size:

    none    nothing
    light   mirror, shift and zoom by up to a tenth, turn by up to 9 degrees, a little brightness and contrast
    heavy   mirror, shift and zoom by up to a quarter, turn by up to 29 degrees, colours, one erased rectangle
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class _GivenSeed(keras.random.SeedGenerator):
    """Hands the layers seeds made from one tensor, so that an image's version depends on nothing else."""

    def __init__(self) -> None:
        super().__init__(seed=0)
        self.base: tf.Tensor | None = None
        self.draws = 0

    def restart(self, base: tf.Tensor) -> None:
        """Begin the sequence of `base`, a uint32 tensor of shape `(2,)`."""
        self.base, self.draws = base, 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        self.draws += 1
        # A large odd step keeps the sequences of neighbouring seeds apart.
        return self.base + tf.constant([0, (self.draws * 0x9E3779B1) % 2**32], tf.uint32)


def _layers(preset: str) -> list[keras.layers.Layer]:
    if preset == "light":
        return [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomTranslation(0.1, 0.1, fill_mode="nearest"),
            keras.layers.RandomRotation(0.025, fill_mode="nearest"),
            keras.layers.RandomZoom((-0.1, 0.1), fill_mode="nearest"),
            keras.layers.RandomBrightness(0.1, value_range=(0, 255)),
            keras.layers.RandomContrast(0.1, value_range=(0, 255)),
        ]
    if preset == "heavy":
        return [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            keras.layers.RandomRotation(0.08, fill_mode="nearest"),
            keras.layers.RandomZoom((-0.25, 0.25), fill_mode="nearest"),
            keras.layers.RandomColorJitter(
                value_range=(0, 255),
                brightness_factor=0.2,
                contrast_factor=0.2,
                saturation_factor=(0.3, 0.7),
                hue_factor=0.02,
            ),
            keras.layers.RandomErasing(factor=0.5, scale=(0.02, 0.15), value_range=(0, 255)),
        ]
    raise ValueError(f'`preset` must be "light" or "heavy". Received: preset={preset!r}.')


def make_augment(preset: str) -> Augment:
    """A function `(images, seeds) → images`, to be called in a `tf.function` or a `tf.data` map.

    Args:
        preset: "none", "light" or "heavy".
    Input shape: images `(batch, height, width, 3)`, float32 within 0..255; seeds `(batch, 2)`, uint32.
    Output shape: as the images.
    """
    if preset == "none":
        return lambda images, seeds: images
    layers = _layers(preset)
    given_seed = _GivenSeed()
    for layer in layers:
        _replace_seed_generators(layer, given_seed)

    def augment_one(image_and_seed: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, seed = image_and_seed
        given_seed.restart(seed)
        for layer in layers:
            image = layer(image, training=True)
        return tf.clip_by_value(tf.cast(image, tf.float32), 0.0, 255.0)

    def augment(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        augmented = tf.map_fn(augment_one, (images, seeds), fn_output_signature=tf.float32, parallel_iterations=4)
        return tf.ensure_shape(augmented, images.shape)

    return augment


def _replace_seed_generators(layer: object, given_seed: _GivenSeed) -> None:
    """Keras' composed augmentation layers hold others; each keeps its generator under the name `generator`."""
    for value in list(vars(layer).values()):
        if isinstance(value, keras.layers.Layer):
            _replace_seed_generators(value, given_seed)
    if hasattr(layer, "generator"):
        layer.generator = given_seed
