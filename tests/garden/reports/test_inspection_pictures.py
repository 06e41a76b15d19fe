"""Panels as bytes."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from garden.inspection import rendering
from garden.inspection.panel import Curve, Panel
from garden.reports import inspection_pictures

CHANCE = np.random.default_rng(0)
PHOTO = CHANCE.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def make_panel(pixels=PHOTO, **changes):
    facts = {"method": "m", "image": "i", "layer": "", "unit": "", "pixels": pixels, "values": {}, "caption": ""}
    return Panel(**{**facts, **changes})


def test_a_picture_is_kept_bit_for_bit():
    content = inspection_pictures.encoded(PHOTO)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), PHOTO)
    assert inspection_pictures.data_address(content).startswith("data:image/png;base64,iVBOR")


def test_what_moves_keeps_its_frames_and_its_pace():
    frames = np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in (0, 80, 160, 240)])
    image = Image.open(io.BytesIO(inspection_pictures.encoded(frames, 0.25)))
    assert (image.format, image.n_frames, image.info["duration"], image.info["loop"]) == ("GIF", 4, 250, 0)
    shades = []
    for frame in range(4):
        image.seek(frame)
        shades.append(int(np.asarray(image.convert("RGB"))[4, 4, 0]))
    assert shades == [0, 80, 160, 240]
    last = Image.open(io.BytesIO(inspection_pictures.thumbnail(frames)))
    assert abs(int(np.asarray(last)[4, 4, 0]) - 240) < 5


def test_values_come_back_from_the_archive_whatever_their_names():
    arrays = {
        "map": CHANCE.normal(size=(3, 4)),
        "file": np.arange(3),
        "names": np.array(["ü", "b"]),
        "none": np.array(3),
    }
    with np.load(io.BytesIO(inspection_pictures.npz(arrays)), allow_pickle=False) as archive:
        assert set(archive.files) == set(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(archive[name], values)


def test_objects_are_not_pickled():
    with pytest.raises(ValueError, match="Object arrays cannot be saved when allow_pickle=False"):
        inspection_pictures.npz({"x": np.array([object()])})


def test_curves_are_values_too():
    panel = make_panel(values={"map": np.ones((2, 2))}, curves=(Curve("deletion", np.arange(3), np.ones(3)),))
    assert set(inspection_pictures.values_of(panel)) == {"map", "curve deletion x", "curve deletion y"}


def decode(stored):
    halves = np.frombuffer(base64.b64decode(stored["data"]), "<f2").astype(np.float64)
    rows, columns = (-(-stored[side] // stored["step"]) for side in ("height", "width"))
    return halves.reshape(rows, columns) * stored["scale"]


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_a_map_for_a_browser_has_three_digits_whatever_its_size(size):
    values = (CHANCE.normal(size=(9, 7)) * size).astype(np.float32)
    values[0, 0] = 1e-3 * size
    np.testing.assert_allclose(decode(inspection_pictures.browser_map(values)), values, rtol=1e-3, atol=0)


def test_a_large_map_is_thinned_out_and_says_so():
    values = np.arange(1000 * 500, dtype=np.float32).reshape(1000, 500)
    stored = inspection_pictures.browser_map(values)
    assert (stored["height"], stored["width"], stored["step"]) == (1000, 500, 3)
    np.testing.assert_allclose(decode(stored), values[::3, ::3], rtol=1e-3)


def test_maps_of_nothing_and_of_no_numbers_survive():
    assert not decode(inspection_pictures.browser_map(np.zeros((2, 3), np.float32))).any()
    values = np.array([[np.nan, np.inf], [-2.0, 1.0]], np.float32)
    np.testing.assert_array_equal(decode(inspection_pictures.browser_map(values)), values)


@pytest.mark.parametrize("signed", [False, True])
def test_how_a_picture_follows_from_its_map_is_found_and_never_guessed(signed):
    values = CHANCE.normal(size=(5, 6)).astype(np.float32)
    values = values if signed else np.abs(values)
    facts = {"values": {"map": values}, "signed": signed, "input_pixels": PHOTO}
    over = rendering.overlay(PHOTO, values, signed=signed)
    alone = rendering.colours(values, signed=signed, size=(20, 30))
    assert inspection_pictures.drawing_of(make_panel(over, **facts)) == "overlay"
    assert inspection_pictures.drawing_of(make_panel(alone, **facts)) == "colours"
    # Another scale or other colours: a colour bar would lie.
    other = rendering.colours(values, signed=signed, size=(20, 30), limit=9.0)
    assert inspection_pictures.drawing_of(make_panel(other, **facts)) == "picture"
    assert inspection_pictures.drawing_of(make_panel(over, **{**facts, "signed": not signed})) == "picture"
    assert inspection_pictures.drawing_of(make_panel(PHOTO)) == "picture"


@pytest.mark.parametrize(
    ("map_shape", "picture_shape", "fits"),
    [
        ((20, 30), (20, 30), True),
        ((2, 3), (20, 30), True),
        ((7, 5), (224, 150), True),
        ((20, 30), (38, 30), False),  # A line of text above.
        ((227, 227), (245, 689), False),  # One of three on a sheet.
        ((20,), (20, 30), False),
        ((0, 0), (20, 30), False),
    ],
)
def test_values_are_only_read_off_pictures_of_their_shape(map_shape, picture_shape, fits):
    panel = make_panel(np.zeros((*picture_shape, 3), np.uint8), values={"map": np.zeros(map_shape)})
    assert (inspection_pictures.map_of(panel) is not None) == fits
