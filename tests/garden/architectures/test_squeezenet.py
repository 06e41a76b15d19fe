"""SqueezeNet beside a plain PyTorch forward pass, and its known answers."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import tensorflow as tf

from garden import architectures, weights
from garden.weights import fetching, sources


def torch_or_skip():
    try:
        import torch
    except ImportError:
        if "CI" in os.environ:
            raise
        pytest.skip("PyTorch is not installed; `pip install garden[parity]` brings the independent implementation")
    return torch


def torch_logits(arrays, images, *, stride_of_conv1, pools_after):
    """The network written down plainly, from [kernel HWIO, bias] by Caffe's names."""
    torch = torch_or_skip()
    functional = torch.nn.functional

    def convolve(x, name, stride=1, padding=0):
        kernel, bias = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays[name])
        return torch.relu(functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, stride=stride, padding=padding))

    x = convolve(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), "conv1", stride_of_conv1)
    for number in range(1, 10):
        if number > 1:
            squeezed = convolve(x, f"fire{number}/squeeze1x1")
            x = torch.cat(
                [convolve(squeezed, f"fire{number}/expand1x1"), convolve(squeezed, f"fire{number}/expand3x3", 1, 1)],
                dim=1,
            )
        if number in pools_after:
            x = functional.max_pool2d(x, 3, 2)
    return convolve(x, "conv10").mean((2, 3)).numpy()


def weights_by_caffes_names(network):
    names = {layer.name.replace("_", "/"): layer.get_weights() for layer in network.layers if layer.weights}
    assert len(names) == 26
    return names


def test_version_1_1_equals_a_plain_torch_forward_pass_with_the_same_file(pretrained):
    torch_or_skip()
    network = pretrained("squeezenet1_1")
    # The file's hash was checked: Python's own unpickler is the independent reader here.
    with fetching.fetch(sources.SOURCES["squeezenet1_1"]["imagenet"]).open("rb") as stream:
        arrays = pickle.load(stream, encoding="latin1")
    images = np.random.default_rng(1).uniform(-120, 150, (2, 227, 227, 3)).astype(np.float32)
    expected = torch_logits(arrays, images, stride_of_conv1=2, pools_after=(1, 3, 5))
    assert expected.std() > 0.1
    np.testing.assert_allclose(network(images), expected, rtol=1e-5, atol=1e-4)


def test_version_1_0_equals_a_plain_torch_forward_pass_with_random_weights():
    torch_or_skip()
    network = architectures.build("squeezenet1_0")
    network.get_layer("conv10").kernel.assign(tf.random.stateless_normal((1, 1, 512, 1000), (1, 2)))
    images = np.random.default_rng(2).uniform(-120, 150, (1, 227, 227, 3)).astype(np.float32)
    expected = torch_logits(weights_by_caffes_names(network), images, stride_of_conv1=2, pools_after=(1, 4, 8))
    assert expected.std() > 0.01
    np.testing.assert_allclose(network(images), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("file_name", "label"), [("chelsea.png", 285), ("coffee.png", 967)])
def test_knows_the_sample_photos(file_name, label, pretrained, photo):
    network = pretrained("squeezenet1_1")
    prepared = architectures.get("squeezenet1_1").image_spec.prepare(tf.constant(photo(file_name)))
    assert int(tf.argmax(network(prepared[None])[0])) == label


def test_coffee_is_no_espresso_with_red_and_blue_exchanged(pretrained, photo):
    network = pretrained("squeezenet1_1")
    spec = architectures.get("squeezenet1_1").image_spec
    right, wrong = (
        tf.nn.softmax(network(spec.prepare(tf.constant(pixels))[None]))[0, 967]
        for pixels in (photo("coffee.png"), photo("coffee.png")[..., ::-1])
    )
    assert right > 0.9 > wrong


# Where torchvision's list of modules has the fire modules: pools count, too.
TORCHVISION = {
    "squeezenet1_0": (3, 4, 5, 7, 8, 9, 10, 12),
    "squeezenet1_1": (3, 4, 6, 7, 9, 10, 11, 12),
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_takes_a_file_with_torchvisions_names(name, tmp_path):
    theirs = architectures.build(name, num_classes=3, input_shape=(64, 64, 3))
    modules = {"conv1": "features.0", "conv10": "classifier.1"}
    for number, position in enumerate(TORCHVISION[name], start=2):
        for ours, part in [("squeeze1x1", "squeeze"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")]:
            modules[f"fire{number}_{ours}"] = f"features.{position}.{part}"
    arrays = {}
    for layer, module in modules.items():
        kernel, bias = theirs.get_layer(layer).get_weights()
        arrays[f"{module}.weight"], arrays[f"{module}.bias"] = kernel.transpose(3, 2, 0, 1), bias
    np.savez(tmp_path / "theirs.npz", **arrays)
    ours = architectures.build(name, num_classes=3, input_shape=(64, 64, 3), weights=tmp_path / "theirs.npz")
    assert weights.fingerprint(ours) == weights.fingerprint(theirs)
