"""Inception-ResNet: the paper's version 1 beside the one for faces, by arithmetic."""

from __future__ import annotations

import keras
import pytest

from garden import architectures
from garden.summary import summarize


@pytest.fixture(scope="module")
def outlines():
    names = ("inception_resnet_v1", "inception_resnet_v1_facenet")
    return {name: architectures.outline(name) for name in names}


def test_maps_are_those_of_the_papers_figures_14_and_15(outlines):
    network = outlines["inception_resnet_v1"]
    maps = {"conv1_relu": (149, 32), "pool1": (73, 64), "conv4_relu": (73, 80), "conv5_relu": (71, 192)}
    maps |= {"conv6_relu": (35, 256), "inception_a5_relu": (35, 256), "reduction_a_concat": (17, 896)}
    maps |= {"inception_b10_relu": (17, 896), "reduction_b_concat": (8, 1792), "inception_c5_relu": (8, 1792)}
    assert {name: network.get_layer(name).output.shape[2:] for name in maps} == maps
    # The paper has no further module.
    assert not any(layer.name.startswith(("inception_a6", "inception_b11", "inception_c6")) for layer in network.layers)


def test_the_network_for_faces_has_one_module_and_a_bottleneck_more():
    # 1×1, 1×1, 1×3 and 3×1 convolutions of 192 filters with gamma and beta, and 1×1 back to 1792 with biases.
    module = 2 * 1792 * 192 + 2 * 192 * 3 * 192 + 4 * 2 * 192 + 2 * 192 * 1792 + 1792
    bottleneck = 1792 * 512 + 2 * 512 + 512 * 1000 + 1000
    classes = 1792 * 1000 + 1000
    paper, faces = (architectures.get(f"inception_resnet_v1{end}").num_parameters for end in ("", "_facenet"))
    assert faces - paper == module + bottleneck - classes


def test_the_modules_output_is_scaled_down_but_for_the_last_of_the_network_for_faces(outlines):
    network = outlines["inception_resnet_v1_facenet"]
    scales = [layer.scale for layer in network.layers if isinstance(layer, keras.layers.Rescaling)]
    assert scales == [0.17] * 5 + [0.1] * 10 + [0.2] * 5
    assert network.get_layer("inception_c6_add").input[1].name == network.get_layer("inception_c6_project").output.name
    assert "inception_c6_relu" not in {layer.name for layer in network.layers}


@pytest.mark.slow
def test_version_2_costs_what_the_network_of_keras_applications_costs():
    with keras.StatelessScope(initialize_variables=False):
        theirs = summarize(keras.applications.InceptionResNetV2(weights=None))
    ours = summarize(architectures.outline("inception_resnet_v2"))
    assert (ours.macs, ours.parameters) == (theirs.macs, theirs.parameters)
