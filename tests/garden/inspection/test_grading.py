"""Grades: of maps that are known to be right, wrong, or of nothing."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest

from garden import architectures
from garden.inspection import Grade, InspectedNetwork, InspectionSession, Photo, deletion, grading, randomisation
from garden.inspection.methods import METHODS

SHAPE = (28, 28, 3)
saliency = METHODS["saliency"].attribute


def make_network(activation=None):
    """Its first class is the contrast of a window at the top left; the second one's score is 0."""
    image = keras.Input(SHAPE)
    kernel = np.zeros((*SHAPE, 2), np.float32)
    kernel[4:12, 4:12, :, 0] = np.where(np.indices((8, 8)).sum(axis=0) % 2, 1, -1)[..., None] * 4e-4
    x = keras.layers.Dense(2, use_bias=False, activation=activation, name="scores")(keras.layers.Flatten()(image))
    model = keras.Model(image, x)
    model.get_layer("scores").kernel.assign(kernel.reshape(-1, 2))
    return InspectedNetwork(model, labels=("window", "nothing"))


def make_session(network, count=1, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    pattern = np.where(np.indices((8, 8)).sum(axis=0) % 2, 255, 0)[..., None]
    pixels[:, 4:12, 4:12] = pattern
    return InspectionSession(
        network, tuple(Photo(f"{number}", one) for number, one in enumerate(pixels)), class_index=0, **options
    )


@pytest.fixture(scope="module")
def network():
    return make_network()


def grade_of(session, values, **options):
    options = {"attribute": saliency, "complete": False, **options}
    return grading.grade(session, 0, np.asarray(values, np.float32), **options)


@pytest.fixture
def right():
    values = np.zeros(SHAPE[:2])
    values[4:12, 4:12] = 1.0
    return values


def test_a_right_map_beats_chance_and_a_wrong_one_does_not(network, right):
    session = make_session(network)
    good, curves = grade_of(session, right)
    bad, _ = grade_of(session, -right)
    assert good.deletion_auc < good.random_deletion_auc < bad.deletion_auc
    assert good.insertion_auc > bad.insertion_auc
    assert good.random_deletion_auc == bad.random_deletion_auc
    lines = {curve.name: curve for curve in curves}
    probability = network.probabilities(network.logits(session.images))[0, 0]
    for name, line in lines.items():
        assert (line.x[0], line.x[-1]) == (0.0, 1.0)
        ends = line.y[::-1] if name.startswith("shown") else line.y
        assert ends[0] == pytest.approx(probability, rel=1e-4)
    areas = {name: deletion.area(line.x, line.y) for name, line in lines.items()}
    assert areas["hidden in the map's order"] == pytest.approx(good.deletion_auc)
    assert areas["hidden in random order"] == pytest.approx(good.random_deletion_auc)
    assert areas["hidden in the reverse order"] == pytest.approx(bad.deletion_auc, abs=0.02)
    assert lines["hidden along edges first"].y.min() >= 0


def test_chance_is_five_orders_computed_once_for_all_methods(network, right):
    session = make_session(network)
    asked = []
    original = network.logits

    class Counting(InspectedNetwork):
        def __init__(self):
            self.__dict__.update(network.__dict__)

        def logits(self, images, **options):
            asked.append(len(images))
            return original(images, **options)

    session = dataclasses.replace(session, network=Counting())
    grade_of(session, right)
    first = sum(asked)
    asked.clear()
    grade_of(session, right)
    assert first - sum(asked) >= (deletion.RANDOM_RANKINGS + 1) * (deletion.STEPS + 1)
    assert sum(asked) <= 2 * (deletion.STEPS + 1) + 1


def test_completeness_is_against_a_gray_picture(network):
    session = make_session(network)
    complete = METHODS["integrated_gradients"].attribute(network, session.images, session.target)[0]
    exact, _ = grade_of(session, complete, complete=True)
    half, _ = grade_of(session, complete / 2, complete=True)
    assert exact.completeness_gap == pytest.approx(0.0, abs=1e-4)
    assert half.completeness_gap == pytest.approx(0.5, abs=1e-4)
    assert exact.completeness_baseline == "a gray picture"
    assert grade_of(session, complete)[0].completeness_gap is None


def test_the_correlation_is_with_the_map_of_a_network_with_random_weights(network):
    session = make_session(network, seed=3)
    values = saliency(network, session.images, session.target)[0]
    found, _ = grade_of(session, values)
    random = randomisation.RandomNetwork(network, seed=3)
    random.randomise(1.0)
    expected = randomisation.correlation(values, saliency(random.network, session.images, session.target)[0])
    assert found.randomisation_correlation == pytest.approx(expected)
    assert abs(expected) < 0.4


def test_what_does_not_apply_is_none(right):
    """A score that is no logit has no probability; a server has no weights."""
    raw, curves = grade_of(make_session(make_network("relu")), right)
    assert (raw.deletion_auc, raw.random_deletion_auc, raw.insertion_auc, curves) == (None, None, None, ())
    assert raw.randomisation_correlation is not None

    class Server:
        name = "a server"

        def probabilities(self, pixels):
            return np.full((len(pixels), 2), 0.25, np.float32)

    served, _ = grade_of(make_session(make_network(), classifier=Server()), right)
    assert served.randomisation_correlation is None
    assert served.deletion_auc == pytest.approx(0.25)


def test_what_fails_is_said():
    good = Grade(deletion_auc=0.1, random_deletion_auc=0.3, insertion_auc=0.7, randomisation_correlation=0.1)
    assert grading.warning(good) == ""
    assert grading.in_words(good) == (
        "Deletion 0.10 (random 0.30; lower is better), insertion 0.70, correlation with a random network's map 0.10."
    )
    bad = Grade(deletion_auc=0.4, random_deletion_auc=0.3, insertion_auc=0.7, randomisation_correlation=0.8)
    assert grading.warning(bad) == (
        "This map fails a sanity check: hiding the pixels that it ranks first lowers the probability no faster than "
        "random ones (0.40 against 0.30), and the map of a network with random weights is much like it "
        "(correlation 0.80)."
    )
    assert grading.in_words(Grade()) == grading.warning(Grade()) == ""
    assert grading.in_words(Grade(completeness_gap=0.0123)) == "Completeness gap 1.23%."


# Whole photos, and crops of them that show something else.
PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "china.jpg", "flower.jpg")


@pytest.fixture(scope="module")
def real_session(photo, pretrained):
    """SqueezeNet and 20 pictures."""
    spec = architectures.get("squeezenet1_1").image_spec
    network = InspectedNetwork(pretrained("squeezenet1_1"), spec)
    pictures = {}
    for name in PHOTOS:
        pixels = photo(name)
        side = int(0.75 * min(pixels.shape[:2]))
        pictures[name] = pixels
        pictures[f"{name}, top left"] = pixels[:side, :side]
        pictures[f"{name}, bottom right"] = pixels[-side:, -side:]
        if len(pictures) < 8:
            pictures[f"{name}, top right"] = pixels[:side, -side:]
    photos = tuple(
        Photo(name, np.asarray(spec.resize_pixels(pixels)).astype(np.uint8)) for name, pixels in pictures.items()
    )
    return InspectionSession(network, photos)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad_cam", "guided_backprop", "gradient_times_input"])
def test_on_real_photos_deletion_beats_chance(real_session, method):
    attribute = METHODS[method].attribute
    maps = attribute(real_session.network, real_session.images, real_session.target)
    grades = [
        grading.grade(real_session, place, values, attribute=attribute, complete=False)[0]
        for place, values in enumerate(maps)
    ]
    assert len(grades) == 20
    assert np.mean([grade.deletion_auc < grade.random_deletion_auc for grade in grades]) >= 0.9


@pytest.mark.slow
def test_on_real_photos_guided_backpropagation_depends_less_on_the_weights_than_saliency(real_session):
    network, images, target = real_session.network, real_session.images, real_session.target
    found = {}
    for method in ("guided_backprop", "saliency"):
        attribute = METHODS[method].attribute
        random = randomisation.random_maps(real_session.cache, network, images, target, attribute)
        pairs = zip(attribute(network, images, target), random, strict=True)
        found[method] = np.array([randomisation.correlation(one, other) for one, other in pairs])
    # Not for every picture: where a random network is nearly silent, guided ReLUs pass next to nothing.
    guided, plain = found["guided_backprop"], found["saliency"]
    assert (guided > plain).mean() > 0.6
    assert guided.mean() > plain.mean() + 0.1
    assert np.median(guided) > 0.45 > np.median(plain), (guided, plain)
