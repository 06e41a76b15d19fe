import keras
import numpy as np
import pytest
import tensorflow as tf

from garden.inspection import SCORES, InspectedNetwork, changed_regions, changed_windows
from garden.inspection.inspected_network import INPUT

HEIGHT, WIDTH = 37, 50


def strided(x):
    """Strides whose paddings depend on the size, an even kernel, a pool, statistics of a batch."""
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="a")(x)
    x = keras.layers.BatchNormalization(name="b")(x)
    x = keras.layers.ReLU(name="c")(x)
    x = keras.layers.MaxPooling2D(2, padding="same", name="d")(x)
    x = keras.layers.Conv2D(3, 4, padding="same", name="e")(x)
    return keras.layers.AveragePooling2D(3, strides=2, padding="same", name="f")(x), ("a", "c", "d", "e", "f")


def without_padding(x):
    """Rows and columns at the far edge that nobody reads, a kernel that is not square, dilation."""
    x = keras.layers.Conv2D(3, (3, 2), strides=(2, 3), name="a")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, name="b")(x)
    x = keras.layers.Conv2D(4, 2, dilation_rate=2, padding="same", name="c")(x)
    return keras.layers.DepthwiseConv2D(2, name="d")(x), ("a", "b", "c", "d")


def wide_strides(x):
    """Positions between the taps that nobody reads."""
    x = keras.layers.Conv2D(3, 1, strides=2, name="a")(x)
    return keras.layers.Conv2D(3, 1, strides=3, padding="same", name="b")(x), ("a", "b")


def branches(x):
    """Residuals and branches of different reach, explicit padding, an inner model, an inner activation."""
    inner = keras.Sequential(
        [keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="k"), keras.layers.LeakyReLU(name="l")],
        name="inner",
    )
    x = keras.layers.ZeroPadding2D(((1, 0), (2, 1)), name="a")(x)
    x = keras.layers.Conv2D(4, 3, strides=2, name="b")(x)
    x = keras.layers.Add(name="c")([x, inner(x)])
    x = keras.layers.Concatenate(name="d")(
        [keras.layers.Conv2D(2, 5, padding="same", name="m")(x), keras.layers.Conv2D(2, 1, name="n")(x)]
    )
    return keras.layers.SeparableConv2D(3, 3, strides=2, padding="same", name="e")(x), ("a", "b", "c", "d", "e")


def network_of(body):
    keras.utils.set_random_seed(4)
    pixels = keras.Input((HEIGHT, WIDTH, 3))
    x, cuts = body(pixels)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(5)(x))
    chance = np.random.default_rng(2)
    for variable in model.variables:  # Biases and statistics that would show a wrong padding.
        variable.assign(chance.uniform(0.2, 1.0, variable.shape) * chance.choice([-1, 1], variable.shape))
        if "variance" in variable.name:
            variable.assign(chance.uniform(0.5, 2.0, variable.shape))
    return InspectedNetwork(model), cuts


@pytest.fixture(scope="module")
def picture_and_replacement():
    chance = np.random.default_rng(0)
    return chance.normal(size=(2, HEIGHT, WIDTH, 3)).astype(np.float32)


def hidden_one_by_one(pair, rows, columns):
    pictures = []
    for top, bottom in zip(*rows, strict=True):
        for left, right in zip(*columns, strict=True):
            hidden = pair[0].copy()
            hidden[top : bottom + 1, left : right + 1] = pair[1][top : bottom + 1, left : right + 1]
            pictures.append(hidden)
    return np.stack(pictures)


def computed(network, pair, plan):
    unchanged = network.run(tf.constant(pair[:1]), (INPUT, *plan.cuts))
    found = np.empty((plan.order.max() + 1, 5), np.float32)
    for group, order in enumerate(plan.order):
        arrays = (tf.constant(array[group]) for array in (plan.crops, plan.offsets, plan.changed))
        outputs = changed_regions.run(network, plan.cuts, (SCORES,), unchanged, tf.constant(pair[1:]), *arrays)
        found[order] = outputs[SCORES].numpy()
    return found


@pytest.mark.parametrize("body", [strided, without_padding, wide_strides, branches])
def test_crops_give_what_everything_gives(body, picture_and_replacement):
    network, cuts = network_of(body)
    # Rectangles at all borders and alignments, of one pixel and of many.
    rows = np.array([0, 1, 6, 13, 30, 36]), np.array([0, 5, 12, 13, 36, 36])
    columns = np.array([0, 3, 20, 31, 44, 49]), np.array([4, 3, 28, 40, 49, 49])
    expected = network.logits(hidden_one_by_one(picture_and_replacement, rows, columns))
    spread = np.abs(expected - network.logits(picture_and_replacement[:1])).max()
    for chosen in (*((cut,) for cut in cuts), cuts, cuts[::2], ()):
        plan = changed_regions.plan(network, (SCORES,), rows, columns, cuts=chosen)
        found = computed(network, picture_and_replacement, plan)
        np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, spread), err_msg=str(chosen))


def test_crops_are_no_larger_than_they_need_be():
    network, _ = network_of(without_padding)
    one_pixel = (np.array([16]), np.array([16]))
    plan = changed_regions.plan(network, (SCORES,), one_pixel, (np.array([24]), np.array([24])), cuts=("a",))
    # Row 16 is read by rows 7 and 8 of "a" (2·7..2·7+2, 2·8..2·8+2): pixels 14..18, five rows, from row 14.
    # Whole is 37 rows and the crop must differ from it by a multiple of 2. Column 24 is the first of 3·8..3·8+1.
    assert plan.crops[0, 0].tolist() == [5, 2]
    assert plan.offsets[0, 0, 0].tolist() == [14, 24]
    assert plan.changed[0, 1, 0].tolist() == [7, 8, 8, 8]


def test_cuts_are_chosen_where_they_save_work_and_only_there():
    keras.utils.set_random_seed(0)
    pixels = x = keras.Input((96, 96, 3))
    for number in range(4):
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv{number}")(x)
    network = InspectedNetwork(keras.Model(pixels, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))))
    small = (np.arange(0, 90, 8), np.arange(0, 90, 8) + 3)
    assert changed_regions.plan(network, (SCORES,), small, small).cuts
    # Behind squares as large as the picture nothing is left to reuse.
    large = (np.zeros(3, int), np.full(3, 95))
    assert changed_regions.plan(network, (SCORES,), large, large).cuts == ()
    # A wanted map is computed whole, so that no cut lies behind it.
    plan = changed_regions.plan(network, ("conv0", SCORES), small, small)
    assert all(network.paths.index(cut) <= network.paths.index("conv0") for cut in plan.cuts)


def test_nothing_is_cut_behind_what_reads_the_whole_picture():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(pixels)
    gate = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = keras.layers.Multiply(name="gated")([x, gate])
    x = keras.layers.Conv2D(4, 3, name="second")(x)
    network = InspectedNetwork(keras.Model(pixels, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
    windows = changed_windows.windows_from(network, INPUT)
    assert network.slot_of("first") in windows
    assert network.slot_of("gated") not in windows
    assert network.slot_of("second") not in windows
    small = (np.arange(0, 60, 8), np.arange(0, 60, 8) + 3)
    assert set(changed_regions.plan(network, (SCORES,), small, small).cuts) <= {"first"}


def test_windows_are_the_product_of_strides_and_the_sum_of_reaches():
    network, _ = network_of(strided)
    rows, columns = changed_windows.windows_from(network, INPUT)[network.slot_of("d")]
    # "a" pads 37 rows by one before and one after: output o reads 2o - 1..2o + 1; two of them make a pool's window.
    assert (rows.stride, rows.before, rows.after) == (4, 1, 3)
    # 50 columns are padded after only: 2o..2o + 2.
    assert (columns.stride, columns.before, columns.after) == (4, 0, 4)
