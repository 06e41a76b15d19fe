"""Inception-v3: the auxiliary classifier, and files whose layers Keras numbered."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures
from garden.errors import ArchitectureError
from garden.summary import summarize


def test_with_the_auxiliary_classifier_it_has_the_parameters_that_the_authors_count():
    network = architectures.outline("inception_v3", auxiliary_heads=True)
    assert sum(int(np.prod(weight.shape)) for weight in network.trainable_weights) == 27_143_152
    # Figure 8 at 299 pixels: 17, 5, 1.
    sides = [network.get_layer(f"auxiliary_{name}").output.shape[1] for name in ("pool", "reduce", "conv")]
    assert sides == [5, 5, 1]
    assert network.get_layer("auxiliary_pool").input.shape[1:] == (17, 17, 768)


@pytest.mark.parametrize("shape", [(75, 80, 3), (299, 363, 1)])
def test_the_auxiliary_classifier_answers_at_other_sizes(shape):
    network = architectures.outline("inception_v3", auxiliary_heads=True, input_shape=shape, num_classes=7)
    assert {layer.name for layer in network.layers if layer.name.endswith("logits")} == {"logits", "auxiliary_logits"}
    assert network.get_layer("auxiliary_logits").output.shape == (None, 7)


def test_features_have_no_auxiliary_classifier():
    with pytest.raises(ArchitectureError) as caught:
        architectures.outline("inception_v3", auxiliary_heads=True, num_classes=None)
    assert str(caught.value) == (
        "inception_v3 has no auxiliary classifier without classes. "
        "Give num_classes, or leave auxiliary_heads out to get features."
    )


def test_maps_are_those_of_the_papers_table_1():
    network = architectures.outline("inception_v3")
    maps = {"conv1_relu": (149, 32), "conv2_relu": (147, 32), "conv3_relu": (147, 64), "pool1": (73, 64)}
    maps |= {"pool2": (35, 192), "mixed_5d_concat": (35, 288), "mixed_6e_concat": (17, 768)}
    maps |= {"mixed_7a_concat": (8, 1280), "mixed_7c_concat": (8, 2048)}
    assert {name: network.get_layer(name).output.shape[2:] for name in maps} == maps


def test_it_costs_what_the_network_of_keras_applications_costs():
    with keras.StatelessScope(initialize_variables=False):
        theirs = summarize(keras.applications.InceptionV3(weights=None))
    ours = summarize(architectures.outline("inception_v3"))
    assert (ours.macs, ours.parameters) == (theirs.macs, theirs.parameters)
