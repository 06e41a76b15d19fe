"""Residual blocks: where they stride, what they dilate, what their shortcuts add."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.architectures import residual, resnet, resnet_v2, resnext, se_resnet, wide_resnet

# Two blocks a stage, fewer than any real one, for each way to build a block.
SMALL = {
    "two 3×3 convolutions": (resnet.resnet, resnet.ResNetVariant((1, 2, 2, 2), None, 0, 0, 0.0, "")),
    "stride in the 1×1": (resnet.resnet, resnet.ResNetVariant((1, 1, 2, 1), 1, 0, 0, 0.0, "")),
    "stride in the 3×3": (resnet.resnet, resnet.ResNetVariant((1, 1, 2, 1), 2, 0, 0, 0.0, "")),
    "stride in the last block": (resnet_v2.resnet_v2, resnet_v2.ResNetV2Variant((2, 2, 2, 1), True, True, 0, 0, None)),
    "activated before": (resnet_v2.resnet_v2, resnet_v2.ResNetV2Variant((1, 1, 2, 1), True, False, 0, 0, None)),
    "grouped": (resnext.resnext, resnext.ResNeXtVariant((1, 1, 2, 1), 2, 8, 0, 0, 0.0, "")),
    "gated": (se_resnet.se_resnet, se_resnet.SEResNetVariant((1, 1, 2, 1), False, 0, 0, 0.0, "")),
    "wide": (wide_resnet.wide_resnet, wide_resnet.WideResNetVariant((1, 1, 1, 1), 1, 0, 0, 0.0)),
}


def block(name, *, stride=1):
    return residual.ResidualBlock(name, residual.basic(4), stride=stride)


def last_map(build, variant, *, output_stride):
    pixels = keras.Input((64, 64, 3))
    answer = build(variant, pixels, num_classes=None, dropout_rate=0.0, output_stride=output_stride)
    pool = answer._keras_history.operation
    return keras.Model(pixels, pool.input)


@pytest.mark.parametrize("kind", SMALL)
def test_dilated_maps_hold_the_strided_one_at_every_nth_position(kind):
    build, variant = SMALL[kind]
    strided, dense = (last_map(build, variant, output_stride=stride) for stride in (32, 8))
    # Squeezed averages differ between the two maps; with these weights every gate is half open.
    gates = [weight for weight in strided.weights if "expand" in weight.path]
    chance = np.random.default_rng(3)
    for weight in strided.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(chance.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(chance.normal(0, 0.3, weight.shape))
    for weight in gates:
        weight.assign(np.zeros(weight.shape))
    dense.set_weights(strided.get_weights())
    pixels = chance.normal(size=(1, 64, 64, 3)).astype(np.float32)
    expected, answer = strided(pixels), dense(pixels)
    assert expected.shape[1:3] == (2, 2)
    assert answer.shape[1:3] == (8, 8)
    scale = float(np.abs(expected).max())
    assert np.std(expected) > 1e-3 * scale
    np.testing.assert_allclose(answer[:, ::4, ::4] / scale, expected / scale, atol=1e-5)


def test_strides_beyond_the_output_stride_become_dilations_of_what_follows():
    blocks = [block("a"), block("b", stride=2), block("c", stride=2), block("d"), block("e", stride=2)]
    facts = [
        (each.stride, each.dilation, each.later_dilation)
        for each in residual.dilated(blocks, stem_stride=4, output_stride=8)
    ]
    assert facts == [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 2), (1, 2, 4)]
    assert residual.dilated(blocks, stem_stride=4, output_stride=32) == blocks


def test_a_stack_strides_and_projects_in_its_first_block():
    first, second, third = residual.stack(3, residual.bottleneck(8), repeats=3, stride=2, shortcut="projection")
    assert (first.name, first.stride, first.shortcut) == ("stage3_block1", 2, "projection")
    assert (second.stride, second.shortcut, third.name) == (1, "identity", "stage3_block3")
    assert [(one.filters, one.kernel_size) for one in first.convolutions] == [(2, 1), (2, 3), (8, 1)]


def test_endpoints_multiply_the_strides():
    stem = (residual.Endpoint("conv1_relu", 2), residual.Endpoint("pool1", 4))
    endpoints = residual.block_endpoints(stem, [block("a"), block("b", stride=2)], last_layer="add")
    assert [(endpoint.name, endpoint.stride) for endpoint in endpoints[2:]] == [("a_add", 4), ("b_add", 8)]


@pytest.mark.parametrize(("size", "expected"), [(6, [0, 2, 4]), (7, [0, 2, 4, 6])])
def test_a_strided_window_stands_on_every_second_pixel_from_the_first(size, expected):
    x = keras.Input((1, size, 1))
    model = keras.Model(x, residual.convolve(x, "conv", residual.Convolution(1, 3), stride=2))
    kernel = np.zeros((3, 3, 1, 1))
    kernel[1, 1] = 1
    model.get_layer("conv").set_weights([kernel])
    answer = model(np.arange(size, dtype=np.float32).reshape(1, 1, size, 1))
    assert np.asarray(answer)[0, 0, :, 0].tolist() == expected


def test_zeros_fill_the_channels_that_a_shortcut_without_parameters_lacks():
    x = keras.Input((4, 4, 2))
    one = residual.ResidualBlock("block", residual.basic(4), stride=2, shortcut="zero_padding")
    model = keras.Model(x, residual.residual_block(x, one))
    shortcut = keras.Model(x, model.get_layer("block_shortcut_padded").output)
    numbers = np.random.default_rng(1).normal(size=(1, 4, 4, 2)).astype(np.float32)
    answer = np.asarray(shortcut(numbers))
    np.testing.assert_array_equal(answer[..., :2], numbers[:, ::2, ::2])
    np.testing.assert_array_equal(answer[..., 2:], np.zeros((1, 2, 2, 2)))
