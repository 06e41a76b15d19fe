"""Code inversion: networks from which everything can be got back, and priors that show."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from garden import architectures
from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import SCORES, InspectedNetwork, InspectionSession, Photo, input_space, picture_transforms
from garden.inspection.code_inversion import Priors, code_inversion, depth_of, panels

SPEC = ImageSpec(24, 20, mean=(127.5,) * 3, std=(127.5,) * 3)
CHANCE = np.random.default_rng(0)


def make_photos():
    """Two smooth coloured pictures with an edge in each."""
    pixels = ndimage.gaussian_filter(CHANCE.normal(0, 1, (2, 24, 20, 3)), (0, 2.5, 2.5, 0))
    pixels = 128 + 45 * pixels / pixels.std()
    pixels[0, 8:16, 5:15] += 50
    pixels[1, :, 10:] -= 50
    return np.clip(pixels, 5, 250).astype(np.uint8)


PIXELS = make_photos()


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((24, 20, 3)),
            keras.layers.Activation("linear", name="identity"),
            keras.layers.Conv2D(12, 3, padding="same", activation="relu", name="conv1"),
            keras.layers.MaxPooling2D(2, name="pool1"),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv2"),
            keras.layers.MaxPooling2D(2, name="pool2"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(30, activation="relu", name="hidden"),
            keras.layers.Dense(5, name="scores"),
        ],
        name="coder",
    )
    return InspectedNetwork(model, SPEC)


@pytest.fixture(scope="module")
def images():
    return input_space.prepare(SPEC, PIXELS)


def noise_ratio(made):
    """Peak signal to noise ratio in dB, of the worse picture."""
    errors = np.square(input_space.to_rgb(SPEC, made.images) - PIXELS).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / errors.max())


def error_by_hand(network, images, made, path):
    code, answer = (network.outputs(each, [path])[path].reshape(2, -1) for each in (images, made.images))
    return np.square(answer - code).sum(axis=-1) / np.square(code).sum(axis=-1)


@pytest.mark.parametrize("schedule", ["adam", pytest.param("momentum", marks=pytest.mark.slow)])
def test_the_identity_gives_the_picture_back(network, images, schedule):
    made = code_inversion(network, images, "identity", schedule=schedule, priors=Priors(0.0, 0.0))
    assert noise_ratio(made) > 30


@pytest.mark.parametrize(
    ("path", "schedule", "most"),
    [
        ("conv1", "adam", 0.1),
        ("conv2", "adam", 0.1),
        pytest.param("hidden", "adam", 0.3, marks=pytest.mark.slow),
        (SCORES, "adam", 0.3),
        pytest.param("conv1", "momentum", 0.1, marks=pytest.mark.slow),
    ],
)
def test_the_code_is_met_by_pictures_of_noise(network, images, path, schedule, most):
    made = code_inversion(network, images, path, schedule=schedule)
    np.testing.assert_allclose(made.errors, error_by_hand(network, images, made, path), rtol=1e-2, atol=1e-5)
    assert (made.errors < most).all()
    assert (made.history[:, 0] > made.errors).all()
    low, high = input_space.bounds(SPEC)
    assert (made.images >= low - 1e-5).all()
    assert (made.images <= high + 1e-5).all()


@pytest.mark.slow
def test_less_survives_deeper(network, images):
    ratios = [noise_ratio(code_inversion(network, images, path)) for path in ("conv1", "conv2", SCORES)]
    assert ratios[0] > ratios[1] + 1 > ratios[2] + 2


def test_the_codes_own_picture_has_no_error_and_no_slope(network, images):
    """Started from the photo itself, nothing would change: the error is 0 at once."""
    answers = network.outputs(images, ["conv2"])["conv2"]
    variable = tf.constant(images)

    @tf.function(autograph=False)
    def slope(x):
        code = tf.constant(answers)
        error = tf.reduce_sum(tf.square(network.run(x, ["conv2"])["conv2"] - code))
        return error, tf.gradients(error, x)[0]

    error, gradient = slope(variable)
    assert float(error) < 1e-9
    assert np.abs(gradient).max() < 1e-4


def test_more_weight_of_the_total_variation_makes_smoother_pictures(network, images):
    found = [
        picture_transforms.total_variation(
            tf.constant(code_inversion(network, images, "conv2", priors=Priors(weight), steps=100).images)
        ).numpy()
        for weight in (0.0, 1.0, 30.0)
    ]
    assert (found[0] > 1.05 * found[1]).all()
    assert (found[1] > 1.05 * found[2]).all()


def test_the_weight_of_the_total_variation_is_the_papers():
    """Of the identity the best picture solves (I / ‖φ₀‖² + λ / (2σ²) · DᵀD) x = φ₀ / ‖φ₀‖², D all differences."""
    height, width, weight = 6, 5, 4.0
    spec = ImageSpec(height, width, 1, mean=(0.0,), std=(1.0,))
    gray = float(input_space.gray(spec)[0])
    image = keras.Input((height, width, 1))
    network = InspectedNetwork(keras.Model(image, keras.layers.Rescaling(1.0, -gray, name="from_gray")(image)), spec)
    code = np.random.default_rng(1).normal(0, 30, height * width)
    number = np.arange(height * width).reshape(height, width)
    pairs = [(number[:-1, :-1], number[:-1, 1:]), (number[:-1, :-1], number[1:, :-1])]
    unit = np.eye(height * width)
    differences = np.concatenate([unit[there.ravel()] - unit[here.ravel()] for here, there in pairs])
    square, typical = code @ code, height * width * 58.0**2
    expected = np.linalg.solve(
        np.eye(height * width) / square + weight / (2 * typical) * differences.T @ differences, code / square
    )
    priors = Priors(total_variation=weight, alpha=0.0)
    pictures = (gray + code).reshape(1, height, width, 1)
    made = code_inversion(network, pictures, "from_gray", schedule="momentum", priors=priors)
    np.testing.assert_allclose(made.images.ravel() - gray, expected, atol=0.2)
    assert np.abs(expected - code).max() > 10


@pytest.mark.slow
def test_two_beginnings_end_in_two_pictures_of_one_code(network, images):
    first, second = (code_inversion(network, images, SCORES, seed=seed) for seed in (0, 1))
    assert (first.errors < 0.05).all()
    assert (second.errors < 0.05).all()
    assert np.abs(first.images - second.images).max() > 0.1
    again = code_inversion(network, images, SCORES, seed=0)
    np.testing.assert_array_equal(again.images, first.images)


def test_a_batch_is_its_pictures_one_by_one_and_traces_once(network, images):
    both = code_inversion(network, images, "conv1", steps=5)
    for row in range(2):
        alone = code_inversion(network, images[row : row + 1], "conv1", steps=5)
        np.testing.assert_allclose(alone.images[0], both.images[row], atol=1e-4)
        np.testing.assert_allclose(alone.errors[0], both.errors[row], atol=1e-4)
    np.testing.assert_allclose(
        code_inversion(network, images, "conv1", steps=5, batch_size=1).images, both.images, atol=1e-4
    )
    assert {count for key, count in network.trace_counts().items() if "code inversion" in key} == {1}


def test_depth_counts_layers_with_weights(network):
    depths = [depth_of(network, path) for path in ("identity", "conv1", "pool1", "conv2", "hidden", "scores", SCORES)]
    np.testing.assert_allclose(depths, [0, 0.2, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_refusals_are_sentences(network, images):
    with pytest.raises(ValueError, match=r"^`schedule` must be one of .*\. Received: schedule='sgd'\.$"):
        code_inversion(network, images, "conv1", schedule="sgd")
    with pytest.raises(
        InspectionError,
        match=r"^The search for pictures with the code of '\(logits\)' went out of bounds with schedule=\"momentum\", "
        r"whose rate was made for another network\. Use schedule=\"adam\"\.$",
    ):
        code_inversion(network, images, SCORES, schedule="momentum", priors=Priors(1e9), steps=30)
    model = keras.Sequential(
        [keras.Input((24, 20, 3)), keras.layers.Conv2D(2, 1, activation="relu", name="dead", bias_initializer="zeros")]
    )
    model.get_layer("dead").set_weights([np.zeros((1, 1, 3, 2), np.float32), np.float32([-1, -1])])
    with pytest.raises(
        InspectionError,
        match=r"^All outputs of 'dead' are 0 for picture 0: there is no code to invert\. Name another layer\.$",
    ):
        code_inversion(InspectedNetwork(model, SPEC), images, "dead", steps=1)


def test_panels_are_a_strip_of_layers_or_the_one_asked_for(network, images):
    photos = tuple(Photo(name, pixels) for name, pixels in zip("ab", PIXELS, strict=True))
    first, second = panels(InspectionSession(network, photos, steps=5, seed=2))
    assert (first.image, second.image) == ("a", "b")
    assert list(second.values)[-1].endswith("class scores")
    (only,) = panels(InspectionSession(network, photos[1:], layer="conv2", steps=5, seed=2))
    expected = code_inversion(network, images[1:], "conv2", steps=5, seed=2)
    np.testing.assert_allclose(only.values["1 conv2"], expected.images[0], atol=1e-4)
    assert f"conv2 {expected.errors[0]:.3f}" in only.caption
    assert only.layer == "conv2"
    (early,) = panels(InspectionSession(network, photos[1:], layer="conv2", steps=0))
    assert early.note == "The search ended far from the code of conv2: what is missing there may survive yet."


@pytest.mark.slow
def test_the_codes_of_a_real_network_are_met(pretrained, photo):
    """SqueezeNet's convolutions within 0.1 of a photo's code, its class scores within 0.3."""
    spec = architectures.get("squeezenet1_1").image_spec
    real = InspectedNetwork(pretrained("squeezenet1_1"), spec)
    images = spec.prepare(tf.constant(photo("chelsea.png")))[None].numpy()
    for path, most in [("conv1_relu", 0.1), ("fire5_concat", 0.1), ("fire9_concat", 0.1), (SCORES, 0.3)]:
        assert code_inversion(real, images, path).errors[0] < most, path
