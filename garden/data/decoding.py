"""Encoded bytes to upright RGB pixels: one graph of standard TensorFlow operations for training and serving.

The content decides the format, never a file name. Transparency shows `image_spec.BACKGROUND_RGB`. Of
animations the first frame counts. Only operations that old servers know are used; a server whose
`DecodeImage` knows no WebP refuses WebP pictures, and nothing else.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from garden.data import bitmap, exif, gif
from garden.data.image_facts import MAXIMUM_PIXELS, ImageFacts, damaged_pixels, inspect_bytes
from garden.image_spec import BACKGROUND_RGB

__all__ = ["ImageFacts", "decode_compiled", "decode_image", "decode_problem", "inspect_bytes"]

# Headers are read from so many bytes, filled up with zeros, because `tf.strings.substr` fails behind the end.
_HEAD_BYTES = bitmap.HEADER_BYTES

# Where a PNG names its transparent colour.
_BEFORE_PIXELS_BYTES = 128 * 1024


@tf.autograph.experimental.do_not_convert  # There is nothing to convert, and looking for it takes long.
def decode_image(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decode one picture: JPEG, PNG, GIF, BMP or WebP.

    Works eagerly, in `tf.data`, in `tf.map_fn` and in an exported graph: no Python function, no custom
    operation.

    Args:
        image_bytes: Scalar string: the file.
    Returns: `(height, width, 3)`, uint8 RGB, upright by the EXIF orientation; the background shows where it is
        transparent.
    Raises: tf.errors.InvalidArgumentError, if the bytes are no such picture, are damaged, or unpack to more
        than `MAXIMUM_PIXELS`.
    """
    image_bytes = tf.convert_to_tensor(image_bytes, tf.string)
    head = tf.strings.substr(image_bytes, 0, _HEAD_BYTES) + b"\x00" * _HEAD_BYTES
    matches = [
        tf.strings.substr(head, 0, 3) == b"\xff\xd8\xff",
        tf.strings.substr(head, 0, 8) == b"\x89PNG\r\n\x1a\n",
        (tf.strings.substr(head, 0, 4) == b"RIFF") & (tf.strings.substr(head, 8, 4) == b"WEBP"),
        tf.strings.substr(head, 0, 4) == b"GIF8",
        tf.strings.substr(head, 0, 2) == b"BM",
        True,
    ]
    decoders = [_decode_jpeg, _decode_png, _decode_webp, _decode_gif, _decode_bmp, _refuse]
    exif_words = [exif.JPEG_WORD, exif.PNG_WORD, exif.WEBP_WORD, b"", b"", b""]
    kind = tf.argmax(tf.cast(tf.stack(matches), tf.int32), output_type=tf.int32)  # The first that matches.
    pixels = tf.switch_case(kind, [functools.partial(decoder, image_bytes, head) for decoder in decoders])
    orientation = exif.read_orientation(image_bytes, word=tf.gather(exif_words, kind))
    return tf.ensure_shape(exif.apply_orientation(_to_rgb(pixels), orientation), (None, None, 3))


@functools.cache
def _compiled() -> Any:
    return tf.function(decode_image, autograph=False, input_signature=[tf.TensorSpec([], tf.string)])


def decode_compiled(image_bytes: tf.Tensor) -> tf.Tensor:
    """`decode_image` as one call into a graph: much quicker than eagerly, and other threads can run."""
    return _compiled()(image_bytes)


def decode_problem(image_bytes: bytes) -> str | None:
    """Decode one picture entirely, only to see whether it can be done.

    Args:
        image_bytes: The whole file.
    Returns: why it cannot be decoded, with the remedy; None, if it can.
    """
    facts = inspect_bytes(image_bytes)
    if facts.problem is not None:
        return facts.problem
    try:
        decode_compiled(tf.constant(image_bytes))
    except tf.errors.InvalidArgumentError:
        return damaged_pixels(facts.format)
    return None


# The decoders give pixels of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels.


def _decode_jpeg(image_bytes: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    del head
    with _within_limit(tf.io.extract_jpeg_shape(image_bytes)[:2]):
        # The accurate transform is what Pillow and most programs use; CMYK and YCCK become RGB in here too.
        return tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(image_bytes: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    # Grey (0) and RGB (2) may name one transparent colour, which channels=0 does not show. Not channels=4 for
    # all, because TensorFlow sets the alpha of grey pictures below 8 bits to 1, not to 255.
    colour_type = tf.strings.substr(head, 25, 1)

    def without_alpha_channel() -> tf.Tensor:
        before_pixels = tf.strings.substr(image_bytes, 0, _BEFORE_PIXELS_BYTES)
        return tf.cond(
            tf.size(exif.split_at(before_pixels, b"tRNS")) > 1,
            lambda: _with_opaque_alpha(tf.io.decode_png(image_bytes, channels=4)),
            lambda: tf.io.decode_png(image_bytes, channels=0),
        )

    with _within_limit(_numbers(head, 16, 2, tf.int32, little_endian=False)):
        return tf.cond(
            (colour_type == b"\x00") | (colour_type == b"\x02"),
            without_alpha_channel,
            lambda: tf.io.decode_png(image_bytes, channels=0),
        )


def _with_opaque_alpha(pixels: tf.Tensor) -> tf.Tensor:
    return tf.concat([pixels[..., :3], tf.cast(pixels[..., 3:] > 0, tf.uint8) * 255], axis=-1)


def _decode_webp(image_bytes: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    # The first chunk has the size: "VP8X" extended, "VP8L" lossless, "VP8 " lossy.
    variant = tf.strings.substr(head, 15, 1)
    extended = tf.stack([_numbers(head, offset, 1, tf.int32)[0] % 2**24 + 1 for offset in (24, 27)])
    lossless_bits = _numbers(head, 21, 1, tf.int32)[0]
    lossless = tf.stack([lossless_bits % 2**14 + 1, lossless_bits // 2**14 % 2**14 + 1])
    lossy = _numbers(head, 26, 2, tf.uint16) % 2**14
    with _within_limit(tf.where(variant == b"X", extended, tf.where(variant == b"L", lossless, lossy))):
        return tf.io.decode_image(image_bytes, channels=0, expand_animations=False)


def _decode_gif(image_bytes: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    del head
    header = gif.read_header(image_bytes)
    with _within_limit(header.canvas_size):
        return gif.decode_first_frame(image_bytes, header)


def _decode_bmp(image_bytes: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    header = bitmap.read_header(head)
    with _within_limit(tf.stack([header.width, tf.abs(header.height)])):
        return bitmap.decode(image_bytes, header)


def _refuse(image_bytes: tf.Tensor, head: tf.Tensor) -> tf.Tensor:
    """The branch of bytes that are no picture: it fails when it runs."""
    del image_bytes, head
    with _required(tf.constant(False), "The bytes are no picture; JPEG, PNG, GIF, BMP or WebP is needed."):
        return tf.zeros([0, 0, 3], tf.uint8)


def _within_limit(size: tf.Tensor) -> Any:
    """A context for operations that run only if `size`, height and width in any order, is no bomb."""
    return _required(
        tf.reduce_prod(tf.cast(size, tf.int64)) <= MAXIMUM_PIXELS,
        f"The picture has more than {MAXIMUM_PIXELS // 1_000_000} megapixels; make it smaller.",
    )


def _required(condition: tf.Tensor, rule: str) -> Any:
    # The raw operation, because `tf.debugging.Assert` wraps each check in two more functions.
    return tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[tf.constant(rule)])])


def _numbers(head: tf.Tensor, offset: int, count: int, dtype: tf.DType, *, little_endian: bool = True) -> tf.Tensor:
    """`(count,)`, int64: numbers of a header."""
    text = tf.strings.substr(head, offset, count * dtype.size)
    return tf.cast(tf.io.decode_raw(text, dtype, little_endian=little_endian), tf.int64)


def _to_rgb(pixels: tf.Tensor) -> tf.Tensor:
    """RGB from 1 to 4 channels, whose number is known only at run time."""
    channels = tf.shape(pixels)[-1]
    return tf.switch_case(
        channels - 1,
        [
            lambda: tf.repeat(pixels, 3, axis=-1),
            lambda: _composite(tf.gather(pixels, [0, 0, 0, 1], axis=-1)),
            lambda: pixels,
            lambda: _composite(pixels),
        ],
    )


def _composite(pixels: tf.Tensor) -> tf.Tensor:
    """Lay pixels with alpha over the background; rounds to the nearest.

    Input shape: `(height, width, 4)`, uint8, alpha not multiplied in.
    Output shape: `(height, width, 3)`, uint8.
    """
    # Floats are exact enough here (n / 255 is never near a half) and the quickest. One row per pixel and,
    # where it can be, a scalar background, because TensorFlow broadcasts slowly over more dimensions.
    background = BACKGROUND_RGB[0] if len(set(BACKGROUND_RGB)) == 1 else tf.constant(BACKGROUND_RGB, tf.float32)
    channels = tf.reshape(tf.cast(pixels, tf.float32), [-1, 4])
    colour = (channels[:, :3] - background) * (channels[:, 3:] / 255.0) + (background + 0.5)
    return tf.reshape(tf.cast(colour, tf.uint8), tf.concat([tf.shape(pixels)[:2], [3]], axis=0))
