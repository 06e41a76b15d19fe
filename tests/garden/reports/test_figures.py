"""Pictures for people: what is where, in which colour, whatever the names are."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garden.evaluation import classification
from garden.reports import figures


def colours_of(picture):
    """Shares of clearly blue and clearly orange pixels."""
    red, green, blue = picture[..., :3].astype(int).transpose(2, 0, 1)
    return np.mean(blue > red + 40), np.mean(red > blue + 40)


def test_right_answers_are_blue_and_wrong_ones_orange():
    blue, orange = colours_of(figures.confusion_matrix(np.diag([5, 5]), ["a", "b"]))
    assert blue > 0.2
    assert orange == 0
    blue, orange = colours_of(figures.confusion_matrix(np.array([[0, 5], [5, 0]]), ["a", "b"]))
    assert blue == 0
    assert orange > 0.2


def test_one_mistake_in_a_hundred_can_be_seen():
    colours = figures._confusion_colours(np.array([[99, 1], [0, 100]]))
    assert np.abs(colours[0, 1] - 1).max() > 0.25
    np.testing.assert_array_equal(colours[1, 0], 1)


def test_a_class_without_images_is_grey():
    colours = figures._confusion_colours(np.array([[3, 0], [0, 0]]))
    np.testing.assert_allclose(colours[1], np.array([figures.EMPTY] * 2) / 255)


@pytest.mark.parametrize("classes", [2, 20, 21, 100, 400])
def test_a_confusion_matrix_of_any_size_fits_a_screen(classes):
    confusion = np.eye(classes, dtype=int) * 9
    confusion[0, -1] = 3
    picture = figures.confusion_matrix(confusion, [f"a class with a long name, number {k}" for k in range(classes)])
    assert picture.dtype == np.uint8
    assert min(picture.shape[:2]) > 300
    assert max(picture.shape[:2]) < 2700


def test_names_are_drawn_as_they_are_and_change_no_state():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.confusion_matrix(np.eye(4, dtype=int), ["$5 bill$", "$\\bad", "日本語", "<b>&amp;"])
    assert dict(mpl.rcParams) == before


def test_reliability_diagram_shows_the_intervals():
    picture = figures.reliability_diagram([(0, 0.0, 0.0), (4, 0.5, 0.25), (8, 0.9, 1.0)], 0.1)
    blue, _ = colours_of(picture)
    assert blue > 0.02


def test_shortened_names_keep_both_ends():
    assert figures._shortened("abcdefghij", 7) == "abcd…ij"
    assert figures._shortened("abcdefg", 7) == "abcdefg"


@pytest.mark.parametrize(
    ("shape", "size", "expected"), [((100, 50), 40, (40, 20)), ((3, 5), 20, (12, 20)), ((1, 900), 30, (1, 30))]
)
def test_fit_within_keeps_the_shape(shape, size, expected):
    assert figures.fit_within(np.zeros((*shape, 3), np.uint8), size).shape == (*expected, 3)


def test_small_pictures_keep_their_pixels():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    enlarged = figures.fit_within(pixels, 8)
    np.testing.assert_array_equal(enlarged[::4, ::4], pixels)
    np.testing.assert_array_equal(enlarged[3, 3], pixels[0, 0])


def test_a_sheet_holds_the_pictures_in_reading_order():
    reds = [np.full((40, 40, 3), (60 + 50 * k, 0, 0), np.uint8) for k in range(4)]
    sheet = figures.contact_sheet(reds, [[(f"no. {k}", (0, 0, 0))] for k in range(4)], tile=40, columns=2)
    middles = [(26, 26), (26, 72)]
    assert [sheet[y, x].tolist() for y, x in middles] == [[60, 0, 0], [110, 0, 0]]
    lower = sheet[60:]
    assert np.argwhere(lower[..., 0] == 160).size
    assert np.argwhere(lower[..., 0] == 210)[:, 1].min() > np.argwhere(lower[..., 0] == 160)[:, 1].max()


def test_a_sheet_without_pictures_is_refused():
    sentence = "`pictures` must hold at least one picture and `captions` as many. Received: 0 and 0."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        figures.contact_sheet([], [])


def test_training_sheets_show_what_the_network_sees():
    images = np.stack([np.full((16, 16, 1), 300.0), np.full((16, 16, 1), 100.4)])
    sheet = figures.training_sheet(images, np.array([0, 1]), ["a", "b"], tile=64)
    assert sheet[20, 20].tolist() == [255, 255, 255]
    assert (sheet == 100).all(axis=-1).sum() == 64 * 64


def test_mixed_targets_name_both_classes():
    labels = ["ant", "bee", "cat"]
    assert figures._target_name(np.array([0.05, 0.6, 0.35]), labels) == "bee 60% + cat 35%"
    assert figures._target_name(np.array([0.05, 0.9, 0.05]), labels) == "bee"
    assert figures._target_name(np.int64(2), labels) == "cat"


def test_a_missing_picture_is_a_grey_tile(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    for path in (tmp_path / "gone.png", broken):
        assert figures.read_thumbnail(path, 30)[2, 15].tolist() == list(figures.EMPTY)


def test_mistakes_are_read_with_the_networks_decoder(tmp_path):
    # Orientation 6: the picture lies on its side; upright it is 20 wide and 40 high.
    picture = Image.new("RGB", (40, 20), (0, 128, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "photo.jpg", exif=exif)
    assert figures.read_thumbnail(tmp_path / "photo.jpg", 40).shape == (40, 20, 3)
    mistake = classification.Mistake(0, tmp_path / "photo.jpg", "cat", "dog", 0.9, 0.1)
    sheet = figures.mistakes_sheet([mistake], tile=40)
    green = np.argwhere((sheet[..., 1] > 100) & (sheet[..., 0] < 60) & (sheet[..., 2] < 60))
    height, width = green.max(axis=0) - green.min(axis=0) + 1
    assert (height, width) == (40, 20)


def test_written_pictures_are_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    figures.write_png(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["a.png"]
