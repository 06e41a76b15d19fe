import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.export import graph_rules
from garden.export.saved_model_session import SavedModelSession
from garden.layers import ROIPooling2D

# "Region of interest pooling explained", 8 x 8: the region of columns 0-6 and rows 3-7, in 2 x 2 parts.
LECTURE = np.array(
    [
        [0.88, 0.44, 0.14, 0.16, 0.37, 0.77, 0.96, 0.27],
        [0.19, 0.45, 0.57, 0.16, 0.63, 0.29, 0.71, 0.70],
        [0.66, 0.26, 0.82, 0.64, 0.54, 0.73, 0.59, 0.26],
        [0.85, 0.34, 0.76, 0.84, 0.29, 0.75, 0.62, 0.25],
        [0.32, 0.74, 0.21, 0.39, 0.34, 0.03, 0.33, 0.48],
        [0.20, 0.14, 0.16, 0.13, 0.73, 0.65, 0.96, 0.32],
        [0.19, 0.69, 0.09, 0.86, 0.88, 0.07, 0.01, 0.48],
        [0.83, 0.24, 0.97, 0.04, 0.24, 0.35, 0.50, 0.91],
    ],
    np.float32,
)

# Coordinates in pixels of a map with stride 4, 9 cells high and 11 wide.
REGIONS = {
    "inside": (4, 8, 24, 28),
    "whole": (0, 0, 40, 32),
    "on the right and lower border": (40, 32, 40, 32),
    "halves, which go away from zero": (2, 6, 10, 14),
    "just below and above a half": (1.9999999, 5.9, 10.1, 13.999),
    "fractional": (3.3, 7.9, 18.2, 29.6),
    "beyond the left and upper border": (-12, -18, 14, 10),
    "beyond the right and lower border": (22, 14, 90, 70),
    "around the whole map": (-100, -50, 200, 120),
    "reversed": (30, 26, 10, 6),
    "reversed in x": (30, 6, 10, 26),
    "one cell": (12, 12, 12, 12),
    "a wide line": (0, 16, 40, 16),
    "outside": (60, 60, 90, 90),
    "outside, on the other side": (-90, -90, -60, -60),
    "far outside": (-3e38, -3e38, 3e38, 3e38),
}


def c_round(value):
    below = np.floor(np.abs(np.float32(value)))
    return int(np.sign(value) * (below + (np.abs(np.float32(value)) - below >= 0.5)))


def loop(features, regions, output_size, spatial_scale, upstream=None, *, disjoint=False):
    """Fast R-CNN's pooling as its text has it, one number at a time; with `upstream`, also the gradient."""
    batch, height, width, channels = features.shape
    rows, columns = output_size
    pooled = np.zeros((batch, regions.shape[1], rows, columns, channels), features.dtype)
    gradient = np.zeros(features.shape, np.float64)
    for b, r, row, column in np.ndindex(pooled.shape[:4]):
        x1, y1, x2, y2 = (c_round(np.float32(v) * np.float32(spatial_scale)) for v in regions[b, r])
        tall, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)

        def bounds(first, length, place, bins, size):
            end = (place + 1) * length // bins if disjoint else -(-(place + 1) * length // bins)
            return max(first + place * length // bins, 0), min(first + end, size)

        top, bottom = bounds(y1, tall, row, rows, height)
        left, right = bounds(x1, wide, column, columns, width)
        for c in range(channels):
            best = None
            for y in range(top, bottom):
                for x in range(left, right):
                    if best is None or features[b, y, x, c] > features[(b, *best, c)]:
                        best = (y, x)
            if best is not None:
                pooled[b, r, row, column, c] = features[(b, *best, c)]
                if upstream is not None:
                    gradient[(b, *best, c)] += upstream[b, r, row, column, c]
    return pooled, gradient


def ours(features, regions, output_size, spatial_scale, upstream, *, compiled=False, **arguments):
    layer = ROIPooling2D(output_size, spatial_scale=spatial_scale, dtype=features.dtype.name, **arguments)

    def both(features, regions, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = layer([features, regions])
        return pooled, tape.gradient(pooled, features, output_gradients=upstream)

    return [
        part.numpy()
        for part in (tf.function(both) if compiled else both)(
            tf.constant(features), tf.constant(regions, tf.float32), tf.constant(upstream, features.dtype)
        )
    ]


def test_the_picture_of_the_lecture():
    features, region = LECTURE[None, :, :, None], np.array([[[0, 3, 6, 7]]], np.float32)
    disjoint = ROIPooling2D(2, bins="disjoint")([features, region])
    np.testing.assert_array_equal(disjoint[0, 0, :, :, 0], np.array([[0.85, 0.84], [0.97, 0.96]], np.float32))
    # Five rows and seven columns: Caffe's parts share the middle ones, and the 0.96 of row 5 counts twice.
    shared = ROIPooling2D(2)([features, region])
    np.testing.assert_array_equal(shared[0, 0, :, :, 0], np.array([[0.85, 0.96], [0.97, 0.96]], np.float32))


@pytest.mark.parametrize("name", REGIONS)
def test_each_kind_of_region_is_pooled_as_by_the_loop(name):
    chance = np.random.default_rng(1)
    features = chance.normal(size=(1, 9, 11, 2)).astype(np.float32) - 2
    regions = np.array([[REGIONS[name]]], np.float32)
    upstream = chance.normal(size=(1, 1, 3, 2, 2)).astype(np.float32)
    if name == "far outside":  # integers of the loop have no end, ours do: same answer, near its limit
        regions = np.clip(regions, -(2.0**31), 2.0**31)
    pooled, gradient = ours(features, regions, (3, 2), 0.25, upstream)
    expected_pooled, expected_gradient = loop(features, regions, (3, 2), 0.25, upstream)
    np.testing.assert_array_equal(pooled, expected_pooled)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-6)
    if name.startswith("outside"):
        assert not pooled.any() and not gradient.any()


@pytest.mark.parametrize("bins", ["overlapping", "disjoint"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_regions_that_share_a_maximum_add_up(bins, compiled, dtype):
    chance = np.random.default_rng(2)
    # More bins than cells, few different values, many zeros of either sign: ties everywhere, as after a ReLU.
    features = np.maximum(chance.integers(-3, 4, (2, 9, 11, 3)), 0).astype(dtype)
    features[chance.random(features.shape) < 0.2] = -0.0
    features[0, :, :, 0] -= 5
    regions = np.broadcast_to(np.array(list(REGIONS.values())[:-1], np.float32), (2, len(REGIONS) - 1, 4)).copy()
    regions[1] += chance.normal(size=regions[1].shape) * 5
    upstream = chance.normal(size=(2, len(REGIONS) - 1, 4, 3, 3)).astype(dtype)
    pooled, gradient = ours(features, regions, (4, 3), 0.25, upstream, compiled=compiled, bins=bins)
    expected_pooled, expected_gradient = loop(features, regions, (4, 3), 0.25, upstream, disjoint=bins == "disjoint")
    np.testing.assert_array_equal(pooled, expected_pooled)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)


def test_a_tie_goes_to_the_first_in_reading_order():
    features = tf.constant([[0.0, 7, 1], [7, 7, 0]], shape=(1, 2, 3, 1))
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = ROIPooling2D(1)([features, tf.constant([[[0.0, 0, 2, 1], [0, 0, 2, 1]]])])
    gradient = tape.gradient(pooled, features, output_gradients=tf.constant([2.0, 3.0], shape=(1, 2, 1, 1, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 5, 0], [0, 0, 0]])


def test_a_region_with_a_coordinate_that_is_no_number_gives_zeros_and_no_gradient():
    regions = np.array([[[np.nan, 0, 3, 3], [0, 0, np.inf, 3], [0, -np.inf, 3, 3]]], np.float32)
    pooled, gradient = ours(np.ones((1, 4, 5, 2), np.float32), regions, (2, 2), 1.0, np.ones((1, 3, 2, 2, 2)))
    assert not pooled.any() and not gradient.any()


def test_no_regions_give_no_output_and_no_gradient():
    empty = np.zeros((1, 0, 4), np.float32)
    pooled, gradient = ours(np.ones((1, 4, 5, 2), np.float32), empty, (2, 2), 1.0, np.zeros((1, 0, 2, 2, 2)))
    assert pooled.shape == (1, 0, 2, 2, 2)
    assert not gradient.any()


def test_a_map_of_unknown_size_gives_the_same_with_the_same_gradient():
    chance = np.random.default_rng(3)
    features = chance.normal(size=(2, 30, 23, 3)).astype(np.float32)
    # The last is larger than the map, so that its bins are longer than those of any region within.
    corners = chance.uniform(0, 23, (2, 5, 2, 2))
    regions = np.concatenate([corners.min(2), corners.max(2)], axis=-1).astype(np.float32)
    regions[1, -1] = -40, -40, 70, 70
    layer = ROIPooling2D((3, 4))
    inputs = [keras.Input((None, None, 3)), keras.Input((None, 4))]
    unknown = keras.Model(inputs, layer(inputs))
    upstream = chance.normal(size=(2, 5, 3, 4, 3)).astype(np.float32)
    specs = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, 4)), tf.TensorSpec(None)]

    @tf.function(input_signature=specs)
    def both(features, regions, upstream):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = unknown([features, regions])
        return pooled, tape.gradient(pooled, features, output_gradients=upstream)

    pooled, gradient = both(features, regions, upstream)
    expected_pooled, expected_gradient = loop(features, regions, (3, 4), 1.0, upstream)
    np.testing.assert_array_equal(pooled, expected_pooled)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)
    assert unknown.output_shape == (None, None, 3, 4, 3)


def test_half_precision_moves_no_region_and_loses_no_gradient():
    """2049 is no number in half precision, and 2048 + 1 + 1 + ... stays 2048 there."""
    features = np.zeros((1, 1, 2052, 1), np.float16)
    features[0, 0, 2049] = 3
    layer = ROIPooling2D(1, dtype="mixed_float16")
    with tf.GradientTape() as tape:
        x = tf.constant(features)
        tape.watch(x)
        pooled = layer([x, tf.tile(tf.constant([[[2049.0, 0, 2049, 0]]]), (1, 4096, 1))])
    assert pooled.dtype == tf.float16
    assert set(pooled.numpy().ravel()) == {3}
    assert tape.gradient(pooled, x)[0, 0, 2049, 0] == 4096


def test_onnxruntime_pools_the_same():
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    chance = np.random.default_rng(4)
    features = chance.normal(size=(2, 38, 50, 3)).astype(np.float32)
    corners = chance.uniform(-30, 830, (2, 40, 2, 2)) * np.array([1, 0.75])
    regions = np.concatenate([corners.min(2), corners.max(2)], axis=-1).astype(np.float32)
    regions[0, : len(REGIONS) - 1] = np.array(list(REGIONS.values())[:-1]) * 4
    rows = np.concatenate([np.repeat([0, 1], 40)[:, None], regions.reshape(80, 4)], axis=1).astype(np.float32)
    node = onnx.helper.make_node("MaxRoiPool", ["x", "rois"], ["y"], pooled_shape=[7, 7], spatial_scale=1 / 16)
    types = {name: onnx.helper.make_tensor_value_info(name, 1, None) for name in ("x", "rois", "y")}
    graph = onnx.helper.make_graph([node], "pooling", [types["x"], types["rois"]], [types["y"]])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (referee,) = session.run(None, {"x": features.transpose(0, 3, 1, 2), "rois": rows})
    pooled = ROIPooling2D(7, spatial_scale=1 / 16)([features, regions])
    # In its single precision, 57 or 114 cells are one more (see the docstring): none of these has so many.
    lengths = np.floor(regions / 16 + 0.5)[..., 2:] - np.floor(regions / 16 + 0.5)[..., :2] + 1
    assert not np.isin(lengths, (57, 114)).any()
    np.testing.assert_array_equal(pooled.numpy().reshape(80, 7, 7, 3).transpose(0, 3, 1, 2), referee)


def test_regions_of_one_image_are_not_taken_for_those_of_all():
    """A batch of 2 maps with the regions of 1 image was pooled as if both had them."""
    with pytest.raises(ValueError) as caught:
        ROIPooling2D(2)([np.ones((2, 8, 8, 1), np.float32), np.ones((1, 3, 4), np.float32)])
    assert str(caught.value) == (
        "The map and the regions must be of as many images: region k of image i reads map i. "
        "Received: input_shape=[(2, 8, 8, 1), (1, 3, 4)]."
    )


def test_the_bounds_of_57_cells_are_exact():
    """As Caffe's single precision counts, the last of 7 bins would take a 58th cell."""
    features = np.arange(60, dtype=np.float32).reshape(1, 60, 1, 1)
    pooled = ROIPooling2D((7, 1))([features, np.array([[[0, 0, 0, 56]]], np.float32)])
    assert pooled[0, 0, -1, 0, 0] == 56


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"output_size": 0}, "`output_size` must be a positive integer or two of them. Received: output_size=0."),
        (
            {"output_size": 7, "spatial_scale": 0},
            "`spatial_scale` must be a number above 0. Received: spatial_scale=0.",
        ),
        ({"output_size": 7, "bins": "some"}, "`bins` must be 'overlapping' or 'disjoint'. Received: bins='some'."),
    ],
)
def test_wrong_arguments_are_refused(arguments, sentence):
    with pytest.raises(ValueError) as caught:
        ROIPooling2D(**arguments)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("shapes", [[(2, 5, 5, 3), (2, 7, 5)], [(2, 5, 5), (2, 7, 4)], [(2, 5, 5, 3)], (2, 5, 5, 3)])
def test_inputs_that_are_no_map_with_regions_are_refused(shapes):
    inputs = [keras.Input(batch_shape=shape) for shape in shapes] if isinstance(shapes, list) else keras.Input(shapes)
    with pytest.raises(ValueError, match=r"The input must be a list of a map, .* and regions, \(batch, regions, 4\)"):
        ROIPooling2D(2)(inputs)


def test_a_server_pools_maps_of_any_size_and_regions_of_any_size(tmp_path):
    inputs = [keras.Input((None, None, 2), name="features"), keras.Input((None, 4), name="regions")]
    model = keras.Model(inputs, ROIPooling2D((3, 2))(inputs))
    specs = {
        "features": tf.TensorSpec((None, None, None, 2), name="features"),
        "regions": tf.TensorSpec((None, None, 4), name="regions"),
    }
    pool = tf.function(lambda features, regions: {"pooled": model([features, regions])})
    tf.saved_model.save(tf.Module(), tmp_path, signatures=pool.get_concrete_function(**specs))
    assert graph_rules.broken_rules(graph_rules.read_meta_graph(tmp_path)) == []
    chance = np.random.default_rng(5)
    with SavedModelSession(tmp_path) as session:
        for height, width in ((5, 31), (1, 1), (20, 3)):
            features = chance.normal(size=(2, height, width, 2)).astype(np.float32)
            regions = np.array([[[0, 0, 2, 2], [-50, -50, 50, 50]], [[1, 1, 30, 20], [9, 9, 9, 9]]], np.float32)
            answer = session.run("serving_default", {"features": features, "regions": regions})["pooled"]
            np.testing.assert_array_equal(answer, loop(features, regions, (3, 2), 1.0)[0])
