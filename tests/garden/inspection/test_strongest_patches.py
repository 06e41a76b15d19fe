import keras
import numpy as np
import pytest

from garden.inspection import InspectionSession, strongest_patches
from garden.inspection.strongest_patches import StrongestSearch


def full_sort(maps, count, *, once_per_picture):
    """Sort everything: (pictures, height, width, units) to values, pictures and places, each (units, count)."""
    found = []
    for unit in range(maps.shape[-1]):
        entries = [
            (-value, picture, place)
            for picture, one in enumerate(maps[..., unit])
            for place, value in enumerate(one.ravel())
        ]
        if once_per_picture:
            entries = [min(entry for entry in entries if entry[1] == picture) for picture in range(len(maps))]
        found.append(sorted(entries)[:count])
    values, pictures, places = np.moveaxis(np.array(found), -1, 0)
    return -values, pictures.astype(int), places.astype(int)


@pytest.fixture(scope="module")
def network(network_of):
    return network_of(
        (10, 8, 3),
        keras.layers.Conv2D(6, 3, activation="relu", name="conv"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(4, name="scores"),
    )


@pytest.mark.parametrize("once_per_picture", [True, False])
@pytest.mark.parametrize("count", [1, 4, 50])
def test_streaming_equals_a_full_sort(network, once_per_picture, count):
    images = np.random.default_rng(0).integers(0, 4, (11, 10, 8, 3)).astype(np.float32)
    search = StrongestSearch(count, once_per_picture=once_per_picture)
    for start in range(0, 11, 3):
        ((values, places, width),) = strongest_patches.of_pictures(
            network, images[start : start + 3], ["conv"], count=count, once_per_picture=once_per_picture
        )
        search.add(values, places, start, width=width)
    found = search.found()
    maps = network.outputs(images, ["conv"])["conv"]
    values, pictures, places = full_sort(maps, count, once_per_picture=once_per_picture)
    np.testing.assert_allclose(found.values, values, rtol=1e-5)
    np.testing.assert_array_equal(found.pictures, pictures)
    np.testing.assert_array_equal(found.rows * 6 + found.columns, places)
    strongest = maps.max(axis=(1, 2))
    np.testing.assert_allclose(found.mean, strongest.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.deviation, strongest.std(axis=0), rtol=1e-4)


def test_of_equal_outputs_the_first_place_counts():
    search = StrongestSearch(3, once_per_picture=False)
    for start in (0, 1):
        search.add(np.full((1, 2, 1), 5.0), np.array([[[0], [1]]]), start, width=1)
    found = search.found()
    assert found.pictures.tolist() == [[0, 0, 1]] and found.rows.tolist() == [[0, 1, 0]]


def test_units_that_stand_out_come_first_and_silent_ones_last():
    search = StrongestSearch(2)
    values = np.array([[0, 5, 1, 0], [0, 5, 9, 0], [0, 6, 1, 0], [0, 5, 1, 2]], float)[:, None]
    search.add(values, np.zeros_like(values, int), 0, width=1)
    found = search.found()
    # Unit 2 has 9 and 1 against a mean of 3 ± 3.5, unit 1 has 6 and 5 against 5.25 ± 0.43.
    assert found.standing_out(4).tolist() == [1, 2, 3, 0]


def test_nothing_added_is_told():
    with pytest.raises(ValueError, match=r"^`add` must be called before `found`\. Received: no picture\.$"):
        StrongestSearch(1).found()


def test_a_session_searches_a_layer_once_and_layers_together(network, make_gallery):
    gallery = make_gallery(np.random.default_rng(0).integers(0, 256, (40, 10, 8, 3)))
    session = InspectionSession(network, gallery=gallery)
    found = strongest_patches.search(session, gallery, ["conv", "pool"], count=2)
    assert gallery.read == 40
    again = strongest_patches.search(session, gallery, ["pool"], count=2)
    assert gallery.read == 40 and again["pool"] is found["pool"]
    pooled = network.outputs(gallery.images.astype(np.float32), ["pool"])["pool"]
    np.testing.assert_array_equal(found["pool"].pictures[:, 0], pooled.argmax(axis=0))
    assert not found["pool"].rows.any()
