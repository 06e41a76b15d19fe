"""The first frame of a GIF with its transparency, which TensorFlow's decoder paints black.

Source: CompuServe, "Graphics Interchange Format, version 89a", 1990, sections 18-26.

TensorFlow gives colours, no palette indices. So before decoding, the transparent entry of the palette is
overwritten with the background colour, and the flag that makes it transparent is cleared.
"""

from __future__ import annotations

import tensorflow as tf

from garden.image_spec import BACKGROUND_RGB

# Comments and XMP stand before the first frame; a frame behind so many bytes stays as TensorFlow decodes it.
_WINDOW_BYTES = 1024 * 1024
_LONGEST_READ = 16  # Behind any offset below.

_HEADER_BYTES = 13
_EXTENSION = 0x21
_GRAPHIC_CONTROL = 0xF9
_IMAGE = 0x2C

# Turns a number into a one-byte string, for which TensorFlow has no operation.
_EVERY_BYTE = [bytes([value]) for value in range(256)]


def decode_first_frame(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decode the first frame on its canvas.

    Args:
        image_bytes: Scalar string: a GIF.
    Returns: `(height, width, 3)`, uint8 RGB; transparent pixels and what the frame leaves of its canvas show
        the background.
    Raises: tf.errors.InvalidArgumentError, if the data is damaged.
    """
    text = tf.strings.substr(image_bytes, 0, _WINDOW_BYTES)
    window = tf.pad(tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32), [[0, _HEADER_BYTES + _LONGEST_READ]])
    control, frame = _find_first_frame(window)
    is_transparent = (control >= 0) & (tf.gather(window, frame) == _IMAGE)
    is_transparent &= tf.gather(window, tf.maximum(control, 0) + 3) % 2 == 1
    image_bytes = tf.cond(
        is_transparent,
        lambda: _without_transparency(image_bytes, window, control, frame),
        lambda: image_bytes,
    )
    pixels = tf.io.decode_image(image_bytes, channels=3, expand_animations=False)
    low, high = tf.gather(window, frame + [1, 3, 5, 7]), tf.gather(window, frame + [2, 4, 6, 8])
    left, top, width, height = tf.unstack(low + 256 * high)
    rows, columns = tf.range(tf.shape(pixels)[0])[:, None], tf.range(tf.shape(pixels)[1])[None, :]
    is_covered = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return tf.where(is_covered[..., None], pixels, tf.constant(BACKGROUND_RGB, tf.uint8))


def _find_first_frame(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Offsets of the last graphic control extension before the first frame (-1: none) and of that frame."""
    end = tf.size(window) - _LONGEST_READ

    def goes_on(position: tf.Tensor, control: tf.Tensor, in_extension: tf.Tensor) -> tf.Tensor:
        del control
        return (position < end) & (in_extension | (tf.gather(window, position) == _EXTENSION))

    def step(position: tf.Tensor, control: tf.Tensor, in_extension: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size = tf.gather(window, position)  # Of a block inside an extension; 0 ends the extension.
        is_control = ~in_extension & (tf.gather(window, position + 1) == _GRAPHIC_CONTROL)
        return (
            tf.minimum(position + tf.where(in_extension, 1 + size, 2), end),
            tf.where(is_control, position, control),
            ~in_extension | (size > 0),
        )

    start = (tf.minimum(_HEADER_BYTES + _palette_size(window[10]), end), tf.constant(-1), tf.constant(False))
    frame, control, _ = tf.while_loop(goes_on, step, start)
    return control, frame


def _without_transparency(image_bytes: tf.Tensor, window: tf.Tensor, control: tf.Tensor, frame: tf.Tensor) -> tf.Tensor:
    flags, index = tf.gather(window, control + 3), tf.gather(window, control + 6)
    local_size = _palette_size(tf.gather(window, frame + 9))
    size = tf.where(local_size > 0, local_size, _palette_size(window[10]))
    entry = tf.where(local_size > 0, frame + 10, _HEADER_BYTES) + 3 * index
    cleared = _overwrite(image_bytes, control + 3, tf.gather(_EVERY_BYTE, flags - 1))
    return tf.cond(
        3 * index < size,
        lambda: _overwrite(cleared, entry, tf.constant(bytes(BACKGROUND_RGB))),
        lambda: cleared,  # No palette entry, so no pixel can have it.
    )


def _overwrite(text: tf.Tensor, position: tf.Tensor, replacement: tf.Tensor) -> tf.Tensor:
    behind = position + tf.strings.length(replacement)
    rest = tf.strings.substr(text, behind, tf.strings.length(text))
    return tf.strings.join([tf.strings.substr(text, 0, position), replacement, rest])


def _palette_size(flags: tf.Tensor) -> tf.Tensor:
    """Bytes of the colour table that the flags of a screen or a frame announce; 0, if there is none."""
    return tf.where(flags >= 0x80, 3 * tf.bitwise.left_shift(2, flags % 8), 0)
