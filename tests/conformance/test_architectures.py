"""What every network of the catalogue promises, over the whole registry."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import architectures
from garden.errors import ArchitectureError
from garden.summary import Summary, summarize

NAMES = architectures.names()
SMALLEST_OF_FAMILY = {
    architectures.get(name).family: name
    for name in sorted(NAMES, key=lambda name: -architectures.get(name).num_parameters)
}
ONE_A_FAMILY = sorted(SMALLEST_OF_FAMILY.values())
_FIELDS = Path(__file__).parents[2] / "docs" / "receptive_fields.json"
CATALOGUED_FIELDS = json.loads(_FIELDS.read_text(encoding="utf-8")) if _FIELDS.is_file() else {}
# A training step of these takes long to trace, whatever their size; ResNeXt has 512 convolutions.
LONG_TO_TRACE = {
    "inception_resnet_v1",
    "inception_v2",
    "inception_v3",
    "resnext50_32x4d",
    "shufflenet_v2_050",
    "vgg11",
    "xception",
}
# The smallest of each family in every run, the rest where there is time.
SMALL_OR_SLOW = [
    name if name in ONE_A_FAMILY and name not in LONG_TO_TRACE else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What can be read off a network without its weights. Small, where two hundred networks would not be."""

    name: str
    summary: Summary
    input_shape: tuple[int, ...]
    count_params: int
    layer_names: tuple[str, ...]
    inner_models: tuple[str, ...]
    last_layer: str
    places_around: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    larger_shapes: dict[str, tuple[int, ...]]


@functools.cache
def facts(name):
    """Of the network as its source has it."""
    entry, model = architectures.get(name), architectures.outline(name)
    height, width, channels = entry.image_spec.input_shape
    larger = architectures.outline(name, input_shape=(height + 64, width + 32, channels))
    endpoints = [endpoint.name for endpoint in entry.endpoints]
    return Facts(
        name=model.name,
        summary=summarize(model),
        input_shape=model.input_shape[1:],
        count_params=model.count_params(),
        layer_names=tuple(layer.name for layer in model.layers),
        inner_models=tuple(layer.name for layer in model.layers if isinstance(layer, keras.Model)),
        last_layer=model.output._keras_history.operation.name,
        places_around=tuple(place for place in (*endpoints, entry.features_layer) if paths_around(model, place)),
        shapes={place: tuple(model.get_layer(place).output.shape) for place in endpoints},
        larger_shapes={place: tuple(larger.get_layer(place).output.shape) for place in endpoints},
    )


def random_pixels(shape, *, batch=2):
    return np.random.default_rng(0).uniform(-1, 1, (batch, *shape)).astype(np.float32)


def paths_around(model, layer_name):
    """Whether the output can be reached from the input without the layer."""
    reached = {id(tensor) for tensor in model.inputs}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.operation.name != layer_name and any(id(tensor) in reached for tensor in node.input_tensors):
                reached.update(id(tensor) for tensor in node.output_tensors)
    return id(model.outputs[0]) in reached


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_those_of_its_table(name):
    entry, summary = architectures.get(name), facts(name).summary
    assert summary.trainable_parameters == entry.num_parameters
    assert summary.macs == entry.macs
    assert summary.parameters == facts(name).count_params


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_flat_and_well_named(name):
    names = facts(name).layer_names
    assert len(set(names)) == len(names)
    assert not any("/" in layer_name for layer_name in names)
    assert facts(name).inner_models == ()
    assert names[0] == "pixels"
    assert facts(name).last_layer == "logits"
    assert facts(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_endpoints_are_cuts_in_order_with_the_stride_they_say(name):
    entry, summary = architectures.get(name), facts(name).summary
    assert entry.endpoints
    order = [row.name for row in summary.rows]
    places = [order.index(endpoint.name) for endpoint in entry.endpoints]
    assert places == sorted(places)
    assert facts(name).places_around == ()
    for endpoint in entry.endpoints:
        assert summary.row(endpoint.name).stride == (endpoint.stride,) * 2


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_says_what_its_endpoints_see(name):
    said = CATALOGUED_FIELDS.get(name)
    if said is None or set(said) != {endpoint.name for endpoint in architectures.get(name).endpoints}:
        pytest.skip("the catalogue page is stale, which is another test's to say")
    seen = {place: facts(name).summary.row(place).receptive_field for place in said}
    assert said == {place: "×".join(map(str, dict.fromkeys(sides or ("all",)))) for place, sides in seen.items()}


@pytest.mark.parametrize("name", NAMES)
def test_endpoints_grow_with_the_input_by_their_stride(name):
    for endpoint in architectures.get(name).endpoints:
        before, after = facts(name).shapes[endpoint.name], facts(name).larger_shapes[endpoint.name]
        assert after[1] - before[1] == 64 / endpoint.stride
        assert after[2] - before[2] == 32 / endpoint.stride


@pytest.mark.parametrize("name", NAMES)
def test_the_head_is_what_follows_the_features(name):
    entry, summary = architectures.get(name), facts(name).summary
    names = tuple(row.name for row in summary.rows)
    assert names[names.index(entry.features_layer) + 1 :] == entry.head_layers
    assert entry.head_layers[-1] == "logits"


@pytest.mark.parametrize("name", [name for name in NAMES if "output_stride" in architectures.get(name).options])
def test_a_smaller_output_stride_keeps_the_weights_and_what_a_position_sees(name):
    entry, original = architectures.get(name), facts(name).summary
    for output_stride in entry.options["output_stride"][1:]:
        dense = architectures.outline(name, output_stride=output_stride)
        summary = summarize(dense)
        assert summary.parameters == original.parameters
        for endpoint in entry.endpoints:
            stride = min(endpoint.stride, output_stride)
            assert summary.row(endpoint.name).stride == (stride,) * 2, endpoint
            height = dense.get_layer(endpoint.name).output.shape[1]
            assert abs(height * stride - facts(name).shapes[endpoint.name][1] * endpoint.stride) < 2 * endpoint.stride
        # Dilations in place of strides: the same weights look at the same distances.
        last = entry.endpoints[-1].name
        assert summary.row(last).receptive_field == original.row(last).receptive_field


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_answers_float32_logits_at_its_smallest_size_for_any_batch(name, tiny):
    model = tiny(name)
    shape = model.input_shape[1:]
    assert model.input_shape[0] is None
    for batch in (1, 3):
        logits = model(random_pixels(shape, batch=batch))
        assert logits.shape == (batch, 7)
        assert logits.dtype == tf.float32
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_refuses_one_pixel_less_than_its_smallest_size(name):
    entry = architectures.get(name)
    size = entry.minimum_size
    with pytest.raises(ArchitectureError) as caught:
        architectures.build(name, input_shape=(size, size - 1, 3))
    assert str(caught.value) == (
        f"{name} cannot see {size}×{size - 1} pixels: its strides leave nothing of a side below {size}. "
        f"Give at least {size}×{size}."
    )


@pytest.mark.parametrize("name", ONE_A_FAMILY)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sees_1_3_or_4_channels_of_an_odd_oblong(name, channels):
    size = architectures.get(name).minimum_size
    shape = (size + 4, size + 9, channels)
    logits = architectures.build(name, num_classes=2, input_shape=shape)(random_pixels(shape))
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_without_classes_it_gives_the_features_that_the_head_reads(name, tiny):
    entry, model = architectures.get(name), tiny(name)
    shape = model.input_shape[1:]
    features = architectures.build(name, num_classes=None, input_shape=shape)
    body = [layer for layer in model.layers if layer.weights and layer.name not in entry.head_layers]
    for ours, theirs in zip([layer for layer in features.layers if layer.weights], body, strict=True):
        assert ours.name == theirs.name
        ours.set_weights(theirs.get_weights())
    pixels = random_pixels(shape)
    before_head = keras.Model(model.input, model.get_layer(entry.features_layer).output)(pixels)
    expected = before_head if len(before_head.shape) == 2 else tf.reduce_mean(before_head, axis=(1, 2))
    vector = features(pixels)
    assert len(vector.shape) == 2
    np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_a_saved_network_answers_the_same(name, tiny, tmp_path):
    model = tiny(name)
    model.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    pixels = random_pixels(model.input_shape[1:])
    np.testing.assert_array_equal(again(pixels), model(pixels))
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_logits_and_features_stay_float32_in_mixed_precision(name, tiny):
    policy = keras.config.dtype_policy()
    shape = tiny(name).input_shape[1:]
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = architectures.build(name, num_classes=7, input_shape=shape)
        features = architectures.build(name, num_classes=None, input_shape=shape)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model(random_pixels(shape)).dtype == features(random_pixels(shape)).dtype == tf.float32
    window = next(layer for layer in model.layers if hasattr(layer, "kernel_size"))
    assert window.compute_dtype == "bfloat16"


@pytest.mark.parametrize("name", ONE_A_FAMILY)
def test_gradients_reach_every_weight(name, tiny):
    model = tiny(name)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(random_pixels(model.input_shape[1:]), training=False) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    unreached = [
        variable.path
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None
    ]
    assert unreached == []


@pytest.mark.parametrize("name", NAMES)
def test_its_pixels_are_what_its_image_spec_makes(name):
    entry = architectures.get(name)
    assert facts(name).input_shape == entry.image_spec.input_shape
    prepared = entry.image_spec.prepare(tf.zeros((40, 50, 3), tf.uint8))
    assert prepared.shape == entry.image_spec.input_shape


@pytest.mark.parametrize("name", SMALL_OR_SLOW)
def test_small_it_runs_trains_a_step_and_saves(name, descriptors, tmp_path):
    descriptor = descriptors.describe_architecture(name)
    keras.utils.set_random_seed(3)
    model = architectures.build(name, num_classes=descriptor.num_classes, input_shape=descriptor.input_shape)
    pixels = random_pixels(descriptor.input_shape)
    assert np.isfinite(model(pixels)).all()
    before = [weight.numpy() for weight in model.trainable_weights]
    # Adam moves each weight that has a gradient, however small.
    # Eagerly: one step does not pay for tracing a graph.
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    assert np.isfinite(model.train_on_batch(pixels, np.array([1, 4])))
    moved = [not np.array_equal(weight, old) for weight, old in zip(model.trainable_weights, before, strict=True)]
    assert np.mean(moved) > 0.5
    logits = model(pixels).numpy()
    assert np.isfinite(logits).all()
    model.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_array_equal(again(pixels), logits)


@pytest.mark.parametrize("name", NAMES)
def test_facts_can_be_checked(name):
    entry = architectures.get(name)
    assert entry.source.startswith("http")
    assert entry.task == "classify"
    assert 1979 < entry.year < 2027
    assert entry.name == name
    error = entry.published_error
    if error is not None:
        assert 0 < error.per_cent < 60
        assert error.where
        assert error.measures
