"""ZFNet: the sizes of the paper's figure 3, and what its relatives change."""

from __future__ import annotations

import keras
import pytest

from garden import architectures

NAMES = ("zfnet", "zfnet_b", "zfnet512")
PLACES = ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("zfnet", (110, 55, 26, 13, 13, 6)),
        ("zfnet_b", (110, 55, 26, 13, 13, 6)),
        ("zfnet512", (109, 54, 25, 12, 12, 6)),
    ],
)
def test_maps_have_the_sides_that_its_source_draws(name, sides):
    network = architectures.outline(name)
    assert tuple(network.get_layer(place).output.shape[1] for place in PLACES) == sides


@pytest.mark.parametrize(
    ("name", "filters", "units"),
    [("zfnet", (384, 384, 256), 4096), ("zfnet_b", (512, 1024, 512), 4096), ("zfnet512", (512, 512, 512), 1024)],
)
def test_parameters_layer_by_layer(name, filters, units):
    network = architectures.outline(name)
    counts = {layer.name: layer.count_params() for layer in network.layers if layer.weights}
    third, fourth, fifth = filters
    assert counts == {
        "conv1": 7 * 7 * 3 * 96 + 96,
        "conv2": 5 * 5 * 96 * 256 + 256,
        "conv3": 3 * 3 * 256 * third + third,
        "conv4": 3 * 3 * third * fourth + fourth,
        "conv5": 3 * 3 * fourth * fifth + fifth,
        "fc6": 6 * 6 * fifth * 4096 + 4096,
        "fc7": 4096 * units + units,
        "logits": units * 1000 + 1000,
    }


@pytest.mark.parametrize("name", NAMES)
def test_it_normalizes_between_relu_and_pool(name):
    names = [layer.name for layer in architectures.outline(name).layers]
    for number in (1, 2):
        place = names.index(f"norm{number}")
        assert names[place - 1 : place + 2] == [f"conv{number}_relu", f"norm{number}", f"pool{number}"]


@pytest.mark.parametrize("name", NAMES)
def test_at_one_pixel_less_than_the_minimum_a_pool_finds_no_window(name):
    entry = architectures.get(name)
    size = entry.minimum_size
    # `build` refuses first.
    with keras.StatelessScope(initialize_variables=False), pytest.raises(ValueError, match="finds no window"):
        pixels = keras.Input((size, size - 1, 3))
        entry.builder(entry.variant, pixels, num_classes=None, dropout_rate=0.0, local_response="paper")


def test_multiply_adds_by_hand():
    # Positions × filters × what a window reads, then the dense layers.
    convolutions = 110**2 * 96 * 147 + 26**2 * 256 * 2400 + 13**2 * (384 * 2304 + 384 * 3456 + 256 * 3456)
    assert architectures.get("zfnet").macs == convolutions + 9216 * 4096 + 4096 * 4096 + 4096 * 1000
    convolutions = 109**2 * 96 * 147 + 25**2 * 256 * 2400 + 12**2 * (512 * 2304 + 2 * 512 * 4608)
    assert architectures.get("zfnet512").macs == convolutions + 18432 * 4096 + 4096 * 1024 + 1024 * 1000
