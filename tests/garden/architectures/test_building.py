"""build(): arguments and what is refused."""

from __future__ import annotations

import keras
import pytest

from garden import architectures
from garden.architectures import building
from garden.errors import ArchitectureError, WeightsError


def test_classes_default_to_the_original_and_can_be_any_number():
    assert architectures.build("lenet5").output_shape == (None, 10)
    assert architectures.build("lenet5", num_classes=1).output_shape == (None, 1)
    assert architectures.build("lenet5", num_classes=None).output_shape == (None, 84)


@pytest.mark.parametrize("num_classes", [0, -1, 2.5, "10", True])
def test_other_numbers_of_classes_are_refused(num_classes):
    with pytest.raises(ValueError, match="`num_classes` must be a positive integer or None. Received: num_classes="):
        architectures.build("lenet5", num_classes=num_classes)


@pytest.mark.parametrize("input_shape", [(32, 32), (32, 32, 1.0), (None, None, 3), (0, 32, 1), 32])
def test_a_shape_that_is_not_three_numbers_is_refused(input_shape):
    with pytest.raises(ValueError, match="`input_shape` must be"):
        architectures.build("lenet5", input_shape=input_shape)


def test_two_channels_are_refused_with_a_sentence():
    with pytest.raises(ArchitectureError) as caught:
        architectures.build("lenet5", input_shape=(32, 32, 2))
    assert str(caught.value) == (
        "lenet5 cannot be built with 2 input channels; a picture has 1 (grey), 3 (colour) or 4 (colour and one "
        "more). Give one of these."
    )


def test_dropout_defaults_to_the_entry_and_is_checked():
    assert architectures.build("efficientnet_lite2").get_layer("dropout").rate == 0.3
    assert architectures.build("efficientnet_lite0", dropout_rate=0.0).get_layer("dropout").rate == 0.0
    with pytest.raises(ValueError, match="`dropout_rate` must be at least 0 and below 1. Received: dropout_rate=1.0"):
        architectures.build("efficientnet_lite0", dropout_rate=1.0)
    with pytest.raises(ValueError, match="`dropout_rate` must be at least 0 and below 1. Received: dropout_rate='0.5'"):
        architectures.outline("efficientnet_lite0", dropout_rate="0.5")


def test_weights_that_nobody_published_are_refused_with_those_that_exist():
    with pytest.raises(WeightsError) as caught:
        architectures.build("squeezenet1_0", weights="imagenet")
    assert str(caught.value) == (
        "There are no 'imagenet' weights for squeezenet1_0. Networks that have them: efficientnet_lite0, "
        "efficientnet_lite1, efficientnet_lite2, squeezenet1_1. Name one of those, give the path of a file of "
        "weights, or train from scratch: --weights none, in Python weights=None."
    )


def test_two_networks_of_one_name_live_side_by_side():
    first, second = architectures.build("lenet5"), architectures.build("lenet5")
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert keras.Model(first.input, second(first.input)).output_shape == (None, 10)


def test_an_outline_has_the_layers_and_counts_of_the_network_and_leaves_nothing_behind():
    from keras.src.backend.common import global_state

    pending = list(global_state.get_global_attribute("uninitialized_variables", []))
    outline = architectures.outline("squeezenet1_1", num_classes=3)
    network = architectures.build("squeezenet1_1", num_classes=3)
    assert [layer.name for layer in outline.layers] == [layer.name for layer in network.layers]
    assert outline.count_params() == network.count_params()
    assert global_state.get_global_attribute("uninitialized_variables", []) == pending


def test_an_option_that_the_network_does_not_have_is_refused():
    with pytest.raises(ArchitectureError) as caught:
        architectures.build("lenet5", output_stride=16)
    assert str(caught.value) == (
        "lenet5 has no option 'output_stride'; it takes none. Leave it out, or build a network that has it."
    )


def test_an_option_that_equals_a_value_is_that_value():
    """The builder gets 16 for 16.0 and True for 1."""
    entries = {name: architectures.get(name) for name in ("mobilenet_025", "googlenet")}
    stride = building._checked_options(entries["mobilenet_025"], {"output_stride": 16.0})["output_stride"]
    assert (stride, type(stride)) == (16, int)
    assert building._checked_options(entries["googlenet"], {"auxiliary_heads": 1})["auxiliary_heads"] is True
