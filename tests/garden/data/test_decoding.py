"""The decoder against Pillow: every format, mode and orientation; eagerly, in tf.data and in an exported graph.

Tolerances: 0 for lossless formats. 2 of 255 for JPEG and lossy WebP, whose decoders may round differently.
"""

import io
import queue
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from garden.data import decoding
from garden.data.image_facts import MAXIMUM_PIXELS
from garden.image_spec import BACKGROUND_RGB

JPEG_TOLERANCE = 2


def eagerly(image_bytes):
    return decoding.decode_image(tf.constant(image_bytes)).numpy()


@pytest.fixture(scope="module")
def in_a_data_set():
    """One data set for all tests, because building its graph takes half a second."""
    waiting = queue.SimpleQueue()
    source = tf.data.Dataset.from_generator(
        lambda: iter(waiting.get, None), output_signature=tf.TensorSpec([], tf.string)
    )
    iterator = source.map(decoding.decode_image).as_numpy_iterator()

    def decode(image_bytes):
        waiting.put(image_bytes)
        return next(iterator)

    yield decode
    waiting.put(None)


@pytest.fixture(scope="module")
def in_an_export(tmp_path_factory):
    """The decoder as the C++ loader runs it: a SavedModel in a session of TensorFlow 1, inside `tf.map_fn`."""
    path = str(tmp_path_factory.mktemp("export") / "decoder")
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def decode(image_bytes):
        signature = tf.TensorSpec([None, None, 3], tf.uint8)
        return {"pixels": tf.map_fn(decoding.decode_image, image_bytes, fn_output_signature=signature)}

    tf.saved_model.save(module, path, signatures=decode)
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    signature = loaded.signature_def["serving_default"]
    names = signature.inputs["image_bytes"].name, signature.outputs["pixels"].name
    yield lambda image_bytes: session.run(names[1], {names[0]: [image_bytes]})[0]
    session.close()


@pytest.fixture(params=["eagerly", "in_a_data_set", "in_an_export"])
def decode(request, in_a_data_set, in_an_export):
    return {"eagerly": eagerly, "in_a_data_set": in_a_data_set, "in_an_export": in_an_export}[request.param]


def ycck(pictures):
    """A CMYK JPEG whose Adobe marker says that its colours are YCCK."""
    cmyk = pictures.encoded(pictures.colour_picture().convert("CMYK"), "JPEG", quality=95)
    position = cmyk.index(b"Adobe")
    return cmyk[: position + 11] + b"\x02" + cmyk[position + 12 :]


def transparent_corner(pictures, **options):
    picture = pictures.colour_picture().quantize(16)
    return picture, {"transparency": picture.getpixel((0, 0)), **options}


def palette_png(pictures):
    picture, options = transparent_corner(pictures)
    return pictures.encoded(picture, "PNG", **options)


def transparent_gif(pictures):
    picture, options = transparent_corner(pictures)
    return pictures.encoded(picture, "GIF", **options)


def animated_gif(pictures):
    picture, options = transparent_corner(pictures)
    frames = [pictures.colour_picture(seed).quantize(16) for seed in (7, 8)]
    return pictures.encoded(picture, "GIF", save_all=True, append_images=frames, comment=b"hello", **options)


def bitmap_with_alpha(pictures):
    """32 bits with masks, alpha among them: a V4 header, which Pillow reads and does not write."""
    picture = pictures.with_alpha(pictures.colour_picture())
    pixels = np.asarray(picture)[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, *picture.size, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    header += masks + b"\x00" * (108 - 40 - len(masks))
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(pixels), 0, 0, 14 + 108) + header + pixels


def bitmap_top_down(pictures):
    flipped = pictures.encoded(pictures.colour_picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM), "BMP")
    (height,) = struct.unpack_from("<i", flipped, 22)
    return flipped[:22] + struct.pack("<i", -height) + flipped[26:]


def four_bit_bitmap(pictures):
    """4 bits per pixel, an odd width, a palette of 16 colours."""
    width, height = 5, 3
    palette = b"".join(struct.pack("BBBB", 10 * i, 255 - 10 * i, 3 * i, 0) for i in range(16))
    rows = b"".join(bytes([0x01 + row, 0x9A, 0xF0, 0]) for row in range(height))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 4, 0, len(rows), 0, 0, 16, 0)
    offset = 14 + 40 + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + palette + rows


def frames(pictures, **options):
    first, *others = [pictures.with_alpha(pictures.colour_picture(seed)) for seed in (0, 1, 2)]
    return pictures.encoded(first, "WEBP", save_all=True, append_images=others, **options)


# Name → (bytes, tolerance).
CASES = {
    "jpeg": (lambda pictures: pictures.encoded(pictures.colour_picture(), "JPEG", quality=90), JPEG_TOLERANCE),
    "jpeg progressive": (
        lambda pictures: pictures.encoded(pictures.colour_picture(), "JPEG", progressive=True),
        JPEG_TOLERANCE,
    ),
    "jpeg 4:4:4": (lambda pictures: pictures.encoded(pictures.colour_picture(), "JPEG", subsampling=0), JPEG_TOLERANCE),
    "jpeg grey": (lambda pictures: pictures.encoded(pictures.colour_picture().convert("L"), "JPEG"), JPEG_TOLERANCE),
    "jpeg cmyk": (lambda pictures: pictures.encoded(pictures.colour_picture().convert("CMYK"), "JPEG"), JPEG_TOLERANCE),
    "jpeg ycck": (ycck, JPEG_TOLERANCE),
    "png rgb": (lambda pictures: pictures.encoded(pictures.colour_picture(), "PNG"), 0),
    "png rgba": (lambda pictures: pictures.encoded(pictures.with_alpha(pictures.colour_picture()), "PNG"), 0),
    "png grey": (lambda pictures: pictures.encoded(pictures.colour_picture().convert("L"), "PNG"), 0),
    "png grey with alpha": (
        lambda pictures: pictures.encoded(pictures.with_alpha(pictures.colour_picture()).convert("LA"), "PNG"),
        0,
    ),
    "png palette": (lambda pictures: pictures.encoded(pictures.colour_picture().quantize(200), "PNG"), 0),
    "png palette of 2 bits": (
        lambda pictures: pictures.encoded(pictures.colour_picture().quantize(4), "PNG", bits=2),
        0,
    ),
    "png palette transparent": (palette_png, 0),
    "png black and white": (lambda pictures: pictures.encoded(pictures.colour_picture().convert("1"), "PNG"), 0),
    "png grey of 2 bits": (lambda pictures: pictures.raw_png(4, [b"\x1b", b"\xe4"], depth=2, colour_type=0), 0),
    "png rgb with a transparent colour": (
        lambda pictures: pictures.encoded(
            pictures.colour_picture(), "PNG", transparency=pictures.colour_picture().getpixel((5, 5))
        ),
        0,
    ),
    "png grey with a transparent colour": (
        lambda pictures: pictures.encoded(
            pictures.colour_picture().convert("L"),
            "PNG",
            transparency=pictures.colour_picture().convert("L").getpixel((5, 5)),
        ),
        0,
    ),
    "png grey of 16 bits": (
        lambda pictures: pictures.encoded(
            Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27), "PNG"
        ),
        0,
    ),
    "png rgb of 16 bits": (
        lambda pictures: pictures.raw_png(1, [bytes([18, 244, 86, 120, 154, 188])], depth=16, colour_type=2),
        0,
    ),
    "png rgba of 16 bits": (
        lambda pictures: pictures.raw_png(1, [bytes([18, 244, 86, 120, 154, 188, 100, 255])], depth=16, colour_type=6),
        0,
    ),
    "gif": (lambda pictures: pictures.encoded(pictures.colour_picture().quantize(64), "GIF"), 0),
    "gif transparent": (transparent_gif, 0),
    "gif animated": (animated_gif, 0),
    "bmp 1 bit": (lambda pictures: pictures.encoded(pictures.colour_picture().convert("1"), "BMP"), 0),
    "bmp 4 bits": (four_bit_bitmap, 0),
    "bmp 8 bits": (lambda pictures: pictures.encoded(pictures.colour_picture(width=61).quantize(256), "BMP"), 0),
    "bmp 24 bits": (lambda pictures: pictures.encoded(pictures.colour_picture(width=61), "BMP"), 0),
    "bmp 24 bits top down": (bitmap_top_down, 0),
    "bmp 32 bits": (lambda pictures: pictures.encoded(pictures.with_alpha(pictures.colour_picture()), "BMP"), 0),
    "bmp 32 bits with alpha": (bitmap_with_alpha, 0),
    "webp": (lambda pictures: pictures.encoded(pictures.colour_picture(), "WEBP", quality=90), JPEG_TOLERANCE),
    "webp lossless": (lambda pictures: pictures.encoded(pictures.colour_picture(), "WEBP", lossless=True), 0),
    "webp alpha": (
        lambda pictures: pictures.encoded(
            pictures.with_alpha(pictures.colour_picture()), "WEBP", lossless=True, exact=True
        ),
        0,
    ),
    "webp animated": (lambda pictures: frames(pictures, lossless=True), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_pillow(name, pictures, decode):
    produce, tolerance = CASES[name]
    image_bytes = produce(pictures)
    expected = pictures.seen_by_pillow(image_bytes)
    pixels = decode(image_bytes)
    assert pixels.dtype == np.uint8 and pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


def test_transparent_pixels_show_the_background_exactly(pictures, decode):
    pixels = decode(pictures.encoded(pictures.with_alpha(pictures.colour_picture()), "PNG"))
    assert (pixels[:, :20] == BACKGROUND_RGB).all()
    # Half transparent, on paper: alpha 100 of 255.
    picture = Image.new("RGBA", (1, 1), (10, 20, 30, 100))
    assert decode(pictures.encoded(picture, "PNG")).tolist() == [[[159, 163, 167]]]


def test_grey_of_few_bits_with_a_transparent_value(pictures, decode):
    chunk = pictures.png_chunk(b"tRNS", b"\x00\x01")  # Of the values 0, 1, 2, 3 the second.
    pixels = decode(pictures.raw_png(4, [b"\x1b"], depth=2, colour_type=0, extra=chunk))
    assert pixels[0, :, 0].tolist() == [0, 255, 170, 255]


def test_a_gif_whose_frame_is_smaller_than_its_canvas(pictures, decode):
    gif = bytearray(pictures.encoded(Image.new("RGB", (4, 3), (200, 0, 0)).quantize(2), "GIF"))
    frame = gif.index(b"\x2c\x00\x00\x00\x00\x04\x00\x03\x00")
    gif[6:10] = struct.pack("<HH", 8, 6)  # The canvas.
    gif[frame + 1 : frame + 5] = struct.pack("<HH", 2, 1)  # Left and top of the frame.
    expected = np.full((6, 8, 3), 255)
    expected[1:4, 2:6] = (200, 0, 0)
    np.testing.assert_array_equal(decode(bytes(gif)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"], ids=["little endian", "big endian"])
@pytest.mark.parametrize("encoding", ["JPEG", "PNG", "WEBP"])
def test_all_eight_orientations(orientation, order, encoding, pictures, decode):
    exif = b"Exif\x00\x00" + pictures.tiff(orientation, order=order)
    options = {"lossless": True} if encoding == "WEBP" else {}
    image_bytes = pictures.encoded(pictures.colour_picture(), encoding, exif=exif, **options)
    expected = pictures.seen_by_pillow(image_bytes)
    assert expected.shape == ((60, 40, 3) if orientation >= 5 else (40, 60, 3))
    difference = np.abs(decode(image_bytes).astype(int) - expected)
    assert difference.max() <= (JPEG_TOLERANCE if encoding == "JPEG" else 0)


def turned(pictures, image_bytes):
    """What the picture looks like, if orientation 6 was found and applied."""
    return np.rot90(pictures.seen_by_pillow(image_bytes), k=-1)


def test_exif_is_found_behind_other_segments(pictures, decode):
    plain = pictures.encoded(pictures.colour_picture(), "JPEG")
    segments = [
        (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + b" " * 30_000),
        (0xE2, b"ICC_PROFILE\x00\x01\x01" + bytes(range(256)) * 100),
        (0xE1, b"Exif\x00\x00" + pictures.tiff(6, field_type=4, order=">")),
    ]
    image_bytes = pictures.jpeg_with_segments(plain, *segments)
    np.testing.assert_allclose(decode(image_bytes), turned(pictures, plain), atol=JPEG_TOLERANCE)


def test_exif_whose_directory_stands_behind_its_thumbnail(pictures, decode):
    plain = pictures.encoded(pictures.colour_picture(), "JPEG")
    thumbnail = pictures.encoded(pictures.colour_picture(5, height=8, width=8), "JPEG")
    start = 8 + len(thumbnail)
    data = b"II" + struct.pack("<HI", 42, start) + thumbnail + pictures.tiff(6)[8:]
    image_bytes = pictures.jpeg_with_segments(plain, (0xE1, b"Exif\x00\x00" + data))
    np.testing.assert_allclose(decode(image_bytes), turned(pictures, plain), atol=JPEG_TOLERANCE)


def test_the_orientation_of_a_second_picture_behind_the_first_does_not_count(pictures, decode):
    plain = pictures.encoded(pictures.colour_picture(), "JPEG")
    second = pictures.encoded(pictures.colour_picture(1), "JPEG", exif=b"Exif\x00\x00" + pictures.tiff(6))
    np.testing.assert_allclose(decode(plain + second), pictures.seen_by_pillow(plain), atol=JPEG_TOLERANCE)


def test_exif_behind_the_pixels_of_a_large_png(pictures, decode):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    rows = [row.tobytes() for row in noise]
    chunk = pictures.png_chunk(b"eXIf", pictures.tiff(6))
    image_bytes = pictures.raw_png(300, rows, depth=8, colour_type=2, behind=chunk)
    assert len(image_bytes) > 128 * 1024
    np.testing.assert_array_equal(decode(image_bytes), np.rot90(noise, k=-1))


def test_exif_of_a_webp_in_the_words_of_jpeg(pictures, decode):
    image_bytes = pictures.encoded(pictures.colour_picture(), "WEBP", lossless=True, exif=pictures.tiff(6))
    start = image_bytes.index(b"EXIF")
    content = b"Exif\x00\x00" + pictures.tiff(6)
    repeated = image_bytes[:start] + b"EXIF" + struct.pack("<I", len(content)) + content + b"\x00" * (len(content) % 2)
    repeated = repeated[:4] + struct.pack("<I", len(repeated) - 8) + repeated[8:]
    np.testing.assert_array_equal(decode(repeated), np.rot90(np.asarray(pictures.colour_picture()), k=-1))


BROKEN_EXIF = {
    "empty": b"",
    "cut after the mark": b"II",
    "wrong mark": b"XX" + bytes(40),
    "wrong magic": b"II\x2b\x00" + bytes(40),
    "directory out of reach": b"II*\x00\xff\xff\xff\xff" + bytes(20),
    "directory in itself": b"II*\x00\x00\x00\x00\x00" + bytes(20),
    "more entries than bytes": b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(30),
    "value 0": None,
    "value 9": None,
    "a text for a value": None,
}


@pytest.mark.parametrize("name", BROKEN_EXIF)
def test_malformed_exif_leaves_the_picture_as_it_is(name, pictures, decode):
    made = {
        "value 0": pictures.tiff(0),
        "value 9": pictures.tiff(9),
        "a text for a value": pictures.tiff(6, field_type=2),
    }
    plain = pictures.encoded(pictures.colour_picture(), "JPEG")
    content = b"Exif\x00\x00" + (made.get(name) or BROKEN_EXIF[name])
    image_bytes = pictures.jpeg_with_segments(plain, (0xE1, content))
    np.testing.assert_allclose(decode(image_bytes), pictures.seen_by_pillow(plain), atol=JPEG_TOLERANCE)


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200), valid_start=st.booleans())
def test_no_exif_data_makes_a_picture_fail(content, valid_start, pictures):
    plain = pictures.encoded(pictures.colour_picture(height=8, width=8), "JPEG")
    start = b"Exif\x00\x00" + (b"MM\x00*\x00\x00\x00\x08" if valid_start else b"")
    pixels = decoding.decode_compiled(tf.constant(pictures.jpeg_with_segments(plain, (0xE1, start + content))))
    assert pixels.shape == (8, 8, 3)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_an_invalid_argument_and_nothing_worse(data, pictures):
    """One byte of a picture changes, or its end is missing: it decodes, or fails as served graphs may fail."""
    name = data.draw(st.sampled_from(["gif animated", "bmp 8 bits", "png rgba", "webp alpha", "jpeg"]))
    image_bytes = bytearray(CASES[name][0](pictures))
    # Headers are where damage does something.
    position = data.draw(st.integers(0, 100) | st.integers(0, len(image_bytes) - 1))
    if data.draw(st.booleans()):
        del image_bytes[position:]
    else:
        image_bytes[position] = data.draw(st.integers(0, 255))
    try:
        pixels = decoding.decode_compiled(tf.constant(bytes(image_bytes)))
    except tf.errors.InvalidArgumentError:
        return
    assert pixels.dtype == tf.uint8 and pixels.shape[-1] == 3


NO_PICTURES = {
    "nothing": b"",
    "text": b"hello",
    "a drawing": b"<svg/>",
    "TIFF": b"II*\x00" + bytes(50),
    "JPEG XL": b"\xff\x0a" + bytes(50),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_bytes_that_are_no_picture_are_an_invalid_argument(name, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG, PNG, GIF, BMP or WebP is needed"):
        decode(NO_PICTURES[name])


@pytest.mark.parametrize("encoding", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_a_picture_that_ends_too_early_is_an_invalid_argument(encoding, pictures, decode):
    image_bytes = pictures.encoded(pictures.colour_picture(), encoding)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(image_bytes[: len(image_bytes) // 2])


@pytest.mark.parametrize("offset", [10, 14])
def test_a_message_never_quotes_the_file(offset, pictures, decode):
    """TensorFlow's `substr` does, when it fails; bytes that are no UTF-8 then break the message itself."""
    bitmap = pictures.encoded(pictures.colour_picture().quantize(256), "BMP")
    broken = bitmap[:offset] + struct.pack("<i", -1) + bitmap[offset + 4 :]
    with pytest.raises(tf.errors.InvalidArgumentError, match="Of BMP, only plain ones"):
        decode(broken)


def bombs():
    """Headers of pictures that would unpack to gigabytes."""
    side = 20_000
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    jpeg = bytearray(jpeg.getvalue())
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + header + struct.pack(">I", zlib.crc32(header))
    png += struct.pack(">I", 3) + b"IDATabc" + struct.pack(">I", zlib.crc32(b"IDATabc"))
    gif = io.BytesIO()
    Image.new("L", (8, 8)).save(gif, "GIF")
    gif = bytearray(gif.getvalue())
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = io.BytesIO()
    Image.new("L", (8, 8)).save(bmp, "BMP")
    bmp = bytearray(bmp.getvalue())
    bmp[18:26] = struct.pack("<ii", side, side)
    extended = struct.pack("<I", 16_000)[:3] * 2
    return {
        "JPEG": bytes(jpeg),
        "PNG": png,
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "WebP": b"RIFF\x00\x01\x00\x00WEBPVP8X\x0a\x00\x00\x00" + b"\x10\x00\x00\x00" + extended + bytes(200),
        "WebP lossless": b"RIFF\x00\x01\x00\x00WEBPVP8L\x00\x01\x00\x00\x2f"
        + struct.pack("<I", 15_999 | 15_999 << 14)
        + bytes(200),
        "WebP lossy": b"RIFF\x00\x01\x00\x00WEBPVP8 \x00\x01\x00\x00\x10\x00\x00\x9d\x01\x2a"
        + struct.pack("<HH", 16_000, 16_000)
        + bytes(200),
    }


@pytest.mark.parametrize("name", bombs())
def test_decompression_bombs_are_refused_before_they_unpack(name, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 120 megapixels"):
        decode(bombs()[name])
    assert MAXIMUM_PIXELS == 120_000_000
    problem = decoding.decode_problem(bombs()[name])
    assert problem is not None and problem.endswith("garden reads at most 120 megapixels. Make it smaller.")


def test_problem_sentences_of_pictures_that_do_not_decode(pictures):
    good = pictures.encoded(pictures.colour_picture(), "PNG")
    assert decoding.decode_problem(good) is None
    # The header is whole, so only decoding finds it out.
    assert decoding.inspect_bytes(good[:-30]).problem is None
    assert decoding.decode_problem(good[:-30]) == (
        "the PNG data is damaged or ends too early. Fetch or save it again, or remove it."
    )
    assert decoding.decode_problem(b"hello") == (
        "it holds text, not a picture, whatever its name says. Fetch or save it again, or remove it."
    )


def test_the_graph_holds_no_function_of_python():
    graph = tf.function(decoding.decode_image).get_concrete_function(tf.TensorSpec([], tf.string)).graph
    definition = graph.as_graph_def()
    operations = {node.op for node in definition.node}
    operations |= {node.op for function in definition.library.function for node in function.node_def}
    assert {"DecodeJpeg", "DecodePng", "DecodeImage"} <= operations
    assert not {name for name in operations if "Py" in name}
