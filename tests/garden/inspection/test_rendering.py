"""Colours of maps: what zero, the largest and a box look like."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from garden.image_spec import ImageSpec
from garden.inspection import rendering


def palette(name, place):
    return np.round(np.array(matplotlib.colormaps[name](place)[:3]) * 255)


def test_unsigned_maps_go_from_zero():
    pixels = rendering.colours(np.array([[0.0, 2.0, 4.0]]), limit=4.0)
    np.testing.assert_array_equal(pixels[0, 0], palette("cividis", 0))
    np.testing.assert_array_equal(pixels[0, 1], palette("cividis", 128))
    np.testing.assert_array_equal(pixels[0, 2], palette("cividis", 255))


def test_signed_maps_are_symmetric_about_zero():
    pixels = rendering.colours(np.array([[-1.0, 0.0, 3.0, -3.0]]), signed=True, limit=3.0)
    np.testing.assert_array_equal(pixels[0, 1], palette("PuOr_r", 128))
    np.testing.assert_array_equal(pixels[0, 2:], [palette("PuOr_r", 255), palette("PuOr_r", 0)])
    # A positive map without a negative number keeps zero where it is.
    np.testing.assert_array_equal(rendering.colours(np.array([[0.0, 1.0]]), signed=True)[0, 0], palette("PuOr_r", 128))


def test_one_hot_pixel_does_not_hide_the_rest():
    values = np.full((20, 20), 1.0)
    values[3, 3] = 1000.0
    np.testing.assert_array_equal(rendering.colours(values)[0, 0], palette("cividis", 255))


def test_a_map_of_zeros_is_dark_and_not_a_division():
    np.testing.assert_array_equal(rendering.colours(np.zeros((2, 2)))[0, 0], palette("cividis", 0))
    assert (rendering.contrast(np.zeros((2, 2, 1))) == 128).all()


def test_maps_are_enlarged_to_the_picture():
    values = np.arange(6.0).reshape(2, 3)
    pixels = np.zeros((8, 15, 3), np.uint8)
    assert rendering.colours(values, size=(8, 15)).shape == (8, 15, 3)
    assert rendering.overlay(pixels, values).shape == (8, 15, 3)
    # Without opacity only the picture's luminance is left.
    gray = rendering.overlay(np.full((2, 3, 3), (0, 60, 240), np.uint8), values, opacity=0.0)
    assert (gray == 100).all()


def test_contrast_keeps_zero_in_the_middle():
    pixels = rendering.contrast(np.array([[[0.0], [-2.0], [1.0]]]))
    np.testing.assert_array_equal(pixels[0, :, 0], [128, 0, 191])
    np.testing.assert_array_equal(rendering.contrast(np.array([[[1.0, 0.0, -1.0]]]), limit=2.0)[0, 0], [191, 128, 64])


def test_tiles_stand_in_rows_with_gaps():
    tiles = [np.full((2, 3, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = rendering.grid(tiles, gap=1)
    assert sheet.shape == (5, 7, 3)
    assert (sheet[0, 0, 0], sheet[0, 4, 0], sheet[3, 0, 0]) == (10, 20, 30)
    assert (sheet[2] == 255).all() and (sheet[:, 3] == 255).all() and (sheet[3:, 4:] == 255).all()
    assert rendering.grid(tiles, columns=3, gap=1).shape == (2, 11, 3)


def test_pixels_are_repeated_until_both_sides_are_large():
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    large = rendering.enlarge(pixels, 5)
    assert large.shape == (6, 9, 3)
    np.testing.assert_array_equal(large[::3, ::3], pixels)
    np.testing.assert_array_equal(rendering.enlarge(pixels, 1), pixels)


def test_a_box_lies_on_its_pixels():
    boxed = rendering.boxed(np.full((20, 30, 3), 90, np.uint8), (4, 6, 12, 20))
    changed = (boxed != 90).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (4, 6, 11, 19)
    assert not changed[8, 12]
    assert (boxed[4, 6:20] == 255).all() and (boxed[5, 7:19] == 0).all()


def test_bars_stand_on_zero():
    pixels = rendering.bars(np.array([3.0, -1.0, 0.0]), height=40, width=30)
    assert pixels.shape == (40, 30, 3)
    drawn = (pixels != 255).any(axis=-1)
    assert drawn[:30, :10].all() and not drawn[30:, :10].any()
    assert drawn[30:, 10:20].all() and not drawn[:30, 10:20].any()
    assert not drawn[:, 20:].any()
    assert not (rendering.bars(np.zeros(2), height=4, width=4) != 255).any()


def test_captions_are_drawn_above_in_any_language():
    tile = np.full((5, 120, 3), 7, np.uint8)
    with_text = rendering.captioned(tile, "3×3 жук", size=12)
    assert with_text.shape == (23, 120, 3)
    np.testing.assert_array_equal(with_text[18:], tile)
    assert (with_text[:18] < 128).any()
    # Not the box that stands for a missing letter.
    first, second = (rendering.captioned(tile, letter)[:18] for letter in ("×", "ж"))
    assert (first != second).any()


@pytest.mark.parametrize("spec", [ImageSpec(2, 2), ImageSpec(2, 2, mean=(100.0,) * 3, std=(3.0,) * 3)])
def test_a_picture_is_its_pixels(spec):
    from garden.inspection import input_space

    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3)).astype(np.uint8)
    np.testing.assert_array_equal(rendering.picture(spec, input_space.prepare(spec, pixels)), pixels)


def test_regions_have_a_colour_each_and_a_legend_by_area():
    indices = np.zeros((10, 40), int)
    indices[:, 10:] = 7
    indices[:2, :5] = 3
    pixels = rendering.regions(np.zeros((10, 40, 3), np.uint8), indices, {0: "ant", 3: "cat", 7: "bee"}, opacity=1.0)
    # The largest area has the first colour.
    for place, (row, column) in enumerate([(5, 20), (5, 2), (0, 0)]):
        assert "#{:02X}{:02X}{:02X}".format(*pixels[row, column]) == rendering.class_colour(place)
    assert pixels.shape[1] == 40
    lines = (len(pixels) - 10) // 3
    assert len(pixels) == 10 + 3 * lines
    for place in range(3):
        swatch = pixels[10 + place * lines + lines // 2, 8]
        assert "#{:02X}{:02X}{:02X}".format(*swatch) == rendering.class_colour(place)


def test_more_regions_than_colours_share_gray():
    count = len(rendering.CLASS_COLOURS) + 3
    indices = np.repeat(np.arange(count), np.arange(count, 0, -1))[None]
    pixels = rendering.regions(
        np.zeros((1, indices.size, 3), np.uint8), indices, {index: str(index) for index in range(count)}, opacity=1.0
    )
    found = {"#{:02X}{:02X}{:02X}".format(*colour) for colour in pixels[0]}
    assert found == {*rendering.CLASS_COLOURS, rendering.NEUTRAL}
    one_line = len(rendering.regions(np.zeros((1, 9, 3), np.uint8), np.zeros((1, 9), int), {0: "one"})) - 1
    assert len(pixels) - 1 == one_line * (len(rendering.CLASS_COLOURS) + 1)


def test_a_frame_covers_the_outermost_pixels_only():
    tile = np.full((6, 7, 3), 50, np.uint8)
    framed = rendering.framed(tile, "#0A6432", width=2)
    inside = np.zeros((6, 7), bool)
    inside[2:-2, 2:-2] = True
    assert (framed[inside] == 50).all() and (framed[~inside] == [10, 100, 50]).all()
    assert (tile == 50).all(), "the tile itself is left as it is"


def test_an_outline_is_the_masks_border_and_the_rest_is_darker():
    mask = np.zeros((7, 9), bool)
    mask[1:6, 2:7] = True
    outlined = rendering.outlined(np.full((7, 9, 3), 90, np.uint8), mask)
    inner = np.zeros_like(mask)
    inner[2:5, 3:6] = True
    assert (outlined[inner] == 90).all() and (outlined[mask & ~inner] == 255).all() and (outlined[~mask] == 30).all()
    # A mask that reaches the picture's edge has no border there.
    assert (rendering.outlined(np.full((4, 4, 3), 90, np.uint8), np.ones((4, 4), bool)) == 90).all()
