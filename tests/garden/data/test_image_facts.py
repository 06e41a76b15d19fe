"""Headers: format by content, and the sentence of each refusal."""

import struct

import pytest
from PIL import Image

from garden.data import image_facts
from garden.data.image_facts import ImageFacts, inspect_bytes, sniff_format

REFUSALS = {
    "empty": (b"", "the file is empty (0 bytes). Fetch or save it again, or remove it."),
    "text": (
        "Grüße".encode(),
        "it holds text, not a picture, whatever its name says. Fetch or save it again, or remove it.",
    ),
    "HTML": (
        b"<!DOCTYPE html><html>404</html>",
        "it holds HTML, not a picture, whatever its name says. Fetch or save it again, or remove it.",
    ),
    "SVG": (
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "SVG is a drawing, not pixels; garden reads JPEG, PNG, GIF, BMP and WebP. Render it as PNG.",
    ),
    "PDF": (
        b"%PDF-1.7",
        "PDF is a drawing, not pixels; garden reads JPEG, PNG, GIF, BMP and WebP. Render it as PNG.",
    ),
    "TIFF": (
        b"MM\x00*" + bytes(20),
        "it is a TIFF file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
    ),
    "HEIC": (
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        "it is a HEIC file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
    ),
    "AVIF": (
        b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif",
        "it is an AVIF file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
    ),
    "ICO": (
        b"\x00\x00\x01\x00\x01\x00",
        "it is an ICO file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
    ),
    "video (ISO media)": (
        b"\x00\x00\x00\x18ftypisom",
        "it is a video (ISO media) file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
    ),
    "JPEG XL": (
        b"\xff\x0a" + bytes(20),
        "it is a JPEG XL file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
    ),
    "unknown": (
        bytes(range(200, 256)),
        "it is no JPEG, PNG, GIF, BMP or WebP; its content is of no known kind. Fetch or save it again, or remove it.",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_is_no_picture_is_refused_by_name(kind):
    image_bytes, sentence = REFUSALS[kind]
    assert inspect_bytes(image_bytes) == ImageFacts(kind, problem=sentence)


@pytest.mark.parametrize("encoding, kind", [("JPEG",) * 2, ("PNG",) * 2, ("GIF",) * 2, ("BMP",) * 2, ("WEBP", "WebP")])
def test_facts_of_a_picture(encoding, kind, pictures):
    image_bytes = pictures.encoded(pictures.colour_picture(), encoding)
    mode = "P" if encoding == "GIF" else "RGB"
    assert inspect_bytes(image_bytes) == ImageFacts(kind, width=60, height=40, mode=mode)
    assert sniff_format(image_bytes) == kind


def test_orientation_and_animation_are_told(pictures):
    jpeg = pictures.encoded(pictures.colour_picture(), "JPEG", exif=b"Exif\x00\x00" + pictures.tiff(6))
    assert inspect_bytes(jpeg).orientation == 6
    png = pictures.encoded(pictures.colour_picture(), "PNG", exif=pictures.tiff(8))
    assert inspect_bytes(png).orientation == 8
    frames = [pictures.colour_picture(seed) for seed in (1, 2)]
    webp = pictures.encoded(pictures.colour_picture(), "WEBP", save_all=True, append_images=frames)
    assert inspect_bytes(webp).is_animated


def test_text_whose_first_kilobyte_ends_inside_a_character_is_text():
    assert sniff_format(b"x" * 1023 + "é".encode() + b"yz") == "text"


def test_a_header_that_is_cut_off(pictures):
    assert inspect_bytes(pictures.encoded(pictures.colour_picture(), "PNG")[:20]).problem == (
        "the PNG header is damaged or incomplete. Fetch or save it again, or remove it."
    )


def test_too_many_pixels(pictures, monkeypatch):
    monkeypatch.setattr(image_facts, "MAXIMUM_PIXELS", 2_000_000)
    image_bytes = pictures.encoded(Image.new("1", (2001, 1000)), "PNG")
    assert inspect_bytes(image_bytes).problem == (
        "it has 2001 × 1000 pixels; garden reads at most 2 megapixels. Make it smaller."
    )


def test_kinds_of_jpeg_that_few_programs_read(pictures):
    jpeg = bytearray(pictures.encoded(pictures.colour_picture(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    lossless = bytes(jpeg[: frame + 1]) + b"\xc3" + bytes(jpeg[frame + 2 :])
    assert inspect_bytes(lossless).problem == (
        "it is a lossless or hierarchical JPEG, which few programs read. Convert it to JPEG or PNG."
    )


def test_kinds_of_bmp_that_are_not_read(pictures):
    bitmap = pictures.encoded(pictures.colour_picture(), "BMP")
    compressed = bitmap[:28] + struct.pack("<HI", 8, 1) + bitmap[34:]
    assert inspect_bytes(compressed).problem == (
        "it is a BMP of 8 bits with compression 1; garden reads uncompressed BMP of 1, 4, 8, 24 and 32 bits. "
        "Convert it to JPEG or PNG."
    )
