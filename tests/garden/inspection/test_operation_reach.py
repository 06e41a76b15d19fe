"""What one operation reads: of windows on paper, of others by asking."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.inspection import InspectedNetwork, operation_reach, receptive_fields

layers = keras.layers


def test_windows_on_paper():
    reach = operation_reach.window(3, taps=5, stride=2, padding=1)
    assert (reach.size, reach.stride, reach.start) == (5, 2, -1)
    assert list(zip(reach.first, reach.last, strict=True)) == [(-1, 3), (1, 5), (3, 7)]


def test_a_transposed_window_reads_what_was_spread_to_it():
    # Input 0 goes to outputs -1, 0, 1; input 1 to 1, 2, 3; input 2 to 3, 4, 5.
    reach = operation_reach.transposed(6, taps=3, stride=2, padding=1)
    assert list(zip(reach.first, reach.last, strict=True)) == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3)]
    assert (reach.size, reach.stride) == (2, 0.5)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(2, (3, 4), strides=(2, 3), padding="same"),
        layers.Conv2D(2, 3, dilation_rate=(2, 1)),
        layers.SeparableConv2D(2, 3, strides=2, padding="same"),
        layers.AveragePooling2D((2, 3), strides=(1, 2), padding="same"),
        layers.Cropping2D(((1, 2), (3, 0))),
    ],
    ids=lambda layer: layer.name,
)
def test_arguments_and_asking_agree(layer):
    shape = (11, 14, 3)
    image = keras.Input(shape)
    output = tuple(layer(image).shape[1:])
    (told,) = operation_reach.uses(layer, lambda values: layer(values[0]), [shape], output)
    (asked,) = operation_reach.uses(object(), lambda values: layer(values[0]), [shape], output)
    for one, other in zip(told.reach, asked.reach, strict=True):
        assert (one.size, one.stride, one.start) == (other.size, other.stride, other.start)
        np.testing.assert_array_equal(one.first, other.first)
    assert not told.whole and not asked.whole


class Mirrored(layers.Layer):
    """Reads the other end of each row."""

    def call(self, inputs):
        return inputs[:, :, ::-1]


class Shifted(layers.Layer):
    """Reads three rows, one position to the right, and says so nowhere."""

    def call(self, inputs):
        x = tf.pad(inputs, [[0, 0], [1, 1], [0, 1], [0, 0]])
        return x[:, :-2, 1:] + x[:, 1:-1, 1:] + tf.nn.relu(x[:, 2:, 1:])


class Gate(layers.Layer):
    """Scales each map by its average."""

    def call(self, inputs):
        return inputs * tf.reduce_mean(inputs, axis=(1, 2), keepdims=True)


@pytest.fixture(scope="module")
def asked():
    image = keras.Input((12, 14, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    relu = keras.ops.relu(x)
    shifted = Shifted(name="shifted")(relu)
    gate = Gate(name="gate")(shifted)
    excite = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(gate)
    scaled = layers.Multiply(name="scaled")([gate, layers.Conv2D(4, 1, activation="sigmoid")(excite)])
    dense = layers.Dense(3, name="dense")(scaled)
    outputs = [
        dense,
        Mirrored(name="mirrored")(x),
        layers.GroupNormalization(2, name="groups")(x),
        layers.LayerNormalization(name="channels")(x),
        layers.Flatten(name="flat")(relu),
    ]
    return InspectedNetwork(keras.Model(image, outputs, name="asked"))


def test_operations_that_say_nothing_are_asked(asked):
    fields = receptive_fields(asked)
    # Keras counts the operations of a process without a name of their own.
    relu = next(path for path in fields if path.startswith("relu"))
    assert (fields[relu].size, fields[relu].whole) == ((3, 3), False)
    assert fields["shifted"].size == (5, 3)
    assert fields["shifted"].start == (-2, 0)
    assert fields["shifted"].box_of(5, 5) == (3, 5, 8, 8)
    assert (fields["channels"].size, fields["channels"].whole) == ((3, 3), False)


def test_what_reads_everything_is_said_to(asked):
    fields = receptive_fields(asked)
    for path in ("mirrored", "groups", "flat", "squeeze"):
        assert (fields[path].local, fields[path].whole) == (False, True), path
        assert fields[path].box_of(0, 0) == (0, 0, 12, 14)
        assert str(fields[path]) == "the whole picture"


def test_a_gate_leaves_each_position_its_part(asked):
    fields = receptive_fields(asked)
    for path in ("gate", "scaled", "dense"):
        assert (fields[path].local, fields[path].whole) == (True, True), path
        assert fields[path].size == fields["shifted"].size
    assert str(fields["gate"]) == "5×3 pixels, and the whole picture through gates"
