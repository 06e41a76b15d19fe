"""Any functional model, seen flat: paths, what runs, where the scores are, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import INPUT, SCORES, InspectedNetwork

layers = keras.layers
SHAPE = (8, 10, 3)


def images(count=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *SHAPE)).astype(np.float32)


def backbone(name="backbone"):
    inner = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, padding="same", name="conv1")(inner)
    x = keras.ops.relu(x)
    x = layers.Conv2D(5, 3, strides=2, name="conv2")(x)
    return keras.Model(inner, layers.ReLU(6.0, name="relu6")(x), name=name)


def nodes_of(model):
    """How often each layer has been called."""
    return {id(layer): len(layer._inbound_nodes) for layer in model._flatten_layers()}


@pytest.fixture(scope="module")
def nested():
    """A Sequential with dropout, inside a functional model with a functional backbone."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE, name="image")
    x = backbone()(layers.Rescaling(1 / 255, name="rescale")(image))
    head = keras.Sequential(
        [
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dropout(0.9, name="dropout"),
            layers.Dense(4, "softmax", name="classes"),
        ],
        name="head",
    )
    return keras.Model(image, head(x), name="nested")


def test_paths_go_into_models_within(nested):
    network = InspectedNetwork(nested)
    paths = list(network.paths)
    # Keras counts the operations of a process without a name of their own.
    assert paths.pop(2).startswith("backbone/relu")
    assert paths == [
        "rescale",
        "backbone/conv1",
        "backbone/conv2",
        "backbone/relu6",
        "backbone",
        "head/pool",
        "head/dropout",
        "head/classes",
        "head",
    ]
    assert network.shape_of("backbone") == network.shape_of("backbone/relu6") == (3, 4, 5)
    assert network.shape_of(INPUT) == SHAPE and network.shape_of(SCORES) == (4,)
    assert isinstance(network.operation_of("backbone/conv2"), layers.Conv2D)
    assert network.convolution_paths() == ("backbone/conv1", "backbone/conv2")
    assert network.features_path() == "head/pool"
    assert network.last_map_path() == "backbone/relu6"


def test_outputs_are_those_of_the_layers(nested):
    network, x = InspectedNetwork(nested), images()
    found = network.outputs(x, ["backbone/conv1", "backbone", "head"], batch_size=2)
    within = nested.get_layer("backbone")
    np.testing.assert_allclose(found["backbone/conv1"], within.get_layer("conv1")(x / 255), atol=1e-5)
    np.testing.assert_allclose(found["backbone"], within(x / 255), atol=1e-5)
    np.testing.assert_allclose(found["head"], nested(x, training=False), atol=1e-6)
    assert found["backbone"].max() <= 6


def test_dropout_and_batch_statistics_rest(network_of):
    norm = layers.BatchNormalization(name="norm")
    network = network_of(SHAPE, norm, layers.Dropout(0.5), layers.Flatten())
    norm.set_weights([np.ones(3), np.zeros(3), np.full(3, 100.0), np.full(3, 4.0)])
    found = network.outputs(images(), ["norm", network.paths[-1]])
    np.testing.assert_allclose(found["norm"], (images() - 100) / np.sqrt(4 + 1e-3), rtol=1e-4)
    np.testing.assert_allclose(found[network.paths[-1]], found["norm"].reshape(3, -1))
    np.testing.assert_array_equal(norm.moving_mean, np.full(3, 100.0))


def test_the_model_gets_no_new_nodes_and_keeps_its_bytes(nested):
    before, weights = nodes_of(nested), nested.get_weights()
    config = nested.to_json()
    network = InspectedNetwork(nested)
    network.outputs(images(), ["backbone/conv1", SCORES])
    assert nodes_of(nested) == before
    assert nested.to_json() == config
    assert all(np.array_equal(old, new) for old, new in zip(weights, nested.get_weights(), strict=True))


def test_what_is_used_again_is_counted():
    shared, within = layers.Conv2D(3, 3, padding="same", name="shared"), backbone("twin")
    image = keras.Input(SHAPE)
    once = shared(image)
    twice = shared(once)
    sides = layers.Concatenate(name="both")([within(once), within(twice)])
    network = InspectedNetwork(keras.Model(image, layers.GlobalMaxPooling2D()(sides)))
    assert {"shared", "shared@1", "twin/conv1", "twin@1/conv1", "twin@1"} <= set(network.paths)
    found = network.outputs(images(), ["shared", "shared@1", "twin/conv2", "twin@1"])
    first = shared(images())
    np.testing.assert_allclose(found["shared"], first, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["shared@1"], shared(first), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(found["twin@1"], within(shared(first)), rtol=1e-3, atol=1e-2)


class Split(layers.Layer):
    """Positive and negative part."""

    def call(self, inputs):
        return tf.nn.relu(inputs), tf.nn.relu(-inputs)


def test_further_outputs_have_their_own_paths():
    image = keras.Input(SHAPE)
    positive, negative = Split(name="split")(layers.Rescaling(1.0, -128.0)(image))
    network = InspectedNetwork(keras.Model(image, layers.Flatten()(layers.Subtract()([positive, negative]))))
    found = network.outputs(images(), ["split", "split:1"])
    np.testing.assert_allclose(found["split"], np.maximum(images() - 128, 0), atol=1e-4)
    np.testing.assert_allclose(found["split:1"], np.maximum(128 - images(), 0), atol=1e-4)


def test_mixed_precision_gives_what_the_model_gives():
    policy = keras.DTypePolicy("mixed_bfloat16")
    image = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, dtype=policy, name="conv")(image)
    pooled = layers.GlobalAveragePooling2D(dtype=policy)(x)
    model = keras.Model(image, layers.Dense(3, "softmax", dtype=policy, name="classes")(pooled))
    network = InspectedNetwork(model)
    scores = network.logits(images())
    assert scores.dtype == np.float32
    expected = keras.ops.convert_to_numpy(keras.ops.cast(model(images()), "float32"))
    np.testing.assert_allclose(network.probabilities(scores), expected, atol=0.02)


def test_a_cut_runs_the_rest_only(nested):
    network = InspectedNetwork(nested)
    within = images(2)
    features = network.outputs(within, ["backbone"])["backbone"]

    @tf.function(autograph=False)
    def tail(given):
        return network.run(None, ["head/pool", SCORES], given={"backbone": given})

    @tf.function(autograph=False)
    def impossible(given):
        return network.run(None, ["backbone/conv1"], given={"backbone": given})

    np.testing.assert_allclose(tail(features)[SCORES], network.logits(within), atol=1e-5)
    np.testing.assert_allclose(tail(features * 0)["head/pool"], np.zeros((2, 5)))
    with pytest.raises(
        InspectionError, match="^'backbone/conv1' reads the picture on a way around 'backbone', which was"
    ):
        impossible(features)


def test_layers_that_can_take_other_sizes_do(nested):
    network = InspectedNetwork(nested)

    @tf.function(autograph=False)
    def run(x):
        return network.run(x, ["backbone/conv2"])["backbone/conv2"]

    assert run(tf.zeros((1, 13, 17, 3))).shape == (1, 6, 8, 5)


def with_head(head):
    image = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, head(layers.Dense(4, name="hidden")(x)))


def dense(activation, units=3):
    return layers.Dense(units, activation=activation, name="end", bias_initializer=keras.initializers.Constant(0.3))


HEADS = {
    "linear": dense(None),
    "dense softmax": dense("softmax"),
    "activation layer": lambda x: layers.Activation("softmax")(dense(None)(x)),
    "softmax layer": lambda x: layers.Softmax()(dense(None)(x)),
    "TensorFlow's softmax": dense(tf.nn.softmax),
    "logarithm": dense("log_softmax"),
    "logarithm by keras.ops": lambda x: keras.ops.log_softmax(dense(None)(x)),
    "keras.ops": lambda x: keras.ops.softmax(dense(None)(x)),
    "dropout and identity after": lambda x: layers.Identity()(layers.Dropout(0.5)(dense("softmax")(x))),
    "precision after": lambda x: layers.Activation("linear", dtype="float32")(dense("softmax")(x)),
    "convolution": lambda x: layers.Conv2D(3, 1, activation="softmax", name="end")(layers.Reshape((1, 1, 4))(x)),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_scores_are_before_softmax(head):
    model = with_head(head)
    network, x = InspectedNetwork(model), images()
    end = model.get_layer("end")
    hidden = network.outputs(x, ["hidden"])["hidden"]
    kernel, bias = (np.asarray(weight) for weight in end.get_weights())
    scores = network.logits(x)
    np.testing.assert_allclose(scores, hidden @ kernel.reshape(4, 3) + bias, atol=1e-5)
    assert network.score_kind == "logits"
    shares = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(network.probabilities(scores), shares, atol=1e-6)
    if network.activation == "softmax":
        given = np.reshape(model(x, training=False), (3, 3))
        np.testing.assert_allclose(np.exp(given) if given.max() < 0 else given, shares, atol=1e-6)
    assert network.num_classes == 3
    assert network.features_path() == "hidden"


def test_one_sigmoid_scores_both_sides():
    model = with_head(dense("sigmoid", units=1))
    network = InspectedNetwork(model)
    scores = network.logits(images())
    assert network.num_classes == 2
    np.testing.assert_allclose(scores[:, 0], -scores[:, 1])
    np.testing.assert_allclose(network.probabilities(scores)[:, 1:], model(images()), atol=1e-6)
    np.testing.assert_allclose(network.probabilities(scores).sum(axis=-1), 1, atol=1e-6)


def test_several_sigmoids_stay_apart():
    model = with_head(dense("sigmoid"))
    network = InspectedNetwork(model)
    np.testing.assert_allclose(network.probabilities(network.logits(images())), model(images()), atol=1e-6)


def test_what_is_called_logits_is_taken_at_its_word():
    """Distances, or lengths of capsules: a network of the catalogue ends in a layer of this name."""
    model = with_head(layers.UnitNormalization(name="logits"))
    network, x = InspectedNetwork(model), images()
    assert network.score_kind == "logits"
    scores = network.logits(x)
    np.testing.assert_allclose(scores, model(x), atol=1e-6)
    np.testing.assert_allclose(network.probabilities(scores), tf.nn.softmax(scores), atol=1e-6)
    assert InspectedNetwork(with_head(layers.UnitNormalization(name="other"))).score_kind == "output"


ENDS_IN_PROBABILITIES = {
    "reshaped": lambda x: layers.Reshape((3,))(dense("softmax")(x)),
    "averaged": lambda x: layers.Average()([dense("softmax")(x), layers.Dense(3, "softmax", name="other")(x)]),
    "two steps": lambda x: layers.Flatten()(layers.Reshape((1, 3))(layers.Softmax()(dense(None)(x)))),
    "separable convolution": lambda x: layers.Flatten()(
        layers.SeparableConv2D(3, 1, activation="softmax")(layers.Reshape((1, 1, 4))(x))
    ),
    "separable convolution's map": lambda x: layers.SeparableConv2D(3, 1, activation="softmax")(
        layers.Reshape((1, 1, 4))(x)
    ),
    "einsum": layers.EinsumDense("ab,bc->ac", 3, activation="softmax"),
    "one sigmoid of an einsum": layers.EinsumDense("ab,bc->ac", 1, activation="sigmoid"),
    "squashed": lambda x: layers.Activation("tanh")(dense(None)(x)),
}


@pytest.mark.parametrize("head", ENDS_IN_PROBABILITIES.values(), ids=ENDS_IN_PROBABILITIES)
def test_what_cannot_be_undone_is_explained_as_it_is(head):
    model = with_head(head)
    network = InspectedNetwork(model)
    assert network.score_kind == "output"
    scores = network.logits(images())
    np.testing.assert_allclose(scores, np.reshape(model(images()), scores.shape), atol=1e-6)
    np.testing.assert_array_equal(network.probabilities(scores), scores)


def test_one_of_several_outputs_is_chosen():
    image = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, [layers.Dense(2, name="a")(x), layers.Dense(5, "softmax", name="b")(x)], name="two")
    assert InspectedNetwork(model).num_classes == 2
    assert InspectedNetwork(model, output=1).num_classes == 5
    with pytest.raises(
        InspectionError, match="^The model 'two' has 2 outputs; there is no output 2. Outputs count from 0.$"
    ):
        InspectedNetwork(model, output=2)


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


class Overriding(keras.Model):
    """Functional, but its graph is not what runs."""

    def call(self, inputs, training=None):
        return super().call(inputs) * 2


def test_models_that_cannot_be_followed_are_refused():
    with pytest.raises(
        InspectionError, match="^The model 'other' is a subclass of keras.Model without a graph of layers"
    ):
        InspectedNetwork(Subclassed(name="other"))
    image = keras.Input(SHAPE)
    with pytest.raises(
        InspectionError, match="^The model 'mine' is a subclass of keras.Model without a graph of layers"
    ):
        InspectedNetwork(Overriding(image, layers.Flatten()(image), name="mine"))
    vector = keras.Input((7,))
    with pytest.raises(InspectionError, match=r"^The model 'table' takes \(None, 7\); inspection needs one input of"):
        InspectedNetwork(keras.Model(vector, layers.Dense(2)(vector), name="table"))
    other = keras.Input(SHAPE)
    with pytest.raises(InspectionError, match="^The model 'pair' takes .*, .*; inspection needs one input of pictures"):
        InspectedNetwork(keras.Model([image, other], layers.Add()([image, other]), name="pair"))
    free = keras.Input((None, None, 3))
    with pytest.raises(
        InspectionError, match=r"^The model 'free' takes pictures of \(None, None, 3\); inspection needs to"
    ):
        InspectedNetwork(keras.Model(free, layers.GlobalMaxPooling2D()(free), name="free"))
    network = InspectedNetwork(keras.Model(free, layers.GlobalMaxPooling2D()(free)), ImageSpec(6, 7))
    assert network.input_shape == (6, 7, 3)
    with pytest.raises(
        InspectionError, match=r"^The model 'flat' takes pictures of \(8, 10, 3\), but the ImageSpec makes"
    ):
        InspectedNetwork(keras.Model(image, layers.Flatten()(image), name="flat"), ImageSpec(6, 7))


def test_a_wrong_path_names_the_right_one(nested):
    network = InspectedNetwork(nested)
    with pytest.raises(
        InspectionError, match="^The network 'nested' has no layer 'conv2'; .* Did you mean 'backbone/conv2'"
    ):
        network.check_path("conv2")
    with pytest.raises(InspectionError, match="Did you mean 'backbone/relu6'"):
        network.outputs(images(), ["backbone/relu66"])


def test_functions_and_facts_are_made_once(nested):
    network = InspectedNetwork(nested)
    asked = []
    for _ in range(2):
        assert network.remembered("fact", lambda: asked.append(1) or "found") == "found"
        network.outputs(images(2), ["backbone"])
        network.outputs(images(3), ["backbone"])
    assert asked == [1]
    assert list(network.trace_counts().values()) == [1]


def test_steps_read_what_earlier_steps_fill(nested):
    network = InspectedNetwork(nested)
    filled = {network.slot_of(INPUT)}
    for step in network.steps:
        assert set(step.reads) <= filled
        filled |= set(step.fills)
    assert {network.slot_of(path) for path in (*network.paths, SCORES)} <= filled
