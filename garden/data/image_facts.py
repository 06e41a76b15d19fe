"""What the header of a picture tells before anything is decoded: format, size, mode, or why it is refused."""

from __future__ import annotations

import dataclasses
import io
import struct
import warnings

from PIL import ExifTags, Image

# The formats that `garden.data.decoding` decodes, in the graph and everywhere else.
DECODABLE_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WebP")

# 108-megapixel telephones pass; a "decompression bomb" of a few kilobytes that unpacks to gigabytes does not.
MAXIMUM_PIXELS = 120_000_000

# How the BMP variants that the graph decodes are told apart: bits per pixel, compression (0 plain, 3 masks).
BMP_VARIANTS = ((1, 0), (4, 0), (8, 0), (24, 0), (32, 0), (32, 3))
BMP_MASKS_RGB = (0x00FF0000, 0x0000FF00, 0x000000FF)

_CONVERT = "Convert it to JPEG or PNG."
_DAMAGED = "Fetch or save it again, or remove it."

# ISO media files ("....ftyp") name their content by a brand.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "CUR"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"\x1aE\xdf\xa3", "Matroska video"),
)


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What the header of a picture says.

    Args:
        format: "JPEG", "PNG", "GIF", "BMP", "WebP", or the name of what it is instead ("TIFF", "text", …).
        width: Columns, in pixels, before EXIF orientation is applied; 0 where unknown.
        height: Rows, in pixels; 0 where unknown.
        mode: As Pillow names it ("RGB", "CMYK", "P", "I;16", …); "" where unknown.
        orientation: Of the EXIF data, 1..8: where the stored first row and column belong.
        is_animated: Whether it has more than one frame; the first counts.
        problem: Why garden refuses it, with the remedy; None where nothing is known against it.
    """

    format: str
    width: int = 0
    height: int = 0
    mode: str = ""
    orientation: int = 1
    is_animated: bool = False
    problem: str | None = None


def sniff_format(image_bytes: bytes) -> str:
    """Name the format by content, never by extension; "unknown" where the content tells nothing."""
    head = image_bytes[:64]
    if not head:
        return "empty"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF":
        return "WebP" if head[8:12] == b"WEBP" else "RIFF"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _HEIF_BRANDS:
            # "mif1" is the brand of both; the compatible brands decide.
            return "AVIF" if any(avif in image_bytes[12:64] for avif in _AVIF_BRANDS) else "HEIC"
        return "AVIF" if brand in _AVIF_BRANDS else "video (ISO media)"
    return _sniff_text(image_bytes[:1024])


def inspect_bytes(image_bytes: bytes) -> ImageFacts:
    """Read a picture's header; cheap, because no pixel is decoded.

    Args:
        image_bytes: The whole file.
    Returns: its facts; `problem` tells why garden refuses it. A file without a problem here can still have
        damaged pixels: `garden.data.decoding.decode_problem` looks at them.
    """
    kind = sniff_format(image_bytes)
    if kind not in DECODABLE_FORMATS:
        return ImageFacts(kind, problem=_refusal(kind))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Our own limit on pixels, below, is the one that counts.
            with Image.open(io.BytesIO(image_bytes), formats=[kind.upper()]) as image:
                facts = ImageFacts(
                    kind,
                    *image.size,
                    image.mode,
                    orientation=_orientation(image),
                    is_animated=getattr(image, "is_animated", False),
                )
    except Image.DecompressionBombError:
        return ImageFacts(kind, problem=_too_many_pixels())
    except Exception:  # Pillow raises half a dozen types for damaged headers.
        return ImageFacts(kind, problem=f"the {kind} header is damaged or incomplete. {_DAMAGED}")
    if facts.width * facts.height > MAXIMUM_PIXELS:
        return dataclasses.replace(facts, problem=_too_many_pixels(facts.width, facts.height))
    return dataclasses.replace(facts, problem=_variant_problem(kind, image_bytes))


def damaged_pixels(kind: str) -> str:
    """The sentence for a picture with a good header whose pixels do not decode."""
    return f"the {kind} data is damaged or ends too early. {_DAMAGED}"


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Looking for a chunk behind the pixels would decode them.
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def _refusal(kind: str) -> str:
    if kind == "empty":
        return f"the file is empty (0 bytes). {_DAMAGED}"
    if kind in ("SVG", "PDF", "PostScript"):
        return f"{kind} is a drawing, not pixels; garden reads JPEG, PNG, GIF, BMP and WebP. Render it as PNG."
    if kind in ("text", "HTML"):
        return f"it holds {kind}, not a picture, whatever its name says. {_DAMAGED}"
    if kind == "unknown":
        return f"it is no JPEG, PNG, GIF, BMP or WebP; its content is of no known kind. {_DAMAGED}"
    article = "an" if kind[0] in "AHIO" and kind != "HEIC" else "a"
    return f"it is {article} {kind} file; garden reads JPEG, PNG, GIF, BMP and WebP. {_CONVERT}"


def _too_many_pixels(width: int = 0, height: int = 0) -> str:
    size = f"{width} × {height} pixels" if width else "more pixels than Pillow dares to open"
    return f"it has {size}; garden reads at most {MAXIMUM_PIXELS // 1_000_000} megapixels. Make it smaller."


def _variant_problem(kind: str, image_bytes: bytes) -> str | None:
    if kind == "JPEG" and (frame := _jpeg_frame(image_bytes)) is not None:
        marker, precision = frame
        if precision != 8:
            return f"it is a JPEG of {precision} bits per channel; garden reads 8. {_CONVERT}"
        if marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
            return f"it is a lossless or hierarchical JPEG, which few programs read. {_CONVERT}"
    if kind == "BMP":
        if len(image_bytes) < 54 or struct.unpack_from("<I", image_bytes, 14)[0] < 40:
            return f"it is an OS/2 BMP; garden reads Windows BMP. {_CONVERT}"
        bits, compression = struct.unpack_from("<HI", image_bytes, 28)
        if (bits, compression) not in BMP_VARIANTS:
            return (
                f"it is a BMP of {bits} bits with compression {compression}; "
                f"garden reads uncompressed BMP of 1, 4, 8, 24 and 32 bits. {_CONVERT}"
            )
        if compression == 3 and struct.unpack_from("<3I", image_bytes, 54) != BMP_MASKS_RGB:
            return f"it is a BMP with unusual colour masks. {_CONVERT}"
    return None


def _jpeg_frame(image_bytes: bytes) -> tuple[int, int] | None:
    """The start-of-frame marker and its bits per channel."""
    position = 2
    while position + 5 <= len(image_bytes) and image_bytes[position] == 0xFF:
        marker = image_bytes[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker, image_bytes[position + 4]
        if marker == 0xDA:
            return None
        position += 2 + int.from_bytes(image_bytes[position + 2 : position + 4], "big")
    return None


def _sniff_text(head: bytes) -> str:
    stripped = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if stripped.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if stripped.startswith(b"<svg") or (stripped.startswith(b"<?xml") and b"<svg" in stripped):
        return "SVG"
    if b"\x00" not in head:
        # A multi-byte character may be cut at the end of `head`.
        for end in range(len(head), max(len(head) - 4, 0), -1):
            try:
                head[:end].decode("utf-8")
                return "text"
            except UnicodeDecodeError:
                continue
    return "unknown"
