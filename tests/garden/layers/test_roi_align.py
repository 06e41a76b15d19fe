import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.layers import ROIAlign2D

# Pixels of a map with stride 4, 7 cells high and 9 wide.
REGIONS = np.array(
    [
        [4, 8, 24, 20],
        [0, 0, 36, 28],
        [3.3, 7.9, 18.2, 25.6],
        [-14, -9, 14, 10],
        [22, 14, 60, 47],
        [35.9, 27.9, 36, 28],
        [60, 60, 90, 90],
        [-90, -90, -60, -60],
        [10, 10, 10, 10],
        [30, 26, 10, 6],
        [30, 6, 10, 26],
        [-50, -40, 100, 80],
    ],
    np.float32,
)


def features_of(seed, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(2, 7, 9, 3)).astype(dtype)


def onnx_model(**attributes):
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("RoiAlign", ["x", "rois", "image"], ["y"], **attributes)
    kinds = {"x": 1, "rois": 1, "image": 7, "y": 1}
    infos = {name: onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()}
    graph = onnx.helper.make_graph([node], "align", [infos["x"], infos["rois"], infos["image"]], [infos["y"]])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [None, 1, 3])
def test_onnx_gives_the_same_averages(aligned, sampling_ratio):
    reference = pytest.importorskip("onnx.reference")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = onnx_model(
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=3,
        output_width=2,
        sampling_ratio=sampling_ratio or 0,
        spatial_scale=0.25,
    )
    features = features_of(1)
    feeds = {
        "x": features.transpose(0, 3, 1, 2),
        "rois": np.concatenate([REGIONS, REGIONS + 1]),
        "image": np.repeat([0, 1], len(REGIONS)).astype(np.int64),
    }
    layer = ROIAlign2D((3, 2), spatial_scale=0.25, sampling_ratio=sampling_ratio, aligned=aligned)
    ours = layer([features, np.stack([REGIONS, REGIONS + 1])]).numpy().reshape(-1, 3, 2, 3).transpose(0, 3, 1, 2)
    (by_reference,) = reference.ReferenceEvaluator(model).run(None, feeds)
    np.testing.assert_allclose(ours, by_reference, atol=2e-5)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    # The runtime fails with the number of samples of reversed regions, which is negative.
    reversed_ = np.any(feeds["rois"][:, :2] > feeds["rois"][:, 2:], axis=1)
    answered = ~reversed_ if aligned and sampling_ratio is None else np.full_like(reversed_, True)
    (by_runtime,) = session.run(None, {**feeds, "rois": feeds["rois"][answered], "image": feeds["image"][answered]})
    np.testing.assert_allclose(ours[answered], by_runtime, atol=2e-5)


def largest_sample(features, region, row, column, output_size, spatial_scale, ratio, channel):
    """One number of RoI align with "max", as its definition has it."""
    x1, y1, x2, y2 = (v * spatial_scale - 0.5 for v in region)
    height, width, _ = features.shape
    samples = []
    for i, j in np.ndindex(ratio, ratio):
        y = y1 + (row + (i + 0.5) / ratio) * (y2 - y1) / output_size[0]
        x = x1 + (column + (j + 0.5) / ratio) * (x2 - x1) / output_size[1]
        if not (-1 <= y <= height and -1 <= x <= width):
            samples.append(0.0)
            continue
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        top, left = min(math.floor(y), height - 2), min(math.floor(x), width - 2)
        dy, dx = y - top, x - left
        corners = features[top : top + 2, left : left + 2, channel]
        samples.append(float(np.array([1 - dy, dy]) @ corners @ np.array([1 - dx, dx])))
    return max(samples)


def test_the_largest_is_that_of_the_samples():
    features = features_of(2)
    layer = ROIAlign2D((3, 2), spatial_scale=0.25, sampling_ratio=2, pooling="max")
    ours = layer([features, np.stack([REGIONS, REGIONS + 1])]).numpy()
    expected = np.zeros_like(ours)
    for b, r, row, column, c in np.ndindex(ours.shape):
        expected[b, r, row, column, c] = largest_sample(features[b], REGIONS[r] + b, row, column, (3, 2), 0.25, 2, c)
    np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_a_ramp_is_sampled_where_the_bins_are():
    """On a map whose value is its column, the average of a bin is the middle of the bin."""
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None], (1, 6, 12, 1))
    region = np.array([[[20.0, 8, 84, 40]]], np.float32)  # columns 2.5 to 10.5, in four bins of two
    aligned = ROIAlign2D((1, 4), spatial_scale=0.125)([ramp, region])
    np.testing.assert_allclose(aligned[0, 0, 0, :, 0], [3, 5, 7, 9], atol=1e-5)
    shifted = ROIAlign2D((1, 4), spatial_scale=0.125, aligned=False)([ramp, region])
    np.testing.assert_allclose(shifted[0, 0, 0, :, 0], [3.5, 5.5, 7.5, 9.5], atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"sampling_ratio": None}, {"pooling": "max", "aligned": False}])
def test_gradients_are_those_of_finite_differences(arguments):
    features, regions = tf.constant(features_of(3, np.float64)), tf.constant(np.stack([REGIONS, REGIONS + 1]))
    layer = ROIAlign2D((3, 2), spatial_scale=0.25, dtype="float64", **arguments)
    chance = np.random.default_rng(4)
    upstream = chance.normal(size=(2, len(REGIONS), 3, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch([features, regions])
        loss = tf.reduce_sum(layer([features, regions]) * upstream)
    gradient, of_regions = tape.gradient(loss, [features, regions])
    assert of_regions is None
    for _ in range(5):
        direction = chance.normal(size=features.shape)
        sides = [tf.reduce_sum(layer([features + step * direction, regions]) * upstream) for step in (1e-6, -1e-6)]
        assert float(tf.reduce_sum(gradient * direction)) == pytest.approx(float(sides[0] - sides[1]) / 2e-6, rel=1e-5)


def test_enormous_and_undefined_regions_come_to_an_end():
    """One sample per cell of a region of 1e30 cells would never end."""
    regions = np.array([[[-1e30, -1e30, 1e30, 1e30], [np.nan, 0, 3, 3], [0, 0, np.inf, 3]]], np.float32)
    aligned = ROIAlign2D(2, sampling_ratio=None)([np.ones((1, 7, 9, 3), np.float32), regions])
    assert np.all(np.isfinite(aligned))
    assert not aligned[0, 1:].numpy().any()


def test_samples_per_cell_of_a_region_far_larger_than_the_map():
    """2000 cells in one bin, 10 on the map and 11 samples that take them: one at either border counts its cell."""
    ours = ROIAlign2D((1, 1), sampling_ratio=None)(
        [np.ones((1, 10, 10, 1), np.float32), np.array([[[-995.0, -995, 1005, 1005]]], np.float32)]
    )
    # Sampled at -995, -994, … (the middles of cells, less the half cell): -1 … 10 lie on the map or beside it.
    np.testing.assert_allclose(ours.numpy().ravel(), [(12 / 2000) ** 2], rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"output_size": 0}, "`output_size` must be a positive integer or two of them. Received: output_size=0."),
        ({"sampling_ratio": 0}, "`sampling_ratio` must be a positive integer. Received: sampling_ratio=0."),
        (
            {"sampling_ratio": None, "pooling": "max"},
            "`sampling_ratio` must be a positive integer with pooling='max'. Received: sampling_ratio=None.",
        ),
        ({"pooling": "sum"}, "`pooling` must be 'average' or 'max'. Received: pooling='sum'."),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError) as caught:
        ROIAlign2D(**{"output_size": 2, **arguments})
    assert str(caught.value) == sentence


def test_an_input_without_regions_is_refused():
    with pytest.raises(ValueError, match=r"The input must be a list of a map, .* and regions, \(batch, regions, 4\)"):
        ROIAlign2D(2)(keras.Input((5, 5, 3)))
