import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import DeformableConv2D


def chance(seed=1):
    return np.random.default_rng(seed)


def randomized(layer, seed=2, scale=0.5):
    for weight in layer.weights:
        weight.assign(chance(seed).normal(0, scale, weight.shape))
    return layer


def onnx_answer(features, offsets, masks, layer, before):
    """The same by the NumPy evaluator of onnx; `before` and after, cells of padding (top, left, bottom, right)."""
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    node = onnx.helper.make_node(
        "DeformConv",
        ["x", "w", "offset", "b", "mask"][: 5 if masks is not None else 4],
        ["y"],
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        pads=list(before),
        offset_group=layer.deformable_groups,
        kernel_shape=list(layer.kernel_size),
    )
    infos = [onnx.helper.make_tensor_value_info(name, 1, None) for name in [*node.input, "y"]]
    graph = onnx.helper.make_graph([node], "deformed", infos[:-1], infos[-1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    kernel, bias = layer.get_weights()[:2]
    feeds = {
        "x": features.transpose(0, 3, 1, 2),
        "w": kernel.transpose(3, 2, 0, 1),
        "offset": offsets.transpose(0, 3, 1, 2),
        "b": bias,
    }
    if masks is not None:
        feeds["mask"] = masks.transpose(0, 3, 1, 2)
    (answer,) = reference.ReferenceEvaluator(model).run(None, feeds)
    return answer.transpose(0, 2, 3, 1)


CASES = {  # arguments of the layer, output's height and width for a 6 x 7 map, padding (top, left, bottom, right)
    "plain": ({"kernel_size": 3}, (4, 5), (0, 0, 0, 0)),
    "same": ({"kernel_size": (3, 2), "padding": "same"}, (6, 7), (1, 0, 1, 1)),
    "strides": ({"kernel_size": 3, "padding": "same", "strides": 2}, (3, 4), (0, 1, 1, 1)),
    "dilation": ({"kernel_size": 2, "padding": "valid", "dilation_rate": (3, 2)}, (3, 5), (0, 0, 0, 0)),
    "groups": ({"kernel_size": 2, "deformable_groups": 2}, (5, 6), (0, 0, 0, 0)),
    "both": (
        {"kernel_size": 2, "strides": 2, "dilation_rate": 3, "padding": "same", "deformable_groups": 2},
        (3, 4),
        (1, 1, 1, 2),
    ),
}


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_onnx_gives_the_same_with_offsets_from_outside(name, modulated):
    arguments, (height, width), padding = CASES[name]
    layer = DeformableConv2D(3, **arguments, modulated=modulated)
    taps = layer.kernel_size[0] * layer.kernel_size[1] * layer.deformable_groups
    features = chance().normal(size=(1, 6, 7, 4)).astype(np.float32)
    # Far enough that taps leave the map on all sides, some wholly, some by a part of a cell.
    offsets = chance(3).normal(0, 2.5, (1, height, width, 2 * taps)).astype(np.float32)
    masks = chance(4).random((1, height, width, taps)).astype(np.float32) if modulated else None
    inputs = [features, offsets, masks] if modulated else [features, offsets]
    layer(inputs)
    randomized(layer)
    np.testing.assert_allclose(layer(inputs), onnx_answer(features, offsets, masks, layer, padding), atol=2e-4)
    assert len(layer.weights) == 2


@pytest.mark.parametrize("name", CASES)
def test_untrained_it_is_an_ordinary_convolution(name):
    arguments, size, (top, left, bottom, right) = CASES[name]
    layer = DeformableConv2D(5, **arguments)
    features = chance().normal(size=(2, 6, 7, 4)).astype(np.float32)
    ours = layer(features)
    assert ours.shape == (2, *size, 5)
    # Keras cannot stride and dilate at once: stride afterwards.
    ordinary = keras.layers.Conv2D(5, layer.kernel_size, dilation_rate=layer.dilation_rate)
    ordinary.build(features.shape)
    ordinary.set_weights(layer.get_weights()[:2])
    every_place = ordinary(np.pad(features, ((0, 0), (top, bottom), (left, right), (0, 0))))
    expected = every_place[:, :: layer.strides[0], :: layer.strides[1]]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_untrained_and_modulated_it_is_half_of_one():
    features = chance().normal(size=(2, 6, 7, 4)).astype(np.float32)
    layer = DeformableConv2D(5, 3, modulated=True, use_bias=False)
    whole = DeformableConv2D(5, 3, use_bias=False)
    layer(features), whole(features)
    whole.kernel.assign(layer.kernel)
    np.testing.assert_allclose(2 * layer(features), whole(features), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_its_own_offsets_are_those_of_an_ordinary_convolution(name):
    """The inner convolution's answer, handed in from outside, gives the same output."""
    arguments = CASES[name][0]
    features = chance().normal(size=(2, 6, 7, 4)).astype(np.float32)
    own = DeformableConv2D(3, **arguments, modulated=True)
    own(features)
    randomized(own, scale=0.3)
    kernel, bias, offset_kernel, offset_bias = own.get_weights()
    taps = own.kernel_size[0] * own.kernel_size[1] * own.deformable_groups
    # A deformable layer without offsets is an ordinary convolution of any stride and dilation: tested above.
    inner = DeformableConv2D(3 * taps, **arguments)
    inner(features)
    inner.kernel.assign(offset_kernel)
    inner.bias.assign(offset_bias)
    answer = inner(features).numpy()
    given = DeformableConv2D(3, **arguments, modulated=True)
    inputs = [features, answer[..., : 2 * taps], 1 / (1 + np.exp(-answer[..., 2 * taps :]))]
    given(inputs)
    given.set_weights([kernel, bias])
    np.testing.assert_allclose(own(features), given(inputs), atol=1e-4)


def test_an_offset_of_half_a_cell_reads_between_two():
    """On paper: one tap, moved by half a cell down and a whole one to the right."""
    layer = DeformableConv2D(1, 1, use_bias=False, kernel_initializer="ones")
    features = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    offsets = np.broadcast_to(np.array([0.5, 1.0], np.float32), (1, 3, 3, 2))
    expected = [[2.5, 3.5, 0], [5.5, 6.5, 0], [3.5, 4, 0]]
    np.testing.assert_allclose(layer([features, offsets])[0, :, :, 0], expected)


@pytest.mark.parametrize("arguments", [CASES["same"][0], CASES["both"][0]])
def test_gradients_of_map_offsets_and_multipliers_are_those_of_finite_differences(arguments):
    layer = DeformableConv2D(3, **arguments, modulated=True, dtype="float64")
    height, width = (6, 7) if "strides" not in arguments else (3, 4)
    taps = layer.kernel_size[0] * layer.kernel_size[1] * layer.deformable_groups
    # A quarter cell or more away from all cells, where the slope changes.
    offsets = chance(3).integers(-2, 2, (1, height, width, 2 * taps)) + chance(5).uniform(
        0.25, 0.75, (1, height, width, 2 * taps)
    )
    inputs = [
        tf.constant(chance().normal(size=(1, 6, 7, 4))),
        tf.constant(offsets, tf.float32),
        tf.constant(chance(4).random((1, height, width, taps))),
    ]
    layer(inputs)
    upstream = chance(6).normal(size=(1, height, width, 3))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(inputs) * upstream)
    gradients = tape.gradient(loss, inputs)
    for place, gradient in enumerate(gradients):
        direction = chance(7).normal(size=gradient.shape)
        sides = []
        for step in (2**-6, -(2**-6)):  # within a cell at most quadratic: exact for steps of any size
            moved = list(inputs)
            moved[place] = inputs[place] + tf.cast(step * direction, inputs[place].dtype)
            sides.append(float(tf.reduce_sum(layer(moved) * upstream)))
        told = float(np.sum(gradient.numpy().astype(np.float64) * direction))
        assert told == pytest.approx((sides[0] - sides[1]) / 2**-5, rel=1e-4, abs=1e-3)


def test_far_offsets_read_nothing():
    offsets = np.array([1e30, -1e30, np.inf, 3e9], np.float32)[None, :, None, None].repeat(2, -1).repeat(4, 2)
    layer = DeformableConv2D(2, 1, bias_initializer="ones")
    np.testing.assert_array_equal(layer([np.ones((1, 4, 4, 3), np.float32), offsets]), np.ones((1, 4, 4, 2)))


def test_multiply_adds_count_both_convolutions():
    layer = DeformableConv2D(5, 3, modulated=True)
    assert layer.multiply_adds([(None, 6, 7, 4)], (None, 4, 5, 5)) == 4 * 5 * 9 * 4 * (5 + 27)
    assert layer.multiply_adds([(None, 6, 7, 4), (None, 4, 5, 18), (None, 4, 5, 9)], (None, 4, 5, 5)) == 4 * 5 * 36 * 5


def test_offsets_of_another_shape_are_refused():
    with pytest.raises(ValueError) as caught:
        DeformableConv2D(5, 3, modulated=True)([np.ones((1, 6, 7, 4)), np.ones((1, 4, 5, 18)), np.ones((1, 4, 5, 18))])
    assert "Offsets and multipliers must have (18, 9) channels. Received: (18, 18)." in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"filters": 0}, "`filters` must be a positive integer. Received: filters=0."),
        ({"strides": (1, 0)}, "`strides` must be a positive integer or two of them. Received: strides=(1, 0)."),
        ({"padding": "causal"}, "`padding` must be 'valid' or 'same'. Received: padding='causal'."),
        ({"deformable_groups": 0}, "`deformable_groups` must be a positive integer. Received: deformable_groups=0."),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError) as caught:
        DeformableConv2D(**{"filters": 5, "kernel_size": 3, **arguments})
    assert str(caught.value) == sentence
