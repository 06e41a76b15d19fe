"""The first frame of a GIF on its canvas, with transparency.

Source: CompuServe, "Graphics Interchange Format, version 89a", 1990, sections 18-26.

TensorFlow's decoder paints transparent pixels black, and gives a frame that is smaller than its canvas without the
canvas. It gives colours, no palette indices. So the file is edited before it is decoded: the transparent entry of
the palette becomes the background colour, the flag that makes it transparent is cleared, and the frame moves to the
upper left corner; from there it is put onto the canvas.
"""

from __future__ import annotations

import dataclasses

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


@dataclasses.dataclass(frozen=True)
class GifHeader:
    """What stands before the pixels of the first frame; int32 scalars except where said otherwise."""

    window: tf.Tensor  # (bytes,): the beginning of the file, with zeros behind it.
    control: tf.Tensor  # Offset of the graphic control extension of the first frame; -1: none.
    frame: tf.Tensor  # Offset of the first frame.
    corner: tf.Tensor  # (2,): top and left of the frame.
    frame_size: tf.Tensor  # (2,): height and width.
    canvas_size: tf.Tensor  # (2,): height and width, large enough for the frame.


def read_header(image_bytes: tf.Tensor) -> GifHeader:
    """Read what stands before the pixels of the first frame; never fails, `decode_first_frame` does."""
    text = tf.strings.substr(image_bytes, 0, _WINDOW_BYTES)
    numbers = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int32)
    window = tf.pad(numbers, [[0, _HEADER_BYTES + _LONGEST_READ]])
    control, frame = _find_first_frame(window)
    places = tf.stack([frame + 3, frame + 1, frame + 7, frame + 5, 8, 6])
    fields = tf.gather(window, places) + 256 * tf.gather(window, places + 1)
    corner, frame_size, screen_size = fields[0:2], fields[2:4], fields[4:6]
    return GifHeader(window, control, frame, corner, frame_size, tf.maximum(screen_size, corner + frame_size))


def decode_first_frame(image_bytes: tf.Tensor, header: GifHeader) -> tf.Tensor:
    """Decode the first frame on its canvas.

    Args:
        image_bytes: Scalar string: a GIF.
        header: Its header.
    Returns: `(height, width, 3)`, uint8 RGB; transparent pixels and what the frame leaves of its canvas show
        the background.
    Raises: tf.errors.InvalidArgumentError, if the data is damaged.
    """
    window = header.window
    rule = tf.raw_ops.Assert(
        condition=tf.gather(window, header.frame) == _IMAGE, data=[tf.constant("The GIF has no frame.")]
    )
    with tf.control_dependencies([rule]):
        flags = tf.gather(window, tf.maximum(header.control, 0) + 3)
    image_bytes = tf.cond(
        (header.control >= 0) & (flags % 2 == 1),
        lambda: _without_transparency(image_bytes, header),
        lambda: image_bytes,
    )
    in_the_corner = _overwrite(image_bytes, header.frame + 1, tf.constant(bytes(4)))
    pixels = tf.io.decode_image(in_the_corner, channels=3, expand_animations=False)
    rest = header.canvas_size - header.corner - header.frame_size
    covered = tf.ones(header.frame_size, tf.bool)[..., None]
    margins = tf.pad(tf.stack([header.corner, rest], axis=1), [[0, 1], [0, 0]])
    return tf.where(tf.pad(covered, margins), tf.pad(pixels, margins), tf.constant(BACKGROUND_RGB, tf.uint8))


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


def _without_transparency(image_bytes: tf.Tensor, header: GifHeader) -> tf.Tensor:
    window, control, frame = header.window, header.control, header.frame
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
    # Behind the end `substr` would fail, and quote the file in its message.
    length = tf.strings.length(text)
    position = tf.minimum(position, length)
    rest = tf.strings.substr(text, tf.minimum(position + tf.strings.length(replacement), length), length)
    return tf.strings.join([tf.strings.substr(text, 0, position), replacement, rest])


def _palette_size(flags: tf.Tensor) -> tf.Tensor:
    """Bytes of the colour table that the flags of a screen or a frame announce; 0, if there is none."""
    return tf.where(flags >= 0x80, 3 * tf.bitwise.left_shift(2, flags % 8), 0)
