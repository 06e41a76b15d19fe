"""Ways back through a ReLU: answers on paper, and sentences where a rule does not apply."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, gradients, objectives, relu_rules
from garden.inspection.inspected_network import INPUT, SCORES

SHAPE = (6, 6, 3)


def slopes(network, images, rule, *, channel=0, path=INPUT):
    return gradients.gradients_of(network, images, objectives.class_score(channel), path=path, relu_rule=rule)[1]


def pictures(count=2, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, *SHAPE)).astype(np.float32)


def convolutions(activation, *, positive=False, bias=0.0):
    """Two convolutions and a mean, with weights of a fixed seed."""
    keras.utils.set_random_seed(4)
    image = keras.Input(SHAPE)
    x = image
    for filters, times in ((4, 1), (3, 100)):
        start = keras.initializers.Constant(times * bias)
        x = keras.layers.Conv2D(filters, 3, padding="same", bias_initializer=start)(x)
        x = activation(x) if callable(activation) else keras.layers.Activation(activation)(x)
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)), name="small")
    model.layers[-1].kernel.assign([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    if positive:
        for layer in model.layers:
            if hasattr(layer, "kernel"):
                layer.kernel.assign(np.abs(layer.kernel))
    return InspectedNetwork(model)


def test_one_relu_goes_back_as_each_paper_says():
    """y = relu(x) · w: plain passes w where x > 0, DeconvNet where w > 0, guided where both."""
    image = keras.Input((1, 4, 1))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.ReLU()(image))))
    model.layers[-1].kernel.assign([[2.0], [-3.0], [5.0], [-7.0]])
    network, x = InspectedNetwork(model), np.array([1.0, 1.0, -1.0, -1.0], np.float32).reshape(1, 1, 4, 1)
    found = {rule: slopes(network, x, rule).ravel().tolist() for rule in relu_rules.RULES}
    assert found == {
        relu_rules.PLAIN: [2.0, -3.0, 0.0, 0.0],
        relu_rules.DECONV: [2.0, 0.0, 5.0, 0.0],
        relu_rules.GUIDED: [2.0, 0.0, 0.0, 0.0],
    }
    # Guided is DeconvNet where the input is positive.
    np.testing.assert_array_equal(np.array(found["guided"]), np.array(found["deconv"]) * (x.ravel() > 0))


def test_guided_relu6_is_closed_at_both_ends():
    image = keras.Input((1, 3, 1))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(keras.layers.ReLU(max_value=6.0)(image))))
    model.layers[-1].kernel.assign([[2.0]] * 3)
    network, x = InspectedNetwork(model), np.array([-1.0, 3.0, 7.0], np.float32).reshape(1, 1, 3, 1)
    assert slopes(network, x, relu_rules.GUIDED).ravel().tolist() == [0.0, 2.0, 0.0]
    assert slopes(network, x, relu_rules.DECONV).ravel().tolist() == [2.0, 2.0, 2.0]


def test_with_positive_weights_guided_is_the_plain_gradient():
    network, x = convolutions("relu", positive=True), pictures()
    plain = slopes(network, x, relu_rules.PLAIN)
    np.testing.assert_array_equal(slopes(network, x, relu_rules.GUIDED), plain)
    assert np.abs(plain).max() > 0


def test_where_every_relu_is_open_guided_is_deconvnet():
    network, x = convolutions("relu", bias=50.0), pictures()
    deconv = slopes(network, x, relu_rules.DECONV)
    np.testing.assert_array_equal(slopes(network, x, relu_rules.GUIDED), deconv)
    assert np.abs(deconv - slopes(network, x, relu_rules.PLAIN)).max() > 0.001


def test_however_a_relu_is_written_the_rule_applies():
    x = pictures()
    named, layer, operation = (
        slopes(convolutions(activation), x, relu_rules.GUIDED)
        for activation in ("relu", keras.layers.ReLU(), keras.ops.relu)
    )
    np.testing.assert_array_equal(layer, named)
    np.testing.assert_array_equal(operation, named)
    assert np.abs(named - slopes(convolutions("relu"), x, relu_rules.PLAIN)).max() > 0


@pytest.mark.parametrize("rule", [relu_rules.GUIDED, relu_rules.DECONV])
def test_a_nested_network_is_the_flat_one_and_not_the_plain_gradient(rule):
    """Other programs give the plain gradient here, under another name."""
    flat = convolutions("relu")
    inner = x = keras.Input(SHAPE)
    for layer in flat.model.layers[1:-1]:
        x = layer(x) if not hasattr(layer, "kernel") else type(layer).from_config(layer.get_config())(x)
    image = keras.Input(SHAPE)
    head = keras.Sequential([keras.layers.Dense(2)])
    model = keras.Model(image, head(keras.Model(inner, x, name="backbone")(image)))
    model.set_weights(flat.model.get_weights())
    nested, x = InspectedNetwork(model), pictures()
    found = slopes(nested, x, rule)
    np.testing.assert_array_equal(found, slopes(flat, x, rule))
    assert np.abs(found - slopes(nested, x, relu_rules.PLAIN)).max() > 0.001


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_nearly_full_precision(precision):
    full, x = convolutions("relu"), pictures()
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(precision)
        half = convolutions("relu")
    finally:
        keras.config.set_dtype_policy(policy)
    half.model.set_weights(full.model.get_weights())
    expected, found = slopes(full, x, relu_rules.GUIDED), slopes(half, x, relu_rules.GUIDED)
    assert found.dtype == np.float32
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        ("silu", "sigmoid or SiLU"),
        ("elu", "ELU"),
        ("gelu", "GELU"),
        ("celu", "CELU"),
        ("hard_shrink", "hard shrink"),
        ("tanh", "tanh or GELU"),
        (keras.layers.LeakyReLU(), "leaky ReLU"),
        (keras.layers.PReLU(shared_axes=(1, 2, 3)), "PReLU"),
        ("hard_silu", "hard SiLU"),
        (keras.layers.ReLU(threshold=0.5), "a ReLU with a threshold"),
        (keras.layers.ReLU(max_value=6.0, negative_slope=0.1), "leaky ReLU"),
        (lambda x: keras.ops.maximum(x, 0.0), "a maximum with a number"),
        (lambda x: keras.ops.where(x > 0.2, x, 0.1 * x), "a choice by comparison"),
        (keras.ops.absolute, "an absolute value"),
        (keras.layers.Softmax(), "softmax"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_other_nonlinearities_are_refused(activation, kind):
    """A ReLU beside it does not hide it."""

    def both(x):
        x = keras.layers.ReLU()(x)
        return activation(x) if callable(activation) else keras.layers.Activation(activation)(x)

    with pytest.raises(
        InspectionError,
        match=r"^Guided backpropagation goes back through ReLUs only, but 'small' computes "
        + re.escape(kind)
        + r" in '.+'\. Use saliency, integrated_gradients or grad_cam for this network\.$",
    ):
        slopes(convolutions(both), pictures(), relu_rules.GUIDED)


def test_a_way_without_relus_is_refused():
    network = convolutions("linear")
    sentence = (
        "DeconvNet changes the way back through ReLUs, but none lies between the picture and what is explained in "
        "'small'. Use saliency, which is the same there, or a deeper layer."
    )
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        slopes(network, pictures(), relu_rules.DECONV)


def test_what_lies_behind_the_unit_does_not_matter():
    """A tanh after the unit is not on the way back."""
    network = convolutions("relu")
    first = network.convolution_paths()[0]
    image = network.model.inputs[0]
    y = keras.layers.Activation("tanh")(network.model.layers[2].output)
    late = InspectedNetwork(keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(y))))
    relu = late.paths[late.paths.index(first) + 1]
    _, found, _ = gradients.gradients_of(late, pictures(), objectives.strongest(relu, 0), relu_rule=relu_rules.GUIDED)
    assert np.abs(found).max() > 0


def test_channel_gates_may_be_sigmoids():
    """Squeeze and excite scales whole channels; that is no nonlinearity of places."""

    def gated(x):
        x = keras.layers.ReLU()(x)
        gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(gate)])

    assert np.abs(slopes(convolutions(gated), pictures(), relu_rules.GUIDED)).max() > 0


@pytest.mark.parametrize("activation", ["tanh", "silu", "elu", "leaky_relu"])
def test_hidden_layers_are_no_gates(activation):
    """A classifier's hidden numbers have no places either, yet neither paper says how to go back through these."""
    image = keras.Input(SHAPE)
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    x = keras.layers.Dense(5, activation=activation, name="hidden")(x)
    network = InspectedNetwork(keras.Model(image, keras.layers.Dense(2)(x), name="small"))
    with pytest.raises(InspectionError, match=r"'small' computes .+ in 'hidden.+'\. Use saliency"):
        slopes(network, pictures(), relu_rules.GUIDED)


def test_gates_may_be_made_by_dense_layers_and_norms_may_be_guarded():
    def gated(x):
        x = keras.layers.ReLU()(x)
        channels = x.shape[-1]
        gate = keras.layers.Dense(channels, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(x))
        x = keras.layers.Multiply()([x, keras.layers.Reshape((1, 1, channels))(gate)])
        return keras.layers.UnitNormalization()(x)

    assert np.abs(slopes(convolutions(gated), pictures(), relu_rules.GUIDED)).max() > 0


def test_ordinary_relus_are_as_before_also_after_a_refusal():
    with pytest.raises(InspectionError):
        slopes(convolutions("elu"), pictures(), relu_rules.GUIDED)

    @tf.function(autograph=False)
    def plain(x):
        return tf.gradients(tf.nn.relu(x) * -3.0, x)[0]

    np.testing.assert_array_equal(plain(tf.constant([-1.0, 2.0])), [0.0, -3.0])


def test_scores_are_what_is_explained_unless_told():
    network, x = convolutions("relu"), pictures()
    values, _, outputs = gradients.gradients_of(network, x, objectives.class_score([0, 1]), path=SCORES)
    np.testing.assert_allclose(values, outputs[[0, 1], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize(("activation", "most"), [(tf.nn.relu, np.inf), (tf.nn.relu6, 6.0)])
def test_a_redirected_relu_is_the_plain_one_until_nothing_of_a_picture_passes(activation, most):
    """Then what goes uphill passes, and only that."""

    @tf.function(autograph=False)
    def slope(x, back):
        with relu_rules.redirected():
            y = activation(x)
        return tf.gradients(y, x, grad_ys=back)[0]

    x = np.float32([[-1, 2, -3, 7], [-1, -2, -3, -4], [-1, 2, -3, -4], [-1, -2, 9, -1]])
    back = np.float32([[1, 1, -1, 1], [1, -1, 2, 0], [3, 0, -2, 1], [1, -1, 1, 0]])
    plain = np.where((x > 0) & (x < most), back, 0)
    expected = plain.copy()
    expected[1] = [1, 0, 2, 0]
    # What passes nothing back because nothing came back is as closed as what is below 0.
    expected[2] = [3, 0, 0, 1]
    if most == 6.0:
        expected[3] = [1, 0, 1, 0]
    np.testing.assert_array_equal(slope(x, back), expected)
