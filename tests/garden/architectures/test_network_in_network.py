"""Network in Network: its counts, and what foreign weight files call its layers."""

from __future__ import annotations

import pytest

from garden import architectures
from garden.summary import summarize
from garden.weights import foreign_names


def test_parameters_and_multiply_adds_perceptron_by_perceptron():
    rows = {row.name: row for row in summarize(architectures.outline("nin_cifar")).rows}
    parameters = [rows[name].parameters for name in ("conv1", "cccp1", "cccp2")]
    assert parameters == [75 * 192 + 192, 192 * 160 + 160, 160 * 96 + 96]
    assert rows["conv2"].parameters == 25 * 96 * 192 + 192
    assert rows["conv2"].macs == 16 * 16 * 25 * 96 * 192
    assert rows["cccp6"].parameters == 1_930
    assert rows["cccp6"].output_shape == (8, 8, 10)


@pytest.mark.parametrize("side, after", [(32, 8), (33, 8), (34, 8), (35, 8), (36, 9)])
def test_maps_are_as_large_as_in_caffe(side, after):
    # Rounded up, twice: ceil((n - 3) / 2) + 1.
    model = architectures.outline("nin_cifar", input_shape=(side, 40, 3))
    assert model.get_layer("pool2").output.shape[1] == after


def test_every_weighted_layer_has_a_name_in_pytorchcv():
    names = foreign_names.names_of("nin_cifar")
    model = architectures.outline("nin_cifar")
    assert set(names) == {layer.name for layer in model.layers if layer.weights}
    assert names["cccp4"] == ("features.stage2.unit3.conv",)
    assert names["cccp5"] == ("features.stage3.unit2.conv",)


def test_dropout_follows_the_two_pools():
    model = architectures.outline("nin_cifar", dropout_rate=0.3)
    assert [layer.rate for layer in model.layers if layer.name.startswith("drop")] == [0.3, 0.3]
