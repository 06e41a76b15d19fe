"""EXIF orientation, read and applied with standard TensorFlow operations.

Source: CIPA DC-008 (Exif 2.32), sections 4.5.2 and 4.6.4; TIFF 6.0, section 2.

Everything here is tolerant: what cannot be read has orientation 1, because a picture must never fail over
its metadata. The graph is kept small, since every data set and every export carries it.
"""

from __future__ import annotations

import tensorflow as tf

# EXIF of JPEG and usually of PNG stands in front of the pixels, where one or two segments of 64 KiB may
# precede it; that of WebP and of some PNGs stands at the end.
_HEAD_BYTES = 128 * 1024
_TAIL_BYTES = 64 * 1024

_ORIENTATION_TAG = 0x0112
_MAXIMUM_ENTRIES = 512

# What stands before the TIFF structure in a JPEG, a PNG and a WebP. A WebP chunk has its size between; some
# writers repeat the word of JPEG there.
_TIFF_MARKS = [list(b"II*\x00"), list(b"MM\x00*")]
JPEG_WORD, PNG_WORD, WEBP_WORD = b"Exif\x00\x00", b"eXIf", b"EXIF"

# The marker of a scan of compressed pixels, and the upper byte of its length.
_JPEG_SCAN = b"\xff\xda\x00"


def read_orientation(image_bytes: tf.Tensor, *, word: tf.Tensor) -> tf.Tensor:
    """Where the stored first row and column belong.

    Args:
        image_bytes: Scalar string: the file.
        word: Scalar string: one of the words above; empty for a format without EXIF.
    Returns: int32, scalar, 1..8; 1 where the file has no readable orientation.
    """
    length = tf.strings.length(image_bytes)
    head = tf.strings.substr(image_bytes, 0, _HEAD_BYTES)
    tail_start = tf.minimum(tf.maximum(length - _TAIL_BYTES, _HEAD_BYTES), length)
    # Behind the pixels of a JPEG a second picture may stand, whose orientation is not this one's.
    searched = tf.cond(
        word == JPEG_WORD,
        lambda: split_at(head, _JPEG_SCAN)[0],
        lambda: head + tf.strings.substr(image_bytes, tail_start, _TAIL_BYTES),
    )
    parts = split_at(searched, word)
    return tf.cond(
        (tf.size(parts) > 1) & (tf.strings.length(word) > 0),
        lambda: _orientation_behind(parts, image_bytes, word),
        lambda: tf.constant(1),
    )


def _orientation_behind(parts: tf.Tensor, image_bytes: tf.Tensor, word: tf.Tensor) -> tf.Tensor:
    # What looks like the first scan may be that of a thumbnail inside the EXIF data, which must not end there.
    start = tf.strings.length(parts[0]) + tf.strings.length(word)
    text = tf.cond(
        word == JPEG_WORD,
        lambda: tf.strings.substr(image_bytes, start, _TAIL_BYTES),
        lambda: _skip_webp_words(parts[1] + b"\x00" * 16, word),
    )
    return _tiff_orientation(tf.io.decode_raw(text + b"\x00" * 16, tf.uint8))


def split_at(text: tf.Tensor, word: tf.Tensor | bytes) -> tf.Tensor:
    """`(1,)` or `(2,)` strings: what stands before the first occurrence of `word`, and what behind it.

    The quickest search that TensorFlow has: looking at single bytes takes ten times as long.
    """
    return tf.raw_ops.StringSplitV2(input=text[None], sep=word, maxsplit=1).values


def _skip_webp_words(text: tf.Tensor, word: tf.Tensor) -> tf.Tensor:
    text = tf.cond(word == WEBP_WORD, lambda: tf.strings.substr(text, 4, _TAIL_BYTES), lambda: text)
    return tf.cond(
        tf.strings.substr(text, 0, len(JPEG_WORD)) == JPEG_WORD,
        lambda: tf.strings.substr(text, len(JPEG_WORD), _TAIL_BYTES),
        lambda: text,
    )


def _tiff_orientation(window: tf.Tensor) -> tf.Tensor:
    """Orientation from the first directory of a TIFF structure; 1 where it has none or is malformed.

    Args:
        window: `(bytes,)`, uint8, at least 12, from the byte-order mark on.
    """
    big_endian = window[0] == ord("M")
    is_tiff = tf.reduce_any(tf.reduce_all(window[:4] == _TIFF_MARKS, axis=1))

    def number(digits: tf.Tensor, size: int) -> tf.Tensor:
        powers = [256**power for power in range(size)]
        weights = tf.where(big_endian, tf.constant(powers[::-1], tf.int64), tf.constant(powers, tf.int64))
        return tf.reduce_sum(tf.cast(digits, tf.int64) * weights, axis=-1)

    size = tf.size(window, out_type=tf.int64)
    directory = tf.minimum(number(window[4:8], 4), size - 2)
    count = tf.minimum(number(window[directory : directory + 2], 2), (size - directory - 2) // 12)
    count = tf.where(is_tiff, tf.minimum(count, _MAXIMUM_ENTRIES), 0)
    # Each entry: tag, type, number of values, value. Seen as six numbers of two bytes.
    entries = tf.reshape(window[directory + 2 : directory + 2 + 12 * count], [-1, 6, 2])
    fields = tf.cast(number(entries, 2), tf.int32)
    # A SHORT (type 3) fills the first half of the value, a LONG (type 4) all of it.
    is_long = fields[:, 1] == 4
    value = tf.where(is_long & big_endian, fields[:, 5], fields[:, 4])
    usable = (fields[:, 0] == _ORIENTATION_TAG) & (is_long | (fields[:, 1] == 3)) & (value >= 1) & (value <= 8)
    return tf.concat([tf.boolean_mask(value, usable), [1]], axis=0)[0]


def apply_orientation(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turn and mirror pixels so that the picture stands upright.

    Args:
        pixels: `(height, width, channels)`.
        orientation: int32, scalar, 1..8.
    Returns: the upright picture; height and width change places for 5..8.
    """

    def transposed() -> tf.Tensor:
        return tf.transpose(pixels, [1, 0, 2])

    return tf.switch_case(
        orientation - 1,
        [
            lambda: pixels,
            lambda: tf.reverse(pixels, [1]),
            lambda: tf.reverse(pixels, [0, 1]),
            lambda: tf.reverse(pixels, [0]),
            transposed,
            lambda: tf.reverse(transposed(), [1]),
            lambda: tf.reverse(transposed(), [0, 1]),
            lambda: tf.reverse(transposed(), [0]),
        ],
    )
