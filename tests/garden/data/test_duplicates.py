"""Copies are found, whatever was done to them; different pictures are told apart."""

import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from garden.data import duplicates
from garden.data.duplicates import MAXIMUM_DIFFERING_BITS, Fingerprint, fingerprint
from garden.data.image_folder import scan_image_folder


def alike(left, right):
    return duplicates.near_pairs([fingerprint(left), fingerprint(right)]) == [(0, 1)]


def reopened(image_bytes):
    return Image.open(io.BytesIO(image_bytes))


CHANGES = {
    "half the size": lambda pictures, picture: pictures.encoded(picture.resize((60, 40)), "PNG"),
    "three times the size": lambda pictures, picture: pictures.encoded(picture.resize((360, 240)), "PNG"),
    "JPEG of low quality": lambda pictures, picture: pictures.encoded(picture, "JPEG", quality=20),
    "WebP": lambda pictures, picture: pictures.encoded(picture, "WEBP", quality=50),
    "cropped by 2 %": lambda pictures, picture: pictures.encoded(picture.crop((2, 2, 118, 78)), "PNG"),
    "a little brighter": lambda pictures, picture: pictures.encoded(picture.point(lambda value: value * 1.05), "PNG"),
    "turned, with an orientation tag": lambda pictures, picture: pictures.encoded(
        picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=b"Exif\x00\x00" + pictures.tiff(6)
    ),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", range(5))
def test_a_changed_copy_is_found(name, seed, pictures):
    picture = pictures.colour_picture(seed, height=80, width=120)
    assert alike(pictures.encoded(picture, "PNG"), CHANGES[name](pictures, picture))


def test_transparent_pixels_count_as_background(pictures):
    picture = pictures.with_alpha(pictures.colour_picture())
    hidden = np.array(picture)
    hidden[:, :20, :3] = 77  # Below the transparent part another colour is stored.
    flat = Image.fromarray(pictures.seen_by_pillow(pictures.encoded(picture, "PNG")))
    for other in (pictures.encoded(Image.fromarray(hidden), "PNG"), pictures.encoded(flat, "BMP")):
        assert alike(pictures.encoded(picture, "PNG"), other)


def test_different_pictures_are_told_apart(pictures):
    prints = [fingerprint(pictures.encoded(pictures.colour_picture(seed), "PNG")) for seed in range(60)]
    assert duplicates.near_pairs(prints) == []


def test_a_mirror_image_is_another_picture(pictures):
    picture = pictures.colour_picture()
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert not alike(pictures.encoded(picture, "PNG"), pictures.encoded(mirrored, "PNG"))


def test_the_same_shape_in_another_colour_is_another_picture(pictures):
    disc = Image.new("RGB", (64, 64), "white")
    disc.paste((200, 30, 30), (16, 16, 48, 48))
    other = Image.new("RGB", (64, 64), "white")
    other.paste((30, 160, 30), (16, 16, 48, 48))
    left, right = fingerprint(pictures.encoded(disc, "PNG")), fingerprint(pictures.encoded(other, "PNG"))
    assert (left.bits != right.bits).sum() <= MAXIMUM_DIFFERING_BITS
    assert duplicates.near_pairs([left, right]) == []


def test_every_kind_of_picture_has_a_fingerprint(pictures):
    picture = pictures.with_alpha(pictures.colour_picture())
    sixteen = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 256)
    kinds = [pictures.encoded(picture.convert(mode), "PNG") for mode in ("1", "L", "LA", "RGB", "RGBA")]
    kinds += [pictures.encoded(picture.convert("CMYK"), "JPEG"), pictures.encoded(picture.convert("P"), "GIF")]
    assert all(fingerprint(kind).bits.shape == (128,) for kind in kinds)
    assert alike(pictures.encoded(sixteen, "PNG"), pictures.encoded(picture.convert("L"), "PNG"))


def test_near_pairs_are_those_of_counting_one_by_one(monkeypatch):
    """The matrix product, in small blocks, against a double loop; some fingerprints are missing."""
    monkeypatch.setattr(duplicates, "_BLOCK_ROWS", 7)
    chance = np.random.default_rng(1)
    thumbnail = np.zeros((16, 16, 3), np.uint8)
    centres = chance.integers(0, 2, (6, 128)).astype(bool)
    prints = []
    for index in range(50):
        flipped = chance.random(128) < 0.07
        prints.append(None if index % 11 == 5 else Fingerprint(centres[index % 6] ^ flipped, thumbnail))
    expected = [
        (left, right)
        for left, right in itertools.combinations(range(50), 2)
        if prints[left] is not None
        and prints[right] is not None
        and int((prints[left].bits != prints[right].bits).sum()) <= MAXIMUM_DIFFERING_BITS
    ]
    assert 10 < len(expected) < 500
    assert sorted(duplicates.near_pairs(prints)) == expected


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_connected_positions_are_a_partition_that_no_pair_crosses(pairs):
    groups = duplicates.connected(pairs, 20)
    assert sorted(itertools.chain(*groups)) == list(range(20))
    place = {index: number for number, group in enumerate(groups) for index in group}
    assert all(place[left] == place[right] for left, right in pairs)
    # No larger than needed: each group of n positions is held together by at least n - 1 pairs.
    for number, group in enumerate(groups):
        assert sum(place[left] == number for left, _ in pairs) >= len(group) - 1


def test_groups_of_a_folder(photos, pictures):
    picture = pictures.colour_picture(1)  # That of cat/0.png.
    (photos / "cat/copy.png").write_bytes((photos / "cat/0.png").read_bytes())
    (photos / "dog/small.jpg").write_bytes(pictures.encoded(picture.resize((30, 20)), "JPEG"))
    (photos / "owl/same.png").write_bytes((photos / "dog/1.png").read_bytes())
    groups = duplicates.find_duplicates(scan_image_folder(photos).files)
    found = [
        ([file.path.relative_to(photos).as_posix() for file in group.files], group.is_exact, group.crosses_classes)
        for group in groups
    ]
    assert found == [
        (["cat/0.png", "cat/copy.png"], True, False),
        (["dog/1.png", "owl/same.png"], True, True),
        (["cat/0.png", "cat/copy.png", "dog/small.jpg"], False, True),
    ]


def test_a_broken_file_resembles_nothing(photos):
    folder = scan_image_folder(photos)
    for index in (0, 1):
        (photos / f"cat/{index}.png").write_bytes(b"")
    prints = duplicates.fingerprint_files(folder.files)
    assert prints[0] is None and prints[1] is None and prints[2] is not None
    assert duplicates.near_pairs(prints) == []
