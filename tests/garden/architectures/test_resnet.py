"""ResNet: known counts, and files with other programs' names."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures, weights
from garden.weights import foreign_names


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def test_what_keras_applications_counts_more_are_the_biases_of_its_convolutions():
    filters = [layer.filters for layer in convolutions(architectures.outline("resnet50"))]
    assert len(filters) == 53
    assert 25_557_032 + sum(filters) == 25_583_592


@pytest.mark.parametrize(
    ("name", "strided"),
    [("resnet50", "stage3_block1_conv1"), ("resnet50_v1_5", "stage3_block1_conv2")],
)
def test_version_1_strides_first_and_version_1_5_in_the_middle(name, strided):
    strides = {layer.name: layer.strides for layer in convolutions(architectures.outline(name))}
    halved = [layer for layer, stride in strides.items() if stride == (2, 2) and layer.startswith("stage3")]
    assert sorted(halved) == sorted([strided, "stage3_block1_shortcut_conv"])


@pytest.mark.parametrize(("name", "epsilon"), [("resnet50", 1.001e-5), ("resnet50_v1_5", 1e-5), ("resnet18", 1e-5)])
def test_normalizations_add_what_the_programs_with_these_weights_add(name, epsilon):
    norms = [
        layer for layer in architectures.outline(name).layers if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert {layer.epsilon for layer in norms} == {epsilon}


def torchvision_name(layer):
    """What torchvision calls a layer of ours."""
    if layer in ("conv1", "conv1_bn", "logits"):
        return {"conv1": "conv1", "conv1_bn": "bn1", "logits": "fc"}[layer]
    stage, block, part = layer.split("_", 2)
    part = {"shortcut_conv": "downsample.0", "shortcut_bn": "downsample.1"}.get(part, part)
    return f"layer{int(stage[5:]) - 1}.{int(block[5:]) - 1}.{part}"


def test_takes_a_file_with_torchvisions_names(tmp_path):
    theirs, ours = (architectures.build("resnet18", num_classes=3, input_shape=(32, 32, 3)) for _ in range(2))
    roles = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    arrays = {}
    for layer in theirs.layers:
        for variable in layer.weights:
            variable.assign(np.random.default_rng(len(arrays)).normal(size=variable.shape))
            array, role = np.asarray(variable), roles.get(variable.name, variable.name)
            if role == "kernel":
                array, role = (array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)), "weight"
            arrays[f"{torchvision_name(layer.name)}.{role}"] = array
    assert "layer2.0.downsample.1.running_var" in arrays
    np.savez(tmp_path / "theirs.npz", **arrays)
    report = weights.load_weights(ours, tmp_path / "theirs.npz", architecture=architectures.get("resnet18"))
    assert weights.fingerprint(ours) == weights.fingerprint(theirs)
    assert not report.left_out


def test_torchvisions_names_belong_to_version_1_5_alone():
    # Its networks stride in the 3×3 convolution: in version 1 the same weights would give wrong answers.
    assert "layer2.0.conv1" in foreign_names.names_of("resnet50_v1_5")["stage3_block1_conv1"]
    assert foreign_names.names_of("resnet50")["stage3_block1_conv1"] == (
        "conv3_block1_1_conv",
        "features.stage2.unit1.body.conv1.conv",
    )


def test_the_authors_weights_expect_caffes_order_of_colours():
    assert architectures.get("resnet50").image_spec.channel_order == "bgr"
    assert architectures.get("resnet50_v1_5").image_spec.channel_order == "rgb"
