"""Streams of pixels: right, in order, and never stopped by a broken file."""

import numpy as np
import pytest
import tensorflow as tf

from garden.data import decoding, pipeline
from garden.data.image_folder import Problem, scan_image_folder
from garden.image_spec import ImageSpec

SPEC = ImageSpec(16, 24, resize="crop", interpolation="bilinear")
DAMAGED = "the PNG data is damaged or ends too early. Fetch or save it again, or remove it."


@pytest.fixture
def files(photos):
    return scan_image_folder(photos).files


def damage(file):
    file.path.write_bytes(file.path.read_bytes()[:-40])


def test_resized_images_are_those_of_the_spec(files):
    stream = pipeline.resized_images(files, SPEC, batch_size=5)
    batches = list(stream)
    assert [len(indices) for indices, _ in batches] == [5, 5, 5, 3]
    assert np.concatenate([indices for indices, _ in batches]).tolist() == list(range(18))
    images = np.concatenate([images for _, images in batches])
    assert images.shape == (18, 16, 24, 3) and images.dtype == np.float32
    for index in (0, 7, 17):
        pixels = decoding.decode_image(tf.constant(files[index].path.read_bytes()))
        np.testing.assert_allclose(images[index], SPEC.resize_pixels(pixels), atol=1e-3)
    assert stream.problems == []


def test_a_stream_can_be_run_again(files):
    damage(files[2])
    stream = pipeline.resized_images(files, SPEC, batch_size=4)
    first, second = list(stream), list(stream)
    assert [indices.tolist() for indices, _ in first] == [indices.tolist() for indices, _ in second]
    assert len(stream.problems) == 1


@pytest.mark.parametrize("broken", [(0,), (17,), (3, 4, 5, 6, 7), (0, 9, 16, 17), tuple(range(18))])
def test_broken_files_are_named_and_the_others_come_through(broken, files):
    for index in broken:
        damage(files[index])
    stream = pipeline.resized_images(files, SPEC, batch_size=4)
    indices = [index for indices, _ in stream for index in indices.tolist()]
    assert indices == [index for index in range(18) if index not in broken]
    assert stream.problems == [Problem(files[index].path, DAMAGED) for index in broken]


@pytest.mark.parametrize("broken", [(0,), (17,), (3, 4, 5)])
def test_pixels_at_their_own_size(broken, files, pictures):
    larger = pictures.colour_picture(99, height=70, width=50)
    files[8].path.write_bytes(pictures.encoded(larger, "PNG"))
    for index in broken:
        damage(files[index])
    stream = pipeline.load_pixels(files)
    pixels = dict(stream)
    assert list(pixels) == [index for index in range(18) if index not in broken]
    np.testing.assert_array_equal(pixels[8], np.asarray(larger))
    assert stream.problems == [Problem(files[index].path, DAMAGED) for index in broken]


def test_a_file_that_is_gone_is_a_problem(files):
    files[1].path.unlink()
    stream = pipeline.resized_images(files, SPEC, batch_size=18)
    assert [indices.size for indices, _ in stream] == [17]
    assert stream.problems == [
        Problem(files[1].path, "it cannot be read (No such file or directory). Check that it is still there.")
    ]


def test_a_file_that_was_only_unlucky_takes_its_place(files, monkeypatch):
    """Files that fail in the parallel run and decode afterwards, such as on a disk that was away for a moment."""
    original = pipeline._dataset
    unlucky = (0, 5, 6, 17)

    def unlucky_dataset(files, load):
        return original(files, load).filter(lambda index, pixels: tf.reduce_all(index != unlucky))

    monkeypatch.setattr(pipeline, "_dataset", unlucky_dataset)
    expected = list(pipeline.resized_images(files, SPEC, batch_size=18))[0][1]
    stream = pipeline.resized_images(files, SPEC, batch_size=6)
    batches = list(stream)
    assert np.concatenate([indices for indices, _ in batches]).tolist() == list(range(18))
    assert stream.problems == []
    np.testing.assert_allclose(np.concatenate([images for _, images in batches])[:17], expected[:17], atol=1e-3)
    assert [index for index, _ in pipeline.load_pixels(files)] == list(range(18))


def test_no_files_give_no_batches():
    assert list(pipeline.resized_images((), SPEC, batch_size=4)) == []
    assert list(pipeline.load_pixels(())) == []


def test_strange_names(photos, files):
    strange = photos / "cat" / "Käfer [1] *?.png"
    files[0].path.rename(strange)
    renamed = scan_image_folder(photos).files
    assert any(file.path == strange for file in renamed)
    stream = pipeline.resized_images(renamed, SPEC, batch_size=18)
    assert len(list(stream)[0][0]) == 18 and stream.problems == []
