"""Layers that Keras numbered, and dense layers that others write as convolutions."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden.weights import matching
from garden.weights.tensor_files import StoredTensor, TensorFile

KERNEL = (3, 3, 2, 4)


def stored(layer, role, array):
    return StoredTensor(f"{layer}/{role}", layer, role, array.shape, lambda: array)


def file_of(tensors, tmp_path):
    return TensorFile(tmp_path / "file.h5", tuple(tensors), order="graph")


def branches(*names):
    """Convolutions of one shape side by side: nothing but their names tells them apart."""
    pixels = keras.Input((5, 5, 2))
    outputs = [keras.layers.Conv2D(4, 3, use_bias=False, name=name)(pixels) for name in names]
    x = keras.layers.Add(name="add")(outputs)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool")(x))


def taken(plan):
    return {assignment.record.name: assignment.stored.name for assignment in plan.assignments}


@pytest.mark.parametrize(
    ("left", "middle", "right"),
    [
        # As in a fresh session, as the older Keras began to count, and after other networks in the same session.
        ("conv2d", "conv2d_1", "conv2d_2"),
        ("conv2d_1", "conv2d_2", "conv2d_3"),
        ("conv2d_9", "conv2d_10", "conv2d_11"),
    ],
)
def test_layers_that_keras_numbered_go_by_the_order_of_their_numbers(left, middle, right, tmp_path):
    model = branches("a", "b", "c")
    arrays = np.random.default_rng(0).normal(size=(3, *KERNEL))
    # The file's own order is another one.
    file = file_of(
        [stored(right, "kernel", arrays[2]), stored(left, "kernel", arrays[0]), stored(middle, "kernel", arrays[1])],
        tmp_path,
    )
    names = {"a": ("conv2d#0",), "b": ("conv2d#1",), "c": ("conv2d#2",)}
    plan = matching.plan(model, file, head_layers=(), foreign_names=names)
    assert taken(plan) == {"a/kernel": f"{left}/kernel", "b/kernel": f"{middle}/kernel", "c/kernel": f"{right}/kernel"}


def test_a_name_that_only_begins_alike_is_not_counted(tmp_path):
    model = branches("a", "b")
    array = np.zeros(KERNEL)
    file = file_of(
        [stored(name, "kernel", array) for name in ("conv2d_1x1", "conv2d_5", "my_conv2d_2", "conv2d_7")], tmp_path
    )
    plan = matching.plan(model, file, head_layers=(), foreign_names={"a": ("conv2d#0",), "b": ("conv2d#1",)})
    assert taken(plan) == {"a/kernel": "conv2d_5/kernel", "b/kernel": "conv2d_7/kernel"}
    assert [record.stored_name for record in plan.records if record.fate == "left out"] == [
        "conv2d_1x1/kernel",
        "my_conv2d_2/kernel",
    ]


@pytest.mark.parametrize(("role", "shape"), [("kernel", (1, 1, 3, 2)), ("weight", (2, 3, 1, 1))])
def test_a_dense_layer_reads_a_1x1_convolution(role, shape, tmp_path):
    pixels = keras.Input((3,))
    model = keras.Model(pixels, keras.layers.Dense(2, use_bias=False, name="logits")(pixels))
    array = np.arange(6.0).reshape(shape)
    file = file_of([stored("logits", role, array)], tmp_path)
    (assignment,) = matching.plan(model, file, head_layers=(), foreign_names={}).assignments
    expected = array[0, 0] if role == "kernel" else array[:, :, 0, 0].T
    np.testing.assert_array_equal(assignment.transform(array), expected)


def test_a_dense_layer_does_not_read_a_larger_convolution(tmp_path):
    pixels = keras.Input((12,))
    model = keras.Model(pixels, keras.layers.Dense(2, use_bias=False, name="logits")(pixels))
    file = file_of([stored("logits", "kernel", np.zeros((2, 2, 3, 2)))], tmp_path)
    plan = matching.plan(model, file, head_layers=("logits",), foreign_names={})
    assert [record.fate for record in plan.records] == ["initialised anew", "left out"]


def test_a_separable_convolution_finds_both_its_kernels(tmp_path):
    pixels = keras.Input((5, 5, 2))
    model = keras.Model(pixels, keras.layers.SeparableConv2D(4, 3, use_bias=False, name="separable")(pixels))
    # `split_name` calls every depthwise kernel a kernel.
    depthwise, pointwise = np.zeros((3, 3, 2, 1)), np.zeros((1, 1, 2, 4))
    file = file_of(
        [stored("separable", "kernel", depthwise), stored("separable", "pointwise_kernel", pointwise)], tmp_path
    )
    plan = matching.plan(model, file, head_layers=(), foreign_names={})
    assert taken(plan) == {
        "separable/depthwise_kernel": "separable/kernel",
        "separable/pointwise_kernel": "separable/pointwise_kernel",
    }
