"""Blur, clips, moves and tiles: each against its definition or SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from garden.inspection import picture_transforms

CHANCE = np.random.default_rng(0)
PICTURES = CHANCE.normal(0, 1, (2, 14, 11, 3)).astype(np.float32)


def test_blur_is_scipys_away_from_the_border_and_keeps_a_plain_colour():
    pictures = CHANCE.normal(0, 1, (1, 31, 29, 2)).astype(np.float32)
    blurred = picture_transforms.blurred(tf.constant(pictures), tf.constant(1.3)).numpy()
    expected = ndimage.gaussian_filter(pictures, (0, 1.3, 1.3, 0), truncate=8)
    np.testing.assert_allclose(blurred[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], atol=1e-5)
    plain = tf.fill((1, 9, 7, 2), 3.5)
    np.testing.assert_allclose(picture_transforms.blurred(plain, tf.constant(2.0)), plain, atol=1e-5)


def test_no_radius_is_no_blur():
    np.testing.assert_allclose(picture_transforms.blurred(tf.constant(PICTURES), tf.constant(0.0)), PICTURES, atol=1e-6)


@pytest.mark.parametrize(("percentile", "zeros"), [(0.0, 0), (20.0, 31), (50.0, 77), (90.0, 139), (100.0, 154)])
def test_a_clip_makes_the_right_share_of_pixels_zero_and_those_that_matter_least(percentile, zeros):
    importance = np.abs(CHANCE.normal(0, 1, (2, 14, 11))).astype(np.float32)
    clipped = picture_transforms.without_smallest(
        tf.constant(PICTURES), tf.constant(importance), tf.constant(percentile)
    ).numpy()
    for row in range(2):
        gone = (clipped[row] == 0).all(axis=-1)
        assert gone.sum() == zeros
        np.testing.assert_array_equal(clipped[row][~gone], PICTURES[row][~gone])
        if 0 < zeros < 154:
            assert importance[row][gone].max() < importance[row][~gone].min()


def test_rolling_back_is_the_identity():
    rolled = picture_transforms.roll(tf.constant(PICTURES), tf.constant([5, -3]))
    np.testing.assert_array_equal(rolled[:, 5, 0], PICTURES[:, 0, 3])
    np.testing.assert_array_equal(picture_transforms.roll(rolled, tf.constant([-5, 3])), PICTURES)


def test_no_strength_is_no_augmentation():
    numbers = tf.constant(CHANCE.uniform(0, 1, (2, 4)), tf.float32)
    same = picture_transforms.augmented(tf.constant(PICTURES), numbers, np.float32([1, 2, 3]), tf.constant(0.0))
    np.testing.assert_allclose(same, PICTURES, atol=1e-5)


def test_a_shift_moves_whole_pixels_and_lets_the_fill_colour_in():
    pictures = CHANCE.normal(0, 1, (2, 38, 38, 3)).astype(np.float32)
    fill = np.float32([0.5, -0.5, 2.0])
    # 0.5 stays; 1 moves by 38 · 12 / 152 = 3 pixels. The second row stays where it is.
    numbers = tf.constant([[0.5, 0.5, 1.0, 0.0], [0.5] * 4])
    moved = picture_transforms.augmented(tf.constant(pictures), numbers, fill, tf.constant(1.0)).numpy()
    np.testing.assert_allclose(moved[0, 3:, :-3], pictures[0, :-3, 3:], atol=1e-5)
    np.testing.assert_allclose(moved[0, :3, :], np.broadcast_to(fill, (3, 38, 3)), atol=1e-5)
    np.testing.assert_allclose(moved[1], pictures[1], atol=1e-5)


def test_turn_and_scale_are_scipys():
    smooth = ndimage.gaussian_filter(CHANCE.normal(0, 1, (1, 41, 33, 1)), (0, 2, 2, 0)).astype(np.float32)
    moved = picture_transforms.augmented(
        tf.constant(smooth), tf.constant([[0.9, 0.25, 0.5, 0.5]]), np.float32([0.0]), tf.constant(1.0)
    ).numpy()[0, ..., 0]
    angle, scale = np.deg2rad(8.0), 0.95
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    middle = np.array([20.0, 16.0])
    expected = ndimage.affine_transform(smooth[0, ..., 0], matrix, middle - matrix @ middle, order=1)
    np.testing.assert_allclose(moved[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-4)


def test_total_variation_by_hand():
    picture = tf.constant([[[[0.0], [3.0]], [[4.0], [9.0]]]])
    assert picture_transforms.total_variation(picture).numpy() == pytest.approx([25.0])
    assert picture_transforms.total_variation(picture, 1.0).numpy() == pytest.approx([5.0])


def cubes(part):
    values = tf.reduce_mean(part**3, axis=(1, 2, 3))
    return values, tf.gradients(values, part)[0]


@pytest.mark.parametrize("tile", [1, 4, 5, 11, 14, 500])
def test_tiles_of_what_looks_at_single_pixels_are_the_whole(tile):
    @tf.function(autograph=False)
    def run(pictures):
        return picture_transforms.by_tiles(pictures, tf.constant(tile), cubes)

    values, slopes = run(tf.constant(PICTURES))
    np.testing.assert_allclose(values, (PICTURES**3).mean(axis=(1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(slopes, 3 * PICTURES**2 / PICTURES[0].size, atol=1e-6)


def test_random_numbers_are_each_rows_own():
    numbers = picture_transforms.random_numbers(tf.constant([7, 8, 7]), tf.constant(50), 4).numpy()
    np.testing.assert_array_equal(numbers[0], numbers[2])
    alone = picture_transforms.random_numbers(tf.constant([8]), tf.constant(50), 4).numpy()
    np.testing.assert_array_equal(numbers[1], alone[0])
    assert abs(numbers.mean() - 0.5) < 0.05
    assert np.abs(numbers[0] - numbers[1]).mean() > 0.2
