"""GroupedConv2D beside Keras' own grouped convolution, torch, a NumPy loop, and hand arithmetic."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import GroupedConv2D
from garden.summary import summarize

# filters, groups, kernel size, strides, padding, dilation: ResNeXt's, ShuffleNet's, AlexNet's, and depthwise.
FORMS = {
    "one group": (6, 1, 3, 1, "same", 1),
    "resnext": (24, 6, 3, 2, "same", 1),
    "shufflenet": (24, 3, 1, 1, "valid", 1),
    "shufflenet, strided": (24, 3, 1, 2, "valid", 1),
    "alexnet": (6, 2, 5, 1, "same", 1),
    "dilated": (12, 4, 3, 1, "same", 2),
    "oblong": (12, 2, (1, 3), (2, 1), "valid", 1),
    "a channel a group": (24, 12, 3, 1, "same", 1),
}


def pair_of_layers(form, channels=12, **more):
    """Ours and Keras', with the same weights."""
    filters, groups, kernel_size, strides, padding, dilation = FORMS[form]
    arguments = dict(strides=strides, padding=padding, dilation_rate=dilation, **more)
    ours = GroupedConv2D(filters, kernel_size, groups=groups, **arguments)
    theirs = keras.layers.Conv2D(filters, kernel_size, groups=groups, **arguments)
    ours.build((None, None, None, channels))
    theirs.build((None, None, None, channels))
    chance = np.random.default_rng(1)
    weights = [chance.normal(size=weight.shape) for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    return ours, theirs


def maps(height=9, width=8, channels=12):
    return tf.constant(np.random.default_rng(2).normal(size=(2, height, width, channels)), tf.float32)


@pytest.mark.parametrize("form", FORMS)
def test_equals_keras_grouped_convolution_with_the_same_weights_and_gradients(form):
    ours, theirs = pair_of_layers(form, activation="relu")
    x = maps()
    results = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(y * tf.cos(tf.range(tf.size(y), dtype=tf.float32)).numpy().reshape(y.shape))
        results.append((y, *tape.gradient(loss, [x, layer.kernel.value, layer.bias.value])))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_equals_torch():
    torch = pytest.importorskip("torch")
    ours, _ = pair_of_layers("shufflenet")
    kernel, bias = ours.get_weights()
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(maps().numpy().transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()),
        torch.from_numpy(bias),
        groups=3,
    )
    np.testing.assert_allclose(ours(maps()), theirs.numpy().transpose(0, 2, 3, 1), atol=1e-4)


def test_each_group_reads_its_channels_only():
    """1 × 1 kernels of ones, 2 groups: the first filters add channels 1 and 2, the second 3 and 4."""
    layer = GroupedConv2D(4, 1, groups=2, kernel_initializer="ones")
    out = layer(np.array([1.0, 2.0, 30.0, 40.0], np.float32).reshape(1, 1, 1, 4))
    assert out.numpy().ravel().tolist() == [3.0, 3.0, 70.0, 70.0]


def test_costs_a_groupth_of_the_whole_convolution():
    """ResNeXt's 32 × 4d: 3 · 3 · 4 · 128 weights, at each of 56 × 56 positions."""
    image = keras.Input((56, 56, 128))
    layer = GroupedConv2D(128, 3, groups=32, padding="same", use_bias=False, name="grouped")
    row = summarize(keras.Model(image, layer(image))).row("grouped")
    assert (row.parameters, row.macs) == (4608, 4608 * 56 * 56)


def test_trains_where_keras_own_needs_a_compiler():
    """The same step without jit_compile, in a graph, as fit and a stock server run it."""
    ours, _ = pair_of_layers("resnext")

    @tf.function(jit_compile=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(ours(x) ** 2)
        return tape.gradient(loss, ours.trainable_variables)

    kernel, bias = step(maps())
    assert kernel.shape == ours.kernel.shape and bias.shape == ours.bias.shape
    names = {op.type for op in step.get_concrete_function(maps()).graph.get_operations()}
    assert not {name for name in names if "Xla" in name or name in ("PartitionedCall", "StatefulPartitionedCall")}


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r"groups=5"):
        GroupedConv2D(10, 3, groups=5)(maps())


def test_channels_first_is_refused_and_not_taken_for_channels_last():
    with pytest.raises(ValueError) as caught:
        GroupedConv2D(8, 3, groups=2, data_format="channels_first")
    assert str(caught.value) == (
        "`data_format` must be 'channels_last' in GroupedConv2D. Received: data_format='channels_first'."
    )
    assert GroupedConv2D.from_config(GroupedConv2D(8, 3, groups=2).get_config()).data_format == "channels_last"
