import re

import keras
import numpy as np
import pytest
from scipy import stats

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import (
    InspectedNetwork,
    InspectionSession,
    Photo,
    input_space,
    objectives,
    occlusion,
    occlusion_panels,
)
from garden.inspection.occlusion_windows import windows_of

SIZES = ((40, 40), (33, 57), (57, 33), (24, 70), (48, 36))
OBJECT = 11


def brightness_reader(size):
    """Its first score is what is brighter than any background, wherever it is."""
    reader = keras.layers.Conv2D(1, 1, activation="relu", name="bright")
    scores = keras.layers.Dense(2, name="scores")
    pixels = keras.Input((*size, 3))
    x = keras.layers.GlobalAveragePooling2D()(reader(pixels))
    model = keras.Model(pixels, keras.layers.Softmax()(scores(x)))
    reader.set_weights([np.full((1, 1, 3, 1), 1 / 3), np.array([-0.7])])
    scores.set_weights([np.array([[100.0, 0.0]]), np.zeros(2)])
    return InspectedNetwork(model, ImageSpec(*size, mean=(0,) * 3, std=(255,) * 3, resize="stretch"))


@pytest.fixture(scope="module")
def readers():
    return {size: brightness_reader(size) for size in SIZES}


def planted(number):
    """Noise with one bright square; the first five of each size touch the borders."""
    chance = np.random.default_rng(number)
    height, width = size = SIZES[number % len(SIZES)]
    bottom, right = height - OBJECT, width - OBJECT
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right)]
    turn = number // len(SIZES)
    top, left = places[turn] if turn < 5 else (chance.integers(0, bottom + 1), chance.integers(0, right + 1))
    image = chance.uniform(0, 0.6, (*size, 3)).astype(np.float32)
    image[top : top + OBJECT, left : left + OBJECT] = 1.0
    return size, image, (top, left)


@pytest.mark.parametrize("number", range(50))
def test_the_confidence_is_lowest_where_the_planted_object_is(number, readers):
    size, image, (top, left) = planted(number)
    found = occlusion.occlude(readers[size], image, 0)
    row, column = np.unravel_index(found.confidence.argmin(), found.confidence.shape)
    (tops, bottoms), (lefts, rights) = found.windows.intervals()
    assert top <= (tops[row] + bottoms[row]) / 2 <= top + OBJECT - 1
    assert left <= (lefts[column] + rights[column]) / 2 <= left + OBJECT - 1
    # And so is what speaks for the class; elsewhere hiding changes nothing.
    row, column = np.unravel_index(found.attribution.argmax(), size)
    assert top <= row < top + OBJECT
    assert left <= column < left + OBJECT
    far = np.ones(size, bool)
    side = found.windows.window
    far[max(top - side, 0) : top + OBJECT + side, max(left - side, 0) : left + OBJECT + side] = False
    np.testing.assert_allclose(found.attribution[far], 0, atol=1e-5)


@pytest.fixture(scope="module")
def linear():
    height, width = 11, 17
    keras.utils.set_random_seed(1)
    pixels = keras.Input((height, width, 3))
    model = keras.Model(pixels, keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(pixels)))
    network = InspectedNetwork(model, ImageSpec(height, width, mean=(9, 8, 7), std=(50, 60, 70), resize="stretch"))
    weights = model.get_layer("scores").get_weights()[0].reshape(height, width, 3, 3)
    image = np.random.default_rng(0).normal(size=(height, width, 3)).astype(np.float32)
    return network, weights, image


def test_of_a_linear_network_the_drop_is_the_sum_in_the_window(linear):
    network, weights, image = linear
    gray = input_space.gray(network.image_spec)
    found = occlusion.occlude(network, image, 2, path="", window=4, stride=3)
    # 11 rows: windows at 0, 3, 6 and, cut off by the border, 9; 17 columns: 0, 3, 6, 9, 12, 15.
    assert found.windows.shape == (4, 6)
    parts = (weights[..., 2] * (image - gray)).sum(axis=-1)
    expected = [[parts[top : top + 4, left : left + 4].sum() for left in range(0, 18, 3)] for top in range(0, 12, 3)]
    np.testing.assert_allclose(found.whole_score - found.scores, expected, atol=2e-5)
    # A pixel's number is the mean over the windows that hide it: row 6 lies in those at 3 and 6, column 0 in one.
    np.testing.assert_allclose(found.attribution[6, 0], np.mean([expected[1][0], expected[2][0]]), atol=2e-5)


def test_disjoint_windows_add_up_to_the_hidden_picture(linear):
    network, _, image = linear
    found = occlusion.occlude(network, image, 1, path="", window=5, stride=5)
    gray = np.broadcast_to(input_space.gray(network.image_spec), image.shape)
    whole, hidden = network.logits(np.stack([image, gray]))[:, 1]
    np.testing.assert_allclose((found.whole_score - found.scores).sum(), whole - hidden, atol=1e-4)


def test_hiding_gray_with_gray_changes_nothing(linear):
    network, _, image = linear
    gray = np.broadcast_to(input_space.gray(network.image_spec), image.shape)
    maps = occlusion.occlusion(network, gray[None], objectives.class_score(0))
    np.testing.assert_allclose(maps, 0, atol=1e-6)


@pytest.fixture(scope="module")
def convolutional():
    """Convolutions, a stride, a pool, a residual: something to reuse; 37 × 50 pixels."""
    keras.utils.set_random_seed(5)
    pixels = x = keras.Input((37, 50, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    x = keras.layers.MaxPooling2D(2, name="pool")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name="last")(x)
    x = keras.layers.Dense(4, name="scores")(keras.layers.GlobalAveragePooling2D(name="code")(x))
    model = keras.Model(pixels, keras.layers.Softmax()(20 * x))
    # Of noise all classes are about as probable, so that a square may decide.
    noise = np.random.default_rng(7).uniform(-1, 1, (1, 37, 50, 3))
    model.get_layer("scores").bias.assign(-keras.Model(pixels, x)(noise)[0])
    spec = ImageSpec(37, 50, mean=(127.5,) * 3, std=(127.5,) * 3, resize="stretch")
    return InspectedNetwork(model, spec, labels=("ant", "bee", "cat", "dog")), model


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(7).integers(0, 256, (2, 37, 50, 3)).astype(np.uint8)


@pytest.mark.parametrize("reuse", [True, False])
def test_the_three_figures_are_those_of_one_prediction_after_another(reuse, convolutional, pixels):
    network, model = convolutional
    image = input_space.prepare(network.image_spec, pixels[0])
    found = occlusion.occlude(network, image, 3, window=6, stride=5, reuse=reuse)
    maps = keras.Model(model.input, [model.output, model.get_layer("last").output])
    gray = (np.array([124.0, 116.0, 104.0]) - 127.5) / 127.5
    for row, top in enumerate(found.windows.tops):
        for column, left in enumerate(found.windows.lefts):
            hidden = image.copy()
            hidden[top : top + 6, left : left + 6] = gray
            probabilities, activations = (output.numpy() for output in maps(hidden[None]))
            np.testing.assert_allclose(found.probabilities[row, column], probabilities[0], atol=1e-5)
            assert found.labels[row, column] == probabilities[0].argmax()
            np.testing.assert_allclose(
                found.activations[row, column], activations[0].sum(axis=(0, 1)), rtol=1e-5, atol=1e-5
            )
    assert found.windows.shape == (8, 10)
    whole = maps(image[None])[1].numpy()[0].sum(axis=(0, 1))
    np.testing.assert_allclose(found.whole_activations, whole, rtol=1e-5)
    assert found.strongest_channel == whole.argmax()
    assert found.probabilities.std(axis=(0, 1)).max() > 0.01  # The squares matter, so that agreement says something.


def test_a_window_outside_every_receptive_field_leaves_the_feature_map_as_it_is():
    keras.utils.set_random_seed(2)
    image = keras.Input((20, 30, 3))
    x = keras.layers.Cropping2D(((0, 0), (0, 12)))(image)
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="maps")(x)
    network = InspectedNetwork(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(x))))
    picture = np.random.default_rng(0).uniform(0, 255, (20, 30, 3)).astype(np.float32)
    found = occlusion.occlude(network, picture, 0, path="maps", window=4, stride=2)
    outside = found.windows.lefts >= 18
    assert (found.activations[:, outside] == found.whole_activations).all()
    assert (found.activations[:, ~outside] != found.whole_activations).any(axis=-1).all()


def test_a_fine_map_and_a_coarse_one_agree(convolutional, pixels):
    network, _ = convolutional
    image = input_space.prepare(network.image_spec, pixels[1])
    coarse, fine = (
        occlusion.occlude(network, image, 1, window=10, stride=stride).attribution[5:-5, 5:-5] for stride in (2, 1)
    )
    assert stats.spearmanr(fine.ravel(), coarse.ravel()).statistic > 0.9


def test_a_batch_is_its_pictures_and_nothing_is_traced_again(convolutional, pixels):
    network, _ = convolutional
    images = input_space.prepare(network.image_spec, pixels)
    before = network.trace_counts()
    both = occlusion.occlusion(network, images, objectives.class_score([0, 2]), window=8)
    np.testing.assert_allclose(
        both[1], occlusion.occlusion(network, images[1:], objectives.class_score(2), window=8)[0]
    )
    occlusion.occlusion(network, images, objectives.class_score(1), window=8, fill="noise", seed=3)
    new = {key: count for key, count in network.trace_counts().items() if key not in before}
    assert new
    assert max(new.values()) == 1
    assert np.abs(both).max() > 0.1


def test_any_objective_can_be_asked(convolutional, pixels):
    network, _ = convolutional
    image = input_space.prepare(network.image_spec, pixels[0])
    score = objectives.channel("last", 1) - 0.5 * objectives.class_score(0)
    found = occlusion.occlusion(network, image[None], score, window=9, stride=9)[0]
    hidden = image.copy()
    hidden[:9, 9:18] = input_space.gray(network.image_spec)
    outputs = network.outputs(np.stack([image, hidden]), ["last", "(logits)"])
    values = outputs["last"][..., 1].mean(axis=(1, 2)) - 0.5 * outputs["(logits)"][:, 0]
    np.testing.assert_allclose(found[:9, 9:18], values[0] - values[1], atol=1e-5)


def test_what_hides_can_be_chosen(linear):
    network, weights, image = linear
    spec = network.image_spec
    for fill in occlusion.FILLS:
        found = occlusion.occlude(network, image, 0, path="", window=11, stride=11, fill=fill, seed=4)
        replacement = {
            "gray": input_space.gray(spec),
            "black": -np.array(spec.mean) / spec.std,
            "noise": (np.random.default_rng(4).integers(0, 256, image.shape) - spec.mean) / spec.std,
        }.get(fill)
        if replacement is not None:
            expected = (weights[:, :11, :, 0] * (image - replacement)[:, :11]).sum()
            np.testing.assert_allclose(found.whole_score - found.scores[0, 0], expected, atol=1e-4)
    assert occlusion.fill_pixels(np.full((20, 20, 3), 33.0), "blur", 0) == pytest.approx(33.0)
    colour = np.array([1.0, -2.0, 0.5], np.float32)
    found = occlusion.occlude(network, image, 0, path="", window=11, stride=11, fill=colour)
    expected = (weights[:, :11, :, 0] * (image - colour)[:, :11]).sum()
    np.testing.assert_allclose(found.whole_score - found.scores[0, 0], expected, atol=1e-4)


class Served:
    """The network as a server shows it."""

    name = "a server"

    def __init__(self, network):
        self.network = network
        self.batches = []

    def probabilities(self, pixels):
        assert pixels.dtype == np.uint8
        self.batches.append(len(pixels))
        return self.network.probabilities(self.network.logits(input_space.prepare(self.network.image_spec, pixels)))


def test_a_server_is_asked_in_batches_and_gives_the_same(convolutional, pixels):
    network, _ = convolutional
    image = input_space.prepare(network.image_spec, pixels[0])
    expected = occlusion.occlude(network, image, 1, window=7, stride=6)
    served = Served(network)
    found = occlusion.occlude_classifier(served, pixels[0], 1, window=7, stride=6)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert sum(served.batches) == found.labels.size + 1
    assert max(served.batches) == 32
    drop = expected.whole_probabilities[1] - expected.confidence
    np.testing.assert_allclose(found.attribution, found.windows.covered_mean(drop), atol=1e-5)


def test_default_windows_are_a_seventh_and_overlap_by_three_quarters():
    windows = windows_of((224, 224))
    assert (windows.window, windows.stride, windows.shape) == (32, 8, (25, 25))
    # The shorter side decides; the last column is cut off by the border and hides it.
    oblong = windows_of((70, 101))
    assert (oblong.window, oblong.stride, oblong.shape) == (10, 2, (31, 47))
    assert oblong.intervals()[1][1][-1] == 100
    # Every pixel is hidden by some square.
    assert np.isfinite(oblong.covered_mean(np.ones(oblong.shape))).all()


def test_maps_are_drawn_where_their_squares_are():
    windows = windows_of((8, 12), window=4, stride=4)
    values = np.array([[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]])
    # Centres are 1.5 and 5.5 from the top, 1.5, 5.5 and 9.5 from the left; beyond them it stays.
    found = windows.at_centres(values)
    np.testing.assert_allclose(found[:2, 0], 1.0)
    np.testing.assert_allclose(found[3, 3], 1.0 + 1.5 + 0.375)
    np.testing.assert_allclose(found[7, 11], 7.0)
    np.testing.assert_array_equal(windows.nearest(values), np.repeat(np.repeat(values, 4, axis=0), 4, axis=1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 38}, "`window` must be within 1..37, the shorter side of the picture. Received: window=38."),
        (
            {"window": 4, "stride": 5},
            "`stride` must be within 1..4, the window, so that every pixel is hidden once. Received: stride=5.",
        ),
        ({"fill": "white"}, "`fill` must be one of ('gray', 'black', 'noise', 'blur'). Received: fill='white'."),
    ],
)
def test_wrong_arguments_are_told(options, sentence, convolutional):
    network, _ = convolutional
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        occlusion.occlude(network, np.zeros((37, 50, 3), np.float32), 0, **options)


def test_a_layer_without_maps_is_refused(convolutional):
    network, _ = convolutional
    sentence = (
        f"'code' of '{network.model.name}' gives no maps (height, width, channels), which are added up behind each "
        "hidden square. Name a convolution."
    )
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        occlusion.occlude(network, np.zeros((37, 50, 3), np.float32), 0, path="code")


def test_panels_show_all_three_figures_of_each_photo(convolutional, pixels):
    network, _ = convolutional
    photos = tuple(Photo(name, picture) for name, picture in zip(("one", "two"), pixels, strict=True))
    session = InspectionSession(network, photos, class_index=1, steps=4, channels=(2, 5))
    panels = {panel.tag: panel for panel in occlusion_panels.panels(session)}
    units = ("class bee", "class bee, probability", "most probable class", "last/channel 2", "last/channel 5")
    assert sorted(panels) == sorted(f"garden/{name}/occlusion/{unit}" for name in ("one", "two") for unit in units)
    # Four squares along the shorter side: of 10 pixels, 9 apart.
    assert panels["garden/one/occlusion/class bee, probability"].values["probability"].shape == (4, 6)
    labels = panels["garden/one/occlusion/most probable class"]
    assert labels.pixels.shape[0] >= 37 + 18 * len(np.unique(labels.values["label"]))
    # The input, the map and its DeconvNet projection side by side.
    assert panels["garden/two/occlusion/last/channel 5"].pixels.shape[1] == 3 * 50 + 2 * 4
    assert panels["garden/two/occlusion/class bee"].grade.deletion_auc is not None


def test_panels_of_a_server_are_what_it_says(convolutional, pixels):
    network, _ = convolutional
    served = Served(network)
    session = InspectionSession(network, (Photo("one", pixels[0]),), class_index=1, steps=4, classifier=served)
    units = [panel.unit for panel in occlusion_panels.panels(session)]
    assert units == ["class bee", "class bee, probability", "most probable class"]
    assert served.batches
