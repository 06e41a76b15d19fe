"""What every layer of ours promises, over all that are registered."""

from __future__ import annotations

import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import layers
from garden.export import graph_rules
from garden.export.saved_model_session import SavedModelSession

NAMES = sorted(name for name in layers.__all__ if issubclass(getattr(layers, name), keras.layers.Layer))


@pytest.fixture
def described(descriptors, request):
    """Name → its descriptor; skips a promise that the layer does not make."""
    promise = request.node.originalname.removeprefix("test_")

    def find(name):
        descriptor = descriptors.LAYERS[name]
        assert set(descriptor.exempt) <= {key.removeprefix("test_") for key in globals() if key.startswith("test_")}
        if promise in descriptor.exempt:
            pytest.skip(descriptor.exempt[promise])
        return descriptor

    return find


def make(name, descriptor, **more):
    keras.utils.set_random_seed(7)
    return getattr(layers, name)(**{**descriptor.arguments, **more})


def make_built(name, descriptor, **more):
    """A layer whose weights all matter: where they begin as zeros or ones, something hides."""
    layer = make(name, descriptor, **more)
    layer(convert(descriptor.inputs()))
    chance = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(chance.normal(0.0, 0.5, weight.shape))
    return layer


def convert(inputs, dtype="float32"):
    if isinstance(inputs, list):
        return [tf.constant(array, dtype) for array in inputs]
    return tf.constant(inputs, dtype)


def as_list(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def model_of(layer, inputs, *, any_size=False):
    """The layer alone as a functional model of unknown batch and, if said, unknown height and width."""
    shapes = [array.shape[1:] for array in as_list(inputs)]
    if any_size:
        shapes = [(*([None] * (len(shape) - 1)), shape[-1]) for shape in shapes]
    entries = [keras.Input(shape, name=f"input{place}") for place, shape in enumerate(shapes)]
    return keras.Model(entries, layer(entries[0] if len(entries) == 1 else entries))


def assert_same(actual, expected, tolerance):
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=tolerance * max(1.0, np.abs(b).max(initial=0)), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_made_from_its_config_is_the_same(name, described):
    descriptor = described(name)
    layer = make(name, descriptor)
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    for argument, value in descriptor.arguments.items():
        held = layer.get_config()[argument]
        if isinstance(value, (int, float, str)) and isinstance(held, type(value)):
            assert held == value


@pytest.mark.parametrize("name", NAMES)
def test_answers_any_batch_and_the_shape_that_it_says(name, described):
    descriptor = described(name)
    inputs = descriptor.inputs()
    layer = make_built(name, descriptor)
    model = model_of(layer, inputs)
    for output in tf.nest.flatten(model.output):
        assert output.shape[0] is None
    whole = layer(convert(inputs))
    assert_same(model(convert(inputs)), whole, descriptor.tolerance)
    for shape, output in zip(tf.nest.flatten(model.output), tf.nest.flatten(whole), strict=True):
        assert tuple(shape.shape[1:]) == tuple(output.shape[1:])


@pytest.mark.parametrize("name", NAMES)
def test_one_layer_answers_maps_of_unknown_size(name, described):
    descriptor = described(name)
    if not descriptor.any_size:
        pytest.skip("its weights belong to positions")
    inputs = descriptor.inputs()
    layer = make_built(name, descriptor)
    assert_same(model_of(layer, inputs, any_size=True)(convert(inputs)), layer(convert(inputs)), descriptor.tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_layer_answers_the_same(name, described, tmp_path):
    descriptor = described(name)
    inputs = descriptor.inputs()
    model = model_of(make_built(name, descriptor), inputs)
    model.save(tmp_path / "layer.keras")
    again = keras.saving.load_model(tmp_path / "layer.keras", compile=False)
    assert_same(again(convert(inputs)), model(convert(inputs)), 0)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name, described):
    descriptor = described(name)
    layer = make_built(name, descriptor)
    inputs = convert(descriptor.inputs())
    chance = np.random.default_rng(2)
    cotangents = [chance.normal(size=output.shape) for output in tf.nest.flatten(layer(inputs))]

    def loss():
        outputs = tf.nest.flatten(layer(inputs))
        return sum(
            tf.reduce_sum(tf.cast(output, tf.float64) * weight)
            for output, weight in zip(outputs, cotangents, strict=True)
        )

    watched = list(layer.trainable_weights)
    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [weight.value for weight in watched])
    for weight, gradient in zip(watched, gradients, strict=True):
        assert gradient is not None, weight.path
        direction = chance.normal(size=weight.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        before, step = weight.numpy(), 1e-2
        sides = []
        for sign in (1, -1):
            weight.assign(before + sign * step * direction)
            sides.append(float(loss()))
        weight.assign(before)
        measured = (sides[0] - sides[1]) / (2 * step)
        told = float(np.sum(tf.convert_to_tensor(gradient).numpy().astype(np.float64) * direction))
        assert told == pytest.approx(measured, rel=0.02, abs=0.02 * float(np.linalg.norm(gradient))), weight.path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_nearly_the_same(name, policy, described):
    descriptor = described(name)
    inputs = descriptor.inputs()
    exact = make_built(name, descriptor)
    mixed = make_built(name, descriptor, dtype=policy)
    assert {weight.dtype for weight in mixed.trainable_weights} <= {"float32"}
    expected, actual = exact(convert(inputs)), mixed(convert(inputs))
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        assert a.dtype.is_integer or a.dtype.name in (policy.removeprefix("mixed_"), "float32")
        scale = np.abs(b).max()
        np.testing.assert_allclose(np.asarray(tf.cast(a, tf.float32)), b, atol=0.06 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_it_gives_the_same(name, described):
    descriptor = described(name)
    layer, inputs = make_built(name, descriptor), convert(descriptor.inputs())
    compiled = tf.function(lambda inputs: layer(inputs), jit_compile=True)
    assert_same(compiled(inputs), layer(inputs), max(descriptor.tolerance, 1e-4))


@pytest.mark.parametrize("name", NAMES)
def test_a_stock_server_can_run_it(name, described, tmp_path: Path):
    descriptor = described(name)
    inputs = descriptor.inputs()
    model = model_of(make_built(name, descriptor), inputs)

    def endpoint(**tensors):
        outputs = tf.nest.flatten(model([tensors[key] for key in sorted(tensors)]))
        return {f"output{place}": output for place, output in enumerate(outputs)}

    specs = {
        f"input{place}": tf.TensorSpec((None, *array.shape[1:]), tf.float32, name=f"input{place}")
        for place, array in enumerate(as_list(inputs))
    }
    module = tf.Module()
    module.held = [weight.value for weight in model.weights]
    function = tf.function(endpoint).get_concrete_function(**specs)
    tf.saved_model.save(module, tmp_path, signatures={"serving_default": function})
    assert graph_rules.broken_rules(graph_rules.read_meta_graph(tmp_path)) == []
    with SavedModelSession(tmp_path) as session:
        answer = session.run("serving_default", {f"input{place}": array for place, array in enumerate(as_list(inputs))})
    expected = tf.nest.flatten(model(convert(inputs)))
    assert_same([answer[f"output{place}"] for place in range(len(expected))], expected, descriptor.tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments_are_refused_in_one_sentence(name, described):
    descriptor = described(name)
    assert descriptor.bad_arguments or not descriptor.arguments, "name an argument that it must refuse"
    for bad in descriptor.bad_arguments:
        with pytest.raises(ValueError, match=r"(?i)\breceived") as caught:
            make(name, descriptor, **bad)(convert(descriptor.inputs()))
        assert all(argument in str(caught.value) for argument in list(bad)[:1])


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_gives_source_and_shapes(name):
    text = inspect.getdoc(getattr(layers, name))
    for part in ("Source:", "Input shape:", "Output shape:"):
        assert part in text, part
