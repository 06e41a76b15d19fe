import numpy as np

from garden.inspection import charts, rendering


def colours_in(pixels):
    return {f"#{r:02X}{g:02X}{b:02X}" for r, g, b in np.unique(pixels.reshape(-1, 3), axis=0)}


def test_each_class_has_its_colour_and_the_unknown_none():
    points = np.random.default_rng(0).normal(size=(12, 2))
    pixels = charts.scatter(points, np.array([0, 1, 2, -1] * 3), ["a", "b", "c"], title="codes")
    assert pixels.dtype == np.uint8 and pixels.shape == (720, 960, 3)
    found = colours_in(pixels)
    assert {rendering.class_colour(index).upper() for index in (0, 1, 2, -1)} <= found
    assert rendering.class_colour(3).upper() not in found


def test_the_ninth_class_has_the_first_colour_and_another_shape():
    assert rendering.class_colour(8) == rendering.class_colour(0)
    points = np.zeros((1, 2))
    names = [str(number) for number in range(9)]
    first, ninth = (charts.scatter(points, np.array([index]), names, title="") for index in (0, 8))
    assert (first != ninth).any()


def test_many_classes_and_none_fit():
    points = np.random.default_rng(0).normal(size=(100, 2))
    for names in ([str(number) for number in range(100)], []):
        indices = np.arange(100) if names else np.full(100, -1)
        assert charts.scatter(points, indices, names, title="").shape == (720, 960, 3)


def test_bars_are_as_long_as_their_numbers():
    pixels = charts.bars(["a", "b"], [1, 4], groups=["x", "y"], title="units", axis="units")
    areas = [
        (pixels == [int(rendering.class_colour(group)[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=-1).sum()
        for group in (0, 1)
    ]
    # The legend has a patch of each colour as well.
    assert 3.0 < areas[1] / areas[0] < 4.2


def test_a_histogram_is_a_picture():
    assert charts.histogram(np.linspace(0, 1, 20), title="t", axis="a").shape == (300, 960, 3)
