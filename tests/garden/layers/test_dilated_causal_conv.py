import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.export import graph_rules
from garden.export.saved_model_session import SavedModelSession
from garden.layers import DilatedCausalConv1D


def built(steps=9, channels=3, seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    layer = DilatedCausalConv1D(**{"filters": 4, "bias_initializer": "random_normal", **arguments})
    layer.build((None, steps, channels))
    return layer


def sequences(*shape):
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)


def stream(layer, inputs):
    """Every step's outputs, one step at a time."""
    state = layer.initial_state(len(inputs))
    outputs = []
    for step in range(inputs.shape[1]):
        one, state = layer.step(inputs[:, step], state)
        outputs.append(one)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize(
    ("kernel_size", "dilation_rate", "output_step", "read"),
    [(3, 4, 9, [1, 5, 9]), (2, 8, 15, [7, 15]), (3, 4, 6, [2, 6]), (1, 5, 3, [3]), (4, 1, 8, [5, 6, 7, 8])],
)
def test_output_reads_only_its_taps(kernel_size, dilation_rate, output_step, read):
    layer = built(kernel_size=kernel_size, dilation_rate=dilation_rate)
    inputs = tf.constant(sequences(1, 16, 3))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs)[0, output_step]
    gradient = tape.gradient(output, inputs)[0]
    assert [step for step in range(16) if np.any(gradient[step])] == read


def test_taps_are_in_the_order_of_time():
    """On paper: y[t] = 100 x[t] + 10 x[t - 2] + x[t - 4]; the kernel's last tap is the present."""
    layer = built(channels=1, filters=1, kernel_size=3, dilation_rate=2, use_bias=False)
    layer.set_weights([np.array([1.0, 10, 100]).reshape(3, 1, 1)])
    inputs = np.arange(1, 7, dtype=np.float32).reshape(1, 6, 1)
    expected = [100, 200, 310, 420, 531, 642]
    np.testing.assert_allclose(layer(inputs).numpy().ravel(), expected)
    np.testing.assert_allclose(stream(layer, inputs).ravel(), expected)


@pytest.mark.parametrize(("kernel_size", "dilation_rate"), [(1, 1), (1, 3), (2, 1), (2, 16), (3, 5), (5, 2)])
def test_a_stream_gives_what_the_whole_sequence_gives(kernel_size, dilation_rate):
    layer = built(kernel_size=kernel_size, dilation_rate=dilation_rate, activation="tanh")
    inputs = sequences(2, 23, 3)
    assert layer.initial_state(2).shape == (2, dilation_rate * (kernel_size - 1), 3)
    np.testing.assert_allclose(stream(layer, inputs), layer(inputs), atol=1e-5)


def test_a_stack_of_layers_streams_inside_one_function():
    layers = [built(channels=channels, kernel_size=2, dilation_rate=2**depth, seed=depth, activation="relu")
              for depth, channels in enumerate((3, 4, 4))]  # fmt: skip
    inputs = tf.constant(sequences(2, 17, 3))

    @tf.function(input_signature=[tf.TensorSpec((None, None, 3))])
    def streamed(inputs):
        def step(carried, x):
            states = []
            for layer, state in zip(layers, carried[1:], strict=True):
                x, state = layer.step(x, state)
                states.append(state)
            return (x, *states)

        batch = tf.shape(inputs)[0]
        start = (tf.zeros((batch, 4)), *(layer.initial_state(batch) for layer in layers))
        return tf.transpose(tf.scan(step, tf.transpose(inputs, (1, 0, 2)), start)[0], (1, 0, 2))

    whole = inputs
    for layer in layers:
        whole = layer(whole)
    np.testing.assert_allclose(streamed(inputs), whole, atol=1e-5)


def test_a_server_runs_it_step_by_step(tmp_path):
    layer = built(kernel_size=3, dilation_rate=2)
    module = tf.Module()
    module.held = [weight.value for weight in layer.weights]

    def step(inputs, state):
        outputs, state = layer.step(inputs, state)
        return {"outputs": outputs, "new_state": state}

    def start(batch_size):
        return {"state": layer.initial_state(batch_size)}

    specs = {"inputs": tf.TensorSpec((None, 3), name="inputs"), "state": tf.TensorSpec((None, 4, 3), name="state")}
    signatures = {
        "step": tf.function(step).get_concrete_function(**specs),
        "start": tf.function(start).get_concrete_function(tf.TensorSpec((), tf.int32, name="batch_size")),
    }
    tf.saved_model.save(module, tmp_path, signatures=signatures)
    assert graph_rules.broken_rules(graph_rules.read_meta_graph(tmp_path)) == []
    inputs = sequences(2, 8, 3)
    outputs = []
    with SavedModelSession(tmp_path) as session:
        state = session.run("start", {"batch_size": np.int32(2)})["state"]
        for moment in range(8):
            answer = session.run("step", {"inputs": inputs[:, moment], "state": state})
            outputs.append(answer["outputs"])
            state = answer["new_state"]
    np.testing.assert_allclose(np.stack(outputs, axis=1), layer(inputs), atol=1e-5)


def test_gradients_of_the_stream_are_those_of_the_whole_sequence():
    layer = built(kernel_size=3, dilation_rate=2)
    inputs = sequences(2, 7, 3)
    upstream = np.random.default_rng(3).normal(size=(2, 7, 4)).astype(np.float32)
    gradients = []
    for whole in (True, False):
        with tf.GradientTape() as tape:
            if whole:
                outputs = layer(inputs)
            else:
                state, steps = layer.initial_state(2), []
                for step in range(7):
                    one, state = layer.step(inputs[:, step], state)
                    steps.append(one)
                outputs = tf.stack(steps, axis=1)
            loss = tf.reduce_sum(outputs * upstream)
        gradients.append(tape.gradient(loss, [weight.value for weight in layer.trainable_weights]))
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("kernel_size", "dilation_rate"), [(3, 1), (2, 4)])
def test_keras_and_torch_give_the_same(kernel_size, dilation_rate):
    layer = built(kernel_size=kernel_size, dilation_rate=dilation_rate)
    inputs = sequences(2, 19, 3)
    theirs = keras.layers.Conv1D(4, kernel_size, padding="causal", dilation_rate=dilation_rate)
    theirs.build(inputs.shape)
    theirs.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(inputs), theirs(inputs), atol=1e-6)
    torch = pytest.importorskip("torch")
    convolution = torch.nn.Conv1d(3, 4, kernel_size, dilation=dilation_rate)
    kernel, bias = layer.get_weights()
    convolution.weight.data = torch.from_numpy(kernel.transpose(2, 1, 0).copy())
    convolution.bias.data = torch.from_numpy(bias)
    padded = np.pad(inputs, ((0, 0), (layer.state_steps, 0), (0, 0))).transpose(0, 2, 1)
    with torch.no_grad():
        torchs = convolution(torch.from_numpy(padded.copy())).numpy().transpose(0, 2, 1)
    np.testing.assert_allclose(layer(inputs), torchs, atol=1e-5)


def test_half_precision_streams_too():
    layer = built(kernel_size=3, dilation_rate=2, dtype="mixed_float16")
    inputs = sequences(2, 9, 3)
    assert layer.initial_state(2).dtype == tf.float16
    np.testing.assert_allclose(stream(layer, inputs), layer(inputs), atol=1e-2)


def test_without_channels_there_is_no_state():
    with pytest.raises(ValueError) as caught:
        DilatedCausalConv1D(4, 3, name="taps").initial_state(2)
    assert str(caught.value) == "Layer 'taps' must be built before it has a state: its channels are unknown."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"dilation_rate": 0}, "`dilation_rate` must be a positive integer. Received: dilation_rate=0."),
        ({"kernel_size": 2.5}, "`kernel_size` must be a positive integer. Received: kernel_size=2.5."),
        ({"filters": True}, "`filters` must be a positive integer. Received: filters=True."),
        ({"padding": "same"}, "`padding` must be 'causal' in a causal layer. Received: padding='same'."),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError) as caught:
        DilatedCausalConv1D(**{"filters": 4, "kernel_size": 3, **arguments})
    assert str(caught.value) == sentence


def test_a_state_of_a_layer_with_another_dilation_is_refused():
    """Of 3 past inputs, a layer with dilation 2 could take as many taps as of its 4, but the wrong ones."""
    layer = built(kernel_size=3, dilation_rate=2, name="taps")
    layer.step(tf.zeros((1, 3)), layer.initial_state(1))
    with pytest.raises(ValueError) as caught:
        layer.step(tf.zeros((1, 3)), tf.zeros((1, 3, 3)))
    assert str(caught.value) == (
        "`state` must hold 4 steps, as `initial_state` makes it for layer 'taps'. Received: a state of shape (1, 3, 3)."
    )
