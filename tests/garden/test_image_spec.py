"""ImageSpec: pixels known on paper, and Pillow's own resizing beside ours."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from garden.image_spec import BACKGROUND_RGB, ImageSpec


def random_picture(height, width, *, coarse=6, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (coarse, coarse, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def prepare(spec, pixels):
    return spec.prepare(tf.constant(pixels)).numpy()


@pytest.mark.parametrize(("height", "width"), [(300, 451), (451, 300), (64, 64), (30, 41)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_crop_is_pillows_resize_of_the_short_side_and_the_centre(height, width, interpolation):
    pixels = random_picture(height, width)
    spec = ImageSpec(56, 56, interpolation=interpolation)
    scale = 64 / min(height, width)
    size = (round(width * scale), round(height * scale))
    image = Image.fromarray(pixels).resize(size, Image.Resampling[interpolation.upper()])
    left, top = (size[0] - 56) // 2, (size[1] - 56) // 2
    expected = np.asarray(image.crop((left, top, left + 56, top + 56)), np.float32)
    difference = np.abs(prepare(spec, pixels) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.3


def test_stretch_is_pillows_resize():
    pixels = random_picture(90, 40)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 48), Image.Resampling.BICUBIC), np.float32)
    assert np.abs(prepare(ImageSpec(48, 32, resize="stretch"), pixels) - expected).max() <= 2


def test_pad_keeps_the_aspect_ratio_and_shows_the_background():
    pixels = np.zeros((20, 40, 3), np.uint8)
    prepared = prepare(ImageSpec(40, 40, resize="pad"), pixels)
    assert (prepared[:10] == BACKGROUND_RGB).all()
    assert (prepared[30:] == BACKGROUND_RGB).all()
    assert (prepared[10:30] == 0).all()


def test_resized_pixels_are_whole_numbers_within_0_and_255():
    checks = (np.indices((31, 31)).sum(axis=0) // 4 % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=-1)
    resized = ImageSpec(47, 47).resize_pixels(tf.constant(checks)).numpy()
    assert set(np.unique(resized)) <= set(range(256))
    assert resized.min() == 0
    assert resized.max() == 255


def test_channel_order_mean_and_std_on_paper():
    pixels = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    rgb = ImageSpec(4, 4, mean=(10.0, 10.0, 10.0), std=(1.0, 2.0, 4.0))
    np.testing.assert_allclose(prepare(rgb, pixels)[0, 0], [0, 5, 5])
    bgr = ImageSpec(4, 4, mean=(10.0, 10.0, 10.0), std=(1.0, 2.0, 4.0), channel_order="bgr")
    np.testing.assert_allclose(prepare(bgr, pixels)[0, 0], [20, 5, 0])


def test_grey_is_luminance_and_inverting_comes_first():
    pixels = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    grey = ImageSpec(4, 4, channels=1, mean=(0.0,), std=(1.0,))
    np.testing.assert_allclose(prepare(grey, pixels)[0, 0], [0.2989 * 255], atol=0.05)
    inverted = ImageSpec(4, 4, channels=1, mean=(0.0,), std=(1.0,), invert=True)
    np.testing.assert_allclose(prepare(inverted, pixels)[0, 0], [(0.587 + 0.114) * 255], atol=0.05)


def test_a_batch_gives_what_its_pictures_give():
    pictures = np.stack([random_picture(30, 50, seed=seed) for seed in range(3)])
    spec = ImageSpec(16, 24)
    np.testing.assert_array_equal(prepare(spec, pictures), [prepare(spec, picture) for picture in pictures])


def test_a_graph_gives_what_eager_gives_for_any_size():
    spec = ImageSpec(24, 24, mean=(127.0,) * 3, std=(128.0,) * 3)
    graph = tf.function(spec.prepare, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    for height, width in [(24, 24), (7, 90), (100, 33)]:
        pixels = tf.constant(random_picture(height, width))
        prepared = graph(pixels)
        assert prepared.shape == (24, 24, 3)
        np.testing.assert_array_equal(prepared, spec.prepare(pixels))


@pytest.mark.parametrize("shape", [(1, 500, 3), (500, 1, 3), (1, 1, 3)])
def test_extreme_shapes_still_fill_the_input(shape):
    for resize in ("crop", "stretch", "pad"):
        assert prepare(ImageSpec(8, 8, resize=resize), np.full(shape, 7, np.uint8)).shape == (8, 8, 3)


def test_one_row_of_pixels_takes_no_more_memory_than_the_input():
    # Resized as a whole it would be 256 × 16,384,000 pixels.
    prepared = prepare(ImageSpec(224, 224), np.full((1, 64_000, 3), 9, np.uint8))
    assert (prepared == 9).all()


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "area"])
def test_the_crop_is_cut_out_of_the_whole_resized_picture(interpolation):
    pixels = random_picture(120, 333).astype(np.float32)
    scale = 64 / 120
    whole = tf.image.resize(pixels, (64, round(333 * scale)), interpolation, antialias=interpolation != "area")
    left = (round(333 * scale) - 56) // 2
    expected = np.clip(whole[4:60, left : left + 56], 0, 255)
    prepared = prepare(ImageSpec(56, 56, interpolation=interpolation), pixels.astype(np.uint8))
    np.testing.assert_allclose(prepared, expected, atol=0.501)


def test_json_goes_both_ways_and_every_field_changes_the_fingerprint():
    spec = ImageSpec(8, 9, mean=(1.0, 2.0, 3.0))
    assert ImageSpec.from_json(spec.to_json()) == spec
    others = [
        ImageSpec(9, 9, mean=(1.0, 2.0, 3.0)),
        ImageSpec(8, 9, mean=(1.0, 2.0, 4.0)),
        ImageSpec(8, 9, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 2.0)),
        ImageSpec(8, 9, mean=(1.0, 2.0, 3.0), resize="pad"),
        ImageSpec(8, 9, mean=(1.0, 2.0, 3.0), crop_fraction=1.0),
        ImageSpec(8, 9, mean=(1.0, 2.0, 3.0), interpolation="area"),
        ImageSpec(8, 9, mean=(1.0, 2.0, 3.0), channel_order="bgr"),
        ImageSpec(8, 9, mean=(1.0, 2.0, 3.0), invert=True),
    ]
    assert len({item.fingerprint() for item in [spec, *others]}) == len(others) + 1
    assert spec.with_size(9, 9) == others[0]
    assert spec.input_shape == (8, 9, 3)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"height": 0}, "`height` and `width` must be positive"),
        ({"channels": 4}, "`channels` must be 1 or 3"),
        ({"mean": (0.0,)}, "`mean` and `std` need one number per channel"),
        ({"resize": "squash"}, '`resize` must be "crop", "stretch" or "pad"'),
        ({"crop_fraction": 0.0}, "`crop_fraction` must be above 0 and at most 1"),
        ({"interpolation": "lanczos"}, '`interpolation` must be "bicubic", "bilinear" or "area"'),
        ({"channel_order": "grb"}, '`channel_order` must be "rgb" or "bgr"'),
    ],
)
def test_what_is_no_preparation_is_refused(arguments, rule):
    with pytest.raises(ValueError) as caught:
        ImageSpec(**{"height": 8, "width": 8, **arguments})
    assert str(caught.value).startswith(f"{rule}. Received: ImageSpec(")
