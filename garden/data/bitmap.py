"""Windows bitmaps, decoded with array operations.

TensorFlow's own decoder ignores palettes and refuses 1 and 4 bits.

Source: Microsoft, BITMAPFILEHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from garden.data.image_facts import BMP_MASKS_RGB, BMP_VARIANTS

# Sizes of the information header: of the first kind of Windows, and of the fifth and last.
_SMALLEST_INFORMATION, _LARGEST_INFORMATION = 40, 124
HEADER_BYTES = 14 + _LARGEST_INFORMATION
_PALETTE_BYTES = 4 * 256
_ALPHA_MASK = 0xFF000000 - 2**32  # As a signed number, because TensorFlow reads no unsigned ones.


@dataclasses.dataclass(frozen=True)
class BitmapHeader:
    """The fields of a bitmap's headers, int64 scalars except where said otherwise."""

    pixel_offset: tf.Tensor
    size: tf.Tensor
    width: tf.Tensor
    height: tf.Tensor  # Negative: the first row is the upper one.
    bits: tf.Tensor
    compression: tf.Tensor
    masks: tf.Tensor  # (4,), of red, green, blue and alpha.


def read_header(head: tf.Tensor) -> BitmapHeader:
    """Read the headers of a bitmap; never fails, `decode` does.

    Args:
        head: Scalar string: at least `HEADER_BYTES` of the file, filled up with zeros.
    """

    def fields(offset: int, number: int, dtype: tf.DType) -> tf.Tensor:
        text = tf.strings.substr(head, offset, number * dtype.size)
        return tf.cast(tf.io.decode_raw(text, dtype), tf.int64)

    pixel_offset, size, width, height = tf.unstack(fields(10, 4, tf.int32), num=4)
    return BitmapHeader(
        pixel_offset=pixel_offset,
        size=size,
        width=width,
        height=height,
        bits=fields(28, 1, tf.uint16)[0],
        compression=fields(30, 1, tf.int32)[0],
        masks=fields(54, 4, tf.int32),
    )


def decode(image_bytes: tf.Tensor, header: BitmapHeader) -> tf.Tensor:
    """Decode an uncompressed bitmap of 1, 4, 8, 24 or 32 bits per pixel.

    Returns: `(height, width, 3 or 4)`, uint8 RGB or RGB with alpha.
    Raises: tf.errors.InvalidArgumentError, if it is of another kind or ends too early.
    """
    height = tf.abs(header.height)
    is_known = tf.reduce_any(
        tf.reduce_all(tf.constant(BMP_VARIANTS, tf.int64) == tf.stack([header.bits, header.compression]), axis=1)
    )
    is_known &= (header.compression == 0) | tf.reduce_all(header.masks[:3] == tf.constant(BMP_MASKS_RGB, tf.int64))
    is_known &= (header.size >= _SMALLEST_INFORMATION) & (header.size <= _LARGEST_INFORMATION)
    # Checked here, because `substr` quotes the file in its message when it fails.
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    is_known &= (header.pixel_offset >= 0) & (header.pixel_offset <= length) & (14 + header.size <= length)
    is_known &= (header.width > 0) & (height > 0)
    rule = tf.raw_ops.Assert(
        condition=is_known,
        data=[tf.constant("Of BMP, only plain ones of 1, 4, 8, 24 and 32 bits are decoded.")],
    )
    with tf.control_dependencies([rule]):
        row_bytes = (header.width * header.bits + 31) // 32 * 4
        content = tf.strings.substr(image_bytes, header.pixel_offset, row_bytes * height)
        rows = tf.reshape(tf.io.decode_raw(content, tf.uint8), tf.stack([height, row_bytes]))
        rows = tf.cond(header.height < 0, lambda: rows, lambda: tf.reverse(rows, [0]))
        return tf.cond(header.bits <= 8, lambda: _look_up(rows, image_bytes, header), lambda: _reorder(rows, header))


def _look_up(rows: tf.Tensor, image_bytes: tf.Tensor, header: BitmapHeader) -> tf.Tensor:
    """Palette indices, several in a byte with the leftmost in the high bits, to RGB."""
    shifts = tf.cast(header.bits * tf.range(8 // header.bits - 1, -1, -1), tf.uint8)
    mask = tf.cast(tf.bitwise.left_shift(tf.constant(1, tf.int64), header.bits) - 1, tf.uint8)
    indices = tf.bitwise.bitwise_and(tf.bitwise.right_shift(rows[..., None], shifts), mask)
    indices = tf.reshape(indices, tf.stack([tf.shape(rows)[0], -1]))[:, : header.width]
    # 256 entries, whatever the file has, so that a wrong index is a wrong colour and not a failure.
    text = tf.strings.substr(image_bytes, 14 + header.size, _PALETTE_BYTES) + b"\x00" * _PALETTE_BYTES
    palette = tf.reshape(tf.io.decode_raw(tf.strings.substr(text, 0, _PALETTE_BYTES), tf.uint8), [256, 4])
    return tf.gather(tf.gather(palette, [2, 1, 0], axis=1), tf.cast(indices, tf.int32))


def _reorder(rows: tf.Tensor, header: BitmapHeader) -> tf.Tensor:
    """Blue, green, red and perhaps alpha to RGB and perhaps alpha."""
    per_pixel = header.bits // 8
    pixels = tf.reshape(rows[:, : header.width * per_pixel], tf.stack([-1, header.width, per_pixel]))
    # Without masks the fourth byte means nothing.
    has_alpha = (header.compression == 3) & (header.size >= 56) & (header.masks[3] == _ALPHA_MASK)
    return tf.gather(pixels, tf.constant([2, 1, 0, 3])[: tf.where(has_alpha, 4, 3)], axis=-1)
