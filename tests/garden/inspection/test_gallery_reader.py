import types

import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import gallery_reader


def session_of(gallery, say=lambda line: None):
    return types.SimpleNamespace(gallery=gallery, say=say, cache={}, label=lambda index: f"class {index}")


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3))


def test_batches_cover_every_picture_once(make_gallery, pictures):
    gallery = make_gallery(pictures)
    parts = list(gallery_reader.batches(session_of(gallery), gallery, "test", batch_size=2))
    assert [start for start, _ in parts] == [0, 2, 4]
    np.testing.assert_array_equal(np.concatenate([pixels for _, pixels in parts]), pictures)


def test_long_work_says_how_far_it_is(make_gallery, pictures, monkeypatch):
    lines = []
    monkeypatch.setattr(gallery_reader, "SECONDS_BETWEEN_WORDS", 0.0)
    gallery = make_gallery(pictures)
    list(gallery_reader.batches(session_of(gallery, lines.append), gallery, "codes", batch_size=4))
    assert lines == ["codes: 4 of 5 pictures, 0 s", "codes: 5 of 5 pictures, 0 s"]


def test_classes_are_those_of_the_network(make_gallery, pictures):
    gallery = make_gallery(pictures, labels=[7, 2, None, 7, 2])
    found = gallery_reader.classes(session_of(gallery), gallery)
    assert found.names == ("class 2", "class 7")
    assert found.indices.tolist() == [1, 0, -1, 1, 0]
    assert [found.name_of(picture) for picture in range(3)] == ["class 7", "class 2", ""]
    assert found.known


def test_without_them_the_folder_is_the_class(make_gallery, pictures):
    gallery = make_gallery(pictures, names=["b/1", "a/1", "c", "a/2", "b/2"])
    found = gallery_reader.classes(session_of(gallery), gallery)
    assert found.names == ("a", "b")
    assert found.indices.tolist() == [1, 0, -1, 0, 1]


def test_a_gallery_may_name_its_groups(make_gallery, pictures):
    gallery = make_gallery(pictures)
    gallery.groups = ["x", "y", "x", "", "y"]
    assert gallery_reader.classes(session_of(gallery), gallery).indices.tolist() == [0, 1, 0, -1, 1]
    gallery.labels = [None, 7, None, None, 7]
    found = gallery_reader.classes(session_of(gallery), gallery)
    assert found.names == ("x", "y"), "the network knows one of the groups only"


def test_pictures_of_no_known_class(make_gallery, pictures):
    gallery = make_gallery(pictures)
    found = gallery_reader.classes(session_of(gallery), gallery)
    assert found.names == () and not found.known and set(found.indices) == {-1}


def test_no_gallery_and_too_few_pictures_are_told(make_gallery, pictures):
    with pytest.raises(InspectionError) as told:
        gallery_reader.require(session_of(None), "t-SNE")
    assert str(told.value) == (
        "t-SNE looks for something in many pictures, but there is no gallery. Give a folder of pictures as one."
    )
    with pytest.raises(InspectionError) as told:
        gallery_reader.require(session_of(make_gallery(pictures)), "t-SNE", at_least=8)
    assert str(told.value) == "t-SNE needs at least 8 pictures; the gallery has 5. Give a folder with more."


def test_thumbnails_show_the_middle_and_are_made_once(make_gallery):
    wide = np.zeros((1, 4, 12, 3), np.uint8)
    wide[:, :, 4:8] = 200
    gallery = make_gallery(wide)
    session = session_of(gallery)
    small = gallery_reader.thumbnails(session, gallery, 2)
    assert small.shape == (1, 2, 2, 3) and (small == 200).all()
    gallery_reader.thumbnails(session, gallery, 2)
    assert gallery.read == 1
