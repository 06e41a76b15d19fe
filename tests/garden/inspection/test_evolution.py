import keras
import numpy as np
import pytest

from garden.inspection import evolution


@pytest.fixture
def network(network_of):
    keras.utils.set_random_seed(0)
    return network_of(
        (24, 24, 3),
        keras.layers.Conv2D(6, 1, activation="relu", name="mix"),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv1"),
        keras.layers.Conv2D(5, 3, strides=2, activation="relu", name="conv2"),
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(2, name="scores"),
    )


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "trained, path",
    [
        ({"mix", "conv1", "conv2", "scores"}, "conv1"),
        ({"conv2", "scores"}, "conv2"),
        ({"mix", "scores"}, None),
        (set(), None),
    ],
)
def test_the_first_filters_that_train_and_have_a_shape_are_watched(network, trained, path):
    assert evolution.watched_filters(network, trained) == path


def test_a_snapshot_is_of_the_weights_as_they_are(network, pixels):
    watch = evolution.Evolution(network, trained={"conv1"}, pixels=pixels)
    assert (watch.filters_path, watch.patches_path) == ("conv1", "conv2")
    first = watch.snapshot()
    kernel = network.operation_of("conv1").kernel
    np.testing.assert_array_equal(first["filters"], np.moveaxis(kernel.numpy(), -1, 0))
    kernel.assign(-kernel)
    second = watch.snapshot()
    np.testing.assert_array_equal(second["filters"], -first["filters"])
    assert (second["pictures"] != first["pictures"]).any(), "other patches excite other weights most"
    np.testing.assert_array_equal(second["units"], first["units"])
    maps = network.outputs(pixels.astype(np.float32), ["conv2"])["conv2"]
    strongest = np.sort(maps.max(axis=(1, 2)), axis=0)[::-1]
    np.testing.assert_allclose(second["values"], strongest[:6, second["units"]].T, rtol=1e-5)


def test_units_can_be_those_of_an_earlier_process(network, pixels):
    watch = evolution.Evolution(network, trained={"conv1"}, pixels=pixels)
    watch.units = np.array([3, 1])
    assert watch.snapshot()["units"].tolist() == [3, 1]


def test_filters_of_many_channels_are_shown_along_three_directions():
    chance = np.random.default_rng(0)
    directions = np.linalg.qr(chance.normal(size=(7, 3)))[0].T
    filters = chance.normal(size=(5, 3, 3, 3)) * [3, 2, 1] @ directions
    found = evolution.colour_directions(filters)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-6)
    # Nothing lies outside of the three: what they show is all there is.
    np.testing.assert_allclose(filters @ found @ found.T, filters, atol=1e-5)
    assert evolution.colour_directions(filters[..., :3]) is None
    two = evolution.colour_directions(filters[..., :2])
    assert two.shape == (2, 3) and not two[:, 2].any()


def test_a_filter_has_one_scale_in_all_frames(network, pixels):
    watch = evolution.Evolution(network, trained={"conv1"}, pixels=pixels)
    snapshots = [watch.snapshot()]
    kernel = network.operation_of("conv1").kernel
    kernel.assign(kernel / 2)
    snapshots.append(watch.snapshot())
    frames = evolution.film(watch, snapshots, ["epoch 0", "epoch 1"])
    assert set(frames) == {"filters", "patches"}
    whole = frames["filters"][:, 18:].astype(int)  # Without the line above.
    width = (whole.shape[2] - 12) // 2
    (first, second), (nothing, change) = whole[:, :, :width], whole[:, :, -width:]
    inside = first != 255  # Not the gaps; of half the weight, half the contrast.
    assert np.abs((first - 127.5)[inside] - 2 * (second - 127.5)[inside]).max() <= 2
    assert np.abs((nothing - 127.5)[inside]).max() <= 1
    # What was halved has changed by minus the half, on a scale of its own.
    signs = np.sign(np.round((second - 127.5) / 8)[inside])
    assert (signs * np.sign(np.round((change - 127.5) / 8)[inside]) <= 0).all()
    assert np.abs((change - 127.5)[inside]).max() > 1.5 * np.abs((second - 127.5)[inside]).max()
    assert evolution.strip(frames["filters"]).shape[1] == 2 * frames["filters"].shape[2] + 8
