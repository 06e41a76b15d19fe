"""Class models of a network that has learned scikit-learn's digits."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, Photo, class_model, input_space
from garden.inspection.optimization import Settings

SPEC = ImageSpec(8, 8, 1, mean=(127.5,), std=(127.5,), resize="stretch")


@pytest.fixture(scope="module")
def digits():
    """The network, its pictures and labels."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = np.repeat((pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.float32), 3, axis=-1)
    images = input_space.prepare(SPEC, pixels)
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu", name="strokes"),
            keras.layers.Conv2D(32, 3, activation="relu", name="shapes"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", name="digits"),
        ],
        name="digits",
    )
    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=128, epochs=10, verbose=0)
    return InspectedNetwork(model, SPEC, labels=[f"digit {name}" for name in range(10)]), images, labels


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("yosinski_a", "yosinski_b", "yosinski_d") else ())
        for name in class_model.VARIANTS
    ],
)
def test_a_model_of_a_class_is_taken_for_it(digits, variant):
    network, _, _ = digits
    made = class_model.class_model(network, range(10), variant=variant, steps=80)
    low, high = input_space.bounds(SPEC)
    assert (made.images >= low - 1e-5).all()
    assert (made.images <= high + 1e-5).all()
    logits = network.logits(made.images)
    np.testing.assert_allclose(made.final, logits[range(10), range(10)], atol=1e-3)
    assert (logits.argmax(axis=-1) == range(10)).mean() >= 0.9
    # Half of 8 × 8 pixels made gray in each step, or all of them blurred, leaves less room.
    if variant in ("simonyan", "fft"):
        assert (network.probabilities(logits)[range(10), range(10)] > 0.9).all()
    assert (made.values[:, -1] > made.values[:, 0]).all()


def test_a_model_of_a_class_scores_above_every_picture_of_it(digits):
    network, images, labels = digits
    settings = class_model.VARIANTS["fft"].settings._replace(learning_rate=0.3, augmentation=0.0)
    made = class_model.class_model(network, range(10), steps=100, settings=settings)
    best = network.logits(images)
    assert np.mean([made.final[one] > best[labels == one, one].max() for one in range(10)]) >= 0.9


def test_the_settings_are_yosinskis():
    """Table 2 of the paper: decay, blur radius and how often, the two percentiles."""
    columns = ("decay", "blur_radius", "blur_every", "small_norm_percentile", "small_contribution_percentile")
    table = {
        name: tuple(getattr(variant.settings, column) for column in columns)
        for name, variant in class_model.VARIANTS.items()
        if name.startswith("yosinski")
    }
    assert table == {
        "yosinski_a": (0.0, 0.5, 4, 50, 0),
        "yosinski_b": (0.3, 0.0, 0, 20, 0),
        "yosinski_c": (1e-4, 1.0, 4, 0, 0),
        "yosinski_d": (0.0, 0.5, 4, 0, 90),
    }
    assert [class_model.VARIANTS[name].iterations for name in table] == [500, 750, 1000, 1000]


def test_simonyans_lambda_grows_with_the_networks_slope():
    """argmax w·x − λ‖x‖² of a linear network is 1 / (2 · share) from gray in the mean, whatever its weights."""
    spec = ImageSpec(4, 4)
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2, name="scores")])
    share = class_model.VARIANTS["simonyan"].l2_share
    for size in (1e-3, 1.0):
        kernel = np.random.default_rng(0).choice([-size, size], (48, 2)).astype(np.float32)
        model.get_layer("scores").set_weights([kernel, np.zeros(2, np.float32)])
        made = class_model.class_model(InspectedNetwork(model, spec), [0, 1], variant="simonyan", steps=1000)
        distance = made.images.reshape(2, 48) - np.tile([124.0, 116.0, 104.0], 16)
        np.testing.assert_allclose(distance, kernel.T / size / (2 * share), rtol=0.01)


def test_other_settings_are_taken(digits):
    network = digits[0]
    still = class_model.class_model(
        network, 3, variant="simonyan", steps=2, settings=Settings(learning_rate=0.0, l2=1.0)
    )
    np.testing.assert_allclose(still.images, np.broadcast_to(input_space.gray(SPEC), still.images.shape), atol=1e-5)


def test_panels_are_of_the_photos_classes_or_the_class_asked_for(digits):
    network, images, labels = digits
    shown = np.round(input_space.to_rgb(SPEC, images[:3])).astype(np.uint8)
    photos = tuple(Photo(f"photo{number}", pixels) for number, pixels in enumerate(shown))

    def units(**options):
        return [panel.unit for panel in class_model.panels(InspectionSession(network, steps=2, **options))]

    assert units(photos=photos) == [f"class digit {label}" for label in labels[:3]]
    assert units(photos=photos, class_index=7) == ["class digit 7"]
    assert units() == ["class digit 2", "class digit 7"]
    (panel,) = class_model.panels(InspectionSession(network, class_index=7, steps=5, seed=3))
    assert set(panel.values) == set(class_model.VARIANTS)
    expected = class_model.class_model(network, 7, variant="yosinski_c", steps=5, seed=3)
    np.testing.assert_allclose(panel.values["yosinski_c"], expected.images[0], atol=1e-4)
    logits = network.logits(panel.values["fft"][None])
    assert f"Olah: spectrum, transforms {logits[0, 7]:.3g} " in panel.caption
    assert max(network.trace_counts().values()) <= 2


def test_refusals_are_sentences(digits):
    with pytest.raises(ValueError, match=r"^`variant` must be one of .*\. Received: variant='olah'\.$"):
        class_model.class_model(digits[0], 0, variant="olah")
    with pytest.raises(
        InspectionError,
        match=r"^There is no class 10 in the scores: there are 10, counted from 0\. Choose one within 0\.\.9\.$",
    ):
        class_model.class_model(digits[0], [1, 10], steps=1)
