"""Pictures made on the spot, and the pixels that Pillow sees in them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

HEIGHT, WIDTH = 40, 60
BACKGROUND = (255, 255, 255)


def colour_picture(seed: int = 0, *, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """Smooth colours without any symmetry, so that each turn and mirror image differs; JPEG keeps them well."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def with_alpha(picture: Image.Image) -> Image.Image:
    """Transparent on the left, half transparent in the middle, opaque on the right."""
    columns = np.arange(picture.width) * 3 // picture.width
    alpha = np.array([0, 100, 255], np.uint8)[np.broadcast_to(columns, (picture.height, picture.width))]
    picture = picture.convert("RGB")
    picture.putalpha(Image.fromarray(alpha))
    return picture


def encoded(picture: Image.Image, encoding: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, encoding, **options)
    return stream.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(
    width: int,
    rows: list[bytes],
    *,
    depth: int,
    colour_type: int,
    extra: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """A PNG of raw rows, for the kinds that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\x00" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", pixels)
        + behind
        + png_chunk(b"IEND", b"")
    )


def tiff(orientation: int, *, order: str = "<", field_type: int = 3, entries_before: int = 2) -> bytes:
    """EXIF data, from the byte-order mark on, with one tag of orientation among others."""
    mark = b"II" if order == "<" else b"MM"
    value = struct.pack(order + ("HH" if field_type == 3 else "I"), orientation, *([0] if field_type == 3 else []))
    entries = b"".join(struct.pack(order + "HHII", 0x0100 + tag, 4, 1, 7) for tag in range(entries_before))
    entries += struct.pack(order + "HHI", 0x0112, field_type, 1) + value
    count = struct.pack(order + "H", entries_before + 1)
    return mark + struct.pack(order + "HI", 42, 8) + count + entries + struct.pack(order + "I", 0)


def jpeg_with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with segments (marker, content) right behind its start."""
    inserted = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return jpeg[:2] + inserted + jpeg[2:]


def seen_by_pillow(image_bytes: bytes) -> np.ndarray:
    """The independent implementation: Pillow's decoder, EXIF turn and compositing."""
    picture = Image.open(io.BytesIO(image_bytes))
    picture.seek(0)
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    picture = picture.convert("RGBA")
    background = Image.new("RGBA", picture.size, (*BACKGROUND, 255))
    return np.asarray(Image.alpha_composite(background, picture).convert("RGB"))


@pytest.fixture(scope="session")
def pictures() -> SimpleNamespace:
    """The functions above."""
    return SimpleNamespace(
        colour_picture=colour_picture,
        with_alpha=with_alpha,
        encoded=encoded,
        png_chunk=png_chunk,
        raw_png=raw_png,
        tiff=tiff,
        jpeg_with_segments=jpeg_with_segments,
        seen_by_pillow=seen_by_pillow,
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three classes with 10, 5 and 3 different pictures."""
    root = tmp_path / "photos"
    seed = 0
    for name, number in (("cat", 10), ("dog", 5), ("owl", 3)):
        (root / name).mkdir(parents=True)
        for index in range(number):
            seed += 1
            (root / name / f"{index}.png").write_bytes(encoded(colour_picture(seed), "PNG"))
    return root
