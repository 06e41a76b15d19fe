"""Photos and galleries as the network sees them: same pixels as everywhere, unique names, problems told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from garden.data import image_folder, split
from garden.errors import ImageDecodeError, ImageFolderError
from garden.image_spec import ImageSpec
from garden.inspection_inputs import pictures

SPEC = ImageSpec(8, 10)


def test_photos_have_the_networks_size_and_unique_names(tmp_path: Path, encode: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 25, 3), dtype=np.uint8)
    paths = []
    for folder in ("one", "two", "three/two"):
        (tmp_path / folder).mkdir(parents=True)
        paths.append(tmp_path / folder / "cat.png")
        paths[-1].write_bytes(encode(pixels))
    photos = pictures.read_photos(paths, SPEC)
    assert [photo.name for photo in photos] == ["cat", "two-cat", "cat-2"]
    expected = np.asarray(SPEC.resize_pixels(pixels)).astype(np.uint8)
    for photo in photos:
        np.testing.assert_array_equal(photo.pixels, expected)


def test_photo_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImageDecodeError, match=r"gone\.jpg cannot be read \(No such file or directory\)\. Name pic"):
        pictures.read_photos([tmp_path / "gone.jpg"], SPEC)
    (tmp_path / "text.jpg").write_text("not a picture")
    with pytest.raises(ImageDecodeError, match=r"text\.jpg cannot be shown to the network: ."):
        pictures.read_photos([tmp_path / "text.jpg"], SPEC)


@pytest.fixture
def folder(tmp_path: Path, encode: Any) -> Path:
    chance = np.random.default_rng(1)
    for name in ("ant", "wasp"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            pixels = chance.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(encode(pixels))
    return tmp_path / "photos"


def test_gallery_knows_the_networks_classes_and_all_groups(folder: Path) -> None:
    gallery = pictures.gallery_of_folder(folder, SPEC, ("bee", "ant"), maximum=100)
    assert gallery.labels == (1,) * 5 + (None,) * 5
    assert gallery.groups == ("ant",) * 5 + ("wasp",) * 5
    assert len(set(gallery.names)) == 10
    assert gallery.pixels(2, 6).shape == (4, 8, 10, 3)


def test_large_gallery_is_thinned_evenly(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = pictures.gallery_of_folder(folder, SPEC, None, maximum=4)
    assert gallery.groups == ("ant", "ant", "wasp", "wasp")
    told = capsys.readouterr().err
    assert "4 of the 10 pictures are searched, spread evenly; --max-gallery takes more." in told


def test_damaged_picture_of_a_gallery_is_left_out_and_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "ant" / "0.png").read_bytes()
    (folder / "ant" / "0.png").write_bytes(whole[:-40])
    gallery = pictures.gallery_of_folder(folder, SPEC, None, maximum=100)
    assert len(gallery.images) == 9
    assert gallery.groups.count("ant") == 4


def test_folder_without_pictures_is_told(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.jpg").write_text("nothing")
    with pytest.raises(ImageFolderError, match=r"has no picture that can be used; pictures to search lie in class "):
        pictures.gallery_of_folder(tmp_path, SPEC, None, maximum=10)


def test_photos_of_a_run_are_those_that_it_held_out_of_each_class_in_turn(folder: Path, tmp_path: Path) -> None:
    scanned = image_folder.scan_image_folder(folder)
    ants = [file for file in scanned.files if file.label_index == 0]
    wasps = [file for file in scanned.files if file.label_index == 1]
    sides = split.Split(train=tuple(ants[:2] + wasps[:2]), validation=tuple(ants[2:] + wasps[2:]), test=())
    split.write_split_csv(sides, tmp_path / "split.csv", class_names=scanned.class_names)
    chosen = pictures.photos_of_run(tmp_path, count=3)
    assert [path.parent.name for path in chosen] == ["ant", "wasp", "ant"]
    assert not set(chosen) & {file.path for file in sides.train}
    gallery = pictures.gallery_of_run(tmp_path, SPEC, ("ant", "wasp"), maximum=100)
    assert gallery is not None
    assert sorted(gallery.labels) == [0] * 5 + [1] * 5
    assert pictures.photos_of_run(tmp_path / "elsewhere", count=3) == []
    assert pictures.gallery_of_run(tmp_path / "elsewhere", SPEC, (), maximum=3) is None
