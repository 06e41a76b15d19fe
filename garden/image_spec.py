"""ImageSpec: the pixels that a network expects, and the operations that make them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `garden --help` must not load TensorFlow.
    import tensorflow as tf

# What shows through transparent pixels, and fills the border of resize="pad". Part of every spec's fingerprint.
BACKGROUND_RGB = (255, 255, 255)

# Goes up with every change of the code below or of the decoder that changes a pixel; cached activations depend on it.
PREPARATION_VERSION = 2


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """The pixels that a network expects.

    `prepare` makes them from uint8 RGB pixels of any size, with standard TensorFlow operations only.
    Training, evaluation, inspection and export all call it, so they cannot differ.

    Args:
        height: Rows of the network's input, in pixels.
        width: Columns of the network's input, in pixels.
        channels: 3 for RGB, 1 for luminance.
        mean: Subtracted per channel, on the scale 0..255, in the network's channel order.
        std: Divided by per channel, on the scale 0..255.
        resize: "crop" resizes the short side to `size / crop_fraction` and cuts out the centre; "stretch"
            ignores the aspect ratio; "pad" keeps it and fills the border with `BACKGROUND_RGB`.
        crop_fraction: Share of the resized short side that survives resize="crop".
        interpolation: "bicubic", "bilinear" or "area"; always antialiased.
        channel_order: "rgb" or "bgr", as the weights were trained.
        invert: Whether light and dark change places first (255 - x); LeNet reads ink on paper.
    Raises: ValueError, if an argument is none of the above.
    """

    height: int
    width: int
    channels: int = 3
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resize: str = "crop"
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    channel_order: str = "rgb"
    invert: bool = False

    def __post_init__(self) -> None:
        _require(self.height > 0 and self.width > 0, "`height` and `width` must be positive", self)
        _require(self.channels in (1, 3), "`channels` must be 1 or 3", self)
        _require(len(self.mean) == len(self.std) == self.channels, "`mean` and `std` need one number per channel", self)
        _require(self.resize in ("crop", "stretch", "pad"), '`resize` must be "crop", "stretch" or "pad"', self)
        _require(0 < self.crop_fraction <= 1, "`crop_fraction` must be above 0 and at most 1", self)
        _require(
            self.interpolation in ("bicubic", "bilinear", "area"),
            '`interpolation` must be "bicubic", "bilinear" or "area"',
            self,
        )
        _require(self.channel_order in ("rgb", "bgr"), '`channel_order` must be "rgb" or "bgr"', self)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`, as `garden.build` takes it."""
        return (self.height, self.width, self.channels)

    def with_size(self, height: int, width: int) -> ImageSpec:
        """The same preparation for another input size."""
        return dataclasses.replace(self, height=height, width=width)

    def prepare(self, pixels: tf.Tensor) -> tf.Tensor:
        """Make the network's input from pixels of any size.

        Input shape: `(…, any height, any width, 3)`, uint8 RGB; one image or a batch.
        Output shape: `(…, height, width, channels)`, float32.
        """
        return self.normalize(self.resize_pixels(pixels))

    def resize_pixels(self, pixels: tf.Tensor) -> tf.Tensor:
        """First half of `prepare`: to the network's size, still RGB on the scale 0..255.

        Input shape: `(…, any height, any width, 3)`, uint8 RGB; one image or a batch.
        Output shape: `(…, height, width, 3)`, float32, whole numbers within 0..255.
        """
        import tensorflow as tf

        images = tf.cast(pixels, tf.float32)
        if self.resize == "crop":
            images = self._resize_and_crop(images)
        elif self.resize == "stretch":
            images = tf.image.resize(images, (self.height, self.width), self.interpolation, antialias=True)
        else:
            images = self._resize_and_pad(images)
        # Bicubic overshoots at edges; no camera gives such pixels. Whole numbers, as an image library gives them:
        # published scores of pretrained networks then come out the same.
        images = tf.round(tf.clip_by_value(images, 0.0, 255.0))
        return tf.ensure_shape(images, (*pixels.shape[:-3], self.height, self.width, 3))

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """Second half of `prepare`: channel order and scale.

        Input shape: `(…, height, width, 3)`, float32 RGB within 0..255.
        Output shape: `(…, height, width, channels)`, float32.
        """
        import tensorflow as tf

        if self.invert:
            images = 255.0 - images
        if self.channels == 1:
            images = tf.image.rgb_to_grayscale(images)
        elif self.channel_order == "bgr":
            images = tf.reverse(images, axis=[-1])
        return (images - tf.constant(self.mean, tf.float32)) / tf.constant(self.std, tf.float32)

    def _resize_and_crop(self, images: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        shape = tf.shape(images)
        wanted = tf.constant([self.height, self.width])
        size = tf.cast(shape[-3:-1], tf.float32)
        target = tf.constant([self.height, self.width], tf.float32) / self.crop_fraction
        # The side that is short in relation to the target decides, so that the crop always lies inside.
        scale = tf.reduce_max(tf.round(target) / size)
        resized = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), wanted)
        top_left = (resized - wanted) // 2
        if self.interpolation == "area":
            images = tf.image.resize(images, resized, self.interpolation)
            top, left = tf.unstack(top_left)
            return images[..., top : top + self.height, left : left + self.width, :]
        # The operation under `tf.image.resize`, asked for the crop only. The whole resized picture would cost time,
        # and, for one pixel by some ten thousand, all memory.
        cut = tf.raw_ops.ScaleAndTranslate(
            images=tf.reshape(images, tf.concat([[-1], shape[-3:]], axis=0)),
            size=wanted,
            scale=tf.cast(resized, tf.float32) / size,
            translation=-tf.cast(top_left, tf.float32),
            kernel_type={"bicubic": "keyscubic", "bilinear": "triangle"}[self.interpolation],
            antialias=True,
        )
        return tf.reshape(cut, tf.concat([shape[:-3], wanted, [3]], axis=0))

    def _resize_and_pad(self, images: tf.Tensor) -> tf.Tensor:
        import tensorflow as tf

        wanted = tf.constant([self.height, self.width])
        size = tf.cast(tf.shape(images)[-3:-1], tf.float32)
        scale = tf.reduce_min(tf.cast(wanted, tf.float32) / size)
        # A line of pixels stays at least one pixel wide.
        resized = tf.clip_by_value(tf.cast(tf.round(size * scale), tf.int32), 1, wanted)
        images = tf.image.resize(images, resized, self.interpolation, antialias=True)
        background = tf.constant(BACKGROUND_RGB, tf.float32)
        top, left = tf.unstack((wanted - resized) // 2)
        # Padding is with zeros, so the background becomes zero for the while.
        return tf.image.pad_to_bounding_box(images - background, top, left, self.height, self.width) + background

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; `from_json` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ImageSpec:
        """The spec that `to_json` wrote."""
        fields = dict(value)
        fields["mean"], fields["std"] = tuple(fields["mean"]), tuple(fields["std"])
        return cls(**fields)

    def fingerprint(self) -> str:
        """A hash of everything that changes a pixel on its way into the network."""
        facts = json.dumps(
            {**self.to_json(), "background": BACKGROUND_RGB, "version": PREPARATION_VERSION}, sort_keys=True
        )
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _require(condition: bool, rule: str, spec: ImageSpec) -> None:
    if not condition:
        raise ValueError(f"{rule}. Received: {spec!r}.")
