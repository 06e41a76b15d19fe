"""What every method of inspection promises: the network stays as it is, one seed gives one result, a batch is its
pictures one by one, a nested network is the flat one, nothing is traced over and over, and an error leaves no trace."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from garden import inspection
from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import METHODS, InspectedNetwork, InspectionSession, Panel, Photo
from garden.inspection.method import GALLERY, PHOTOS

TESTS = Path(__file__).parents[1]
HEIGHT, WIDTH = 28, 36
SPEC = ImageSpec(HEIGHT, WIDTH, mean=(127.5,) * 3, std=(127.5,) * 3, resize="stretch")
LABELS = ("ant", "bee", "cicada", "dragonfly")
STEPS = 3
# No method of these promises a rule, and each says why.
MACHINERY = {
    "adversarial": "attacks; adversarial_panels shows them",
    "adversarial_search": "the loops behind them",
    "attribution_panels": "makes the panels of all attributions",
    "charts": "charts",
    "codes": "what the methods of folders compare",
    "changed_regions": "which part of each map a hidden square can change",
    "changed_windows": "the same as windows to compute",
    "class_scores": "where scores are before they become probabilities",
    "concepts": "pictures with known masks, for dissection",
    "dream_octave": "one size of DeepDream's pictures",
    "effective_field": "what counts of a receptive field",
    "evolution": "filters and patches while a network trains; `garden finetune --watch-filters` shows them",
    "gallery_reader": "pictures of a folder in batches",
    "deletion": "curves of hiding and showing, for all attributions",
    "gradients": "the engine of gradient methods",
    "grading": "grades of attributions",
    "input_space": "bounds of prepared pictures",
    "inspected_network": "a network seen flat",
    "layer_choice": "which layers to show",
    "method": "a type",
    "methods": "the catalogue itself",
    "objectives": "what is explained",
    "occlusion": "the numbers that occlusion_panels shows",
    "occlusion_windows": "where the squares are",
    "operation_reach": "what one operation reads of its input",
    "optimization": "the loop behind all pictures that a network makes",
    "panel": "a type",
    "parametrization": "what that loop changes: pixels or a spectrum",
    "picture_transforms": "what it does to pictures between steps",
    "randomisation": "the check behind every grade; cascade_panels shows it",
    "receptive_field": "what a position can see; receptive_field_panels shows it",
    "relu_rules": "ways back through a ReLU",
    "rendering": "colours",
    "session": "a type",
    "strongest_patches": "the search behind top_patches",
    "tail": "quantiles",
    "unrolled_graph": "the calls of an InspectedNetwork",
}

# Files without a test file of their own, and the one that tests them.
TESTED_WITH = {
    "class_scores": "inspected_network",
    "changed_windows": "changed_regions",
    "occlusion_panels": "occlusion",
    "occlusion_windows": "occlusion",
    "unrolled_graph": "inspected_network",
}


def make_layers() -> tuple[list[Any], list[Any]]:
    """Layers of a small network: those that find things, and those that decide."""
    features = [
        keras.layers.Conv2D(6, 3, padding="same", activation="relu", name="conv1"),
        keras.layers.MaxPooling2D(2, name="pool1"),
        keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv2"),
        keras.layers.BatchNormalization(name="norm2"),
        keras.layers.ReLU(max_value=6.0, name="relu2"),
        keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="conv3"),
    ]
    head = [
        keras.layers.GlobalAveragePooling2D(name="pool"),
        keras.layers.Dense(12, activation="relu", name="hidden"),
        keras.layers.Dense(len(LABELS), name="logits"),
    ]
    return features, head


def make_flat() -> keras.Model:
    keras.utils.set_random_seed(3)
    image = x = keras.Input((HEIGHT, WIDTH, 3))
    for layer in itertools.chain(*make_layers()):
        x = layer(x)
    model = keras.Model(image, x, name="flat")
    model.get_layer("logits").kernel.assign(model.get_layer("logits").kernel * 8.0)
    return model


def make_nested(flat: keras.Model) -> keras.Model:
    """The same network: a functional backbone inside, a Sequential head, probabilities at the end."""
    features, head = make_layers()
    head[-1] = keras.layers.Dense(len(LABELS), activation="softmax", name="logits")
    inner = x = keras.Input((HEIGHT, WIDTH, 3))
    for layer in features:
        x = layer(x)
    image = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(
        image, keras.Sequential(head, name="head")(keras.Model(inner, x, name="backbone")(image)), name="nested"
    )
    model.set_weights(flat.get_weights())
    return model


def make_pixels(number: int, label: int) -> np.ndarray:
    """A picture with a bright shape whose colour and place tell its class."""
    chance = np.random.default_rng(100 * number + label)
    pixels = chance.integers(60, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    top, left = int(chance.integers(0, HEIGHT - 12)), int(chance.integers(0, WIDTH - 12))
    colour = [(230, 40, 40), (40, 230, 40), (40, 60, 240), (240, 240, 40)][label]
    pixels[top : top + 12, left : left + 12] = colour
    return pixels


@dataclasses.dataclass(frozen=True)
class SmallGallery:
    names: Sequence[str]
    labels: Sequence[int | None]
    groups: Sequence[str]
    images: np.ndarray

    def pixels(self, start: int, stop: int) -> np.ndarray:
        return self.images[start:stop]


def make_gallery() -> SmallGallery:
    labels = [number % len(LABELS) for number in range(24)]
    return SmallGallery(
        names=tuple(f"picture{number}" for number in range(24)),
        labels=tuple(labels),
        groups=tuple(LABELS[label] for label in labels),
        images=np.stack([make_pixels(number, label) for number, label in enumerate(labels)]),
    )


PHOTO_A = Photo("a", make_pixels(50, 0))
PHOTO_B = Photo("b", make_pixels(51, 2))
BACKBONE = re.compile(r"(backbone|head)[./]")


def make_session(network: InspectedNetwork, photos: Sequence[Photo] = (PHOTO_A, PHOTO_B)) -> InspectionSession:
    return InspectionSession(network, tuple(photos), gallery=make_gallery(), steps=STEPS, seed=7)


def show(method: str, session: InspectionSession) -> dict[str, Panel]:
    panels = list(METHODS[method].panels(session))
    by_tag = {BACKBONE.sub("", panel.tag): panel for panel in panels}
    assert len(by_tag) == len(panels), "two panels share a tag"
    return by_tag


def assert_equal(first: dict[str, Panel], second: dict[str, Panel], *, tolerance: float) -> None:
    """Same panels, and in them the same numbers, as far as `tolerance` of their size."""
    assert list(first) == list(second)
    for tag, panel in first.items():
        other = second[tag]
        assert list(panel.values) == list(other.values), tag
        for name, value in panel.values.items():
            left, right = np.asarray(value), np.asarray(other.values[name])
            assert left.shape == right.shape, (tag, name)
            if left.dtype.kind in "fc":
                finite = left[np.isfinite(left)]
                size = float(np.abs(finite).max()) if finite.size else 0.0
                np.testing.assert_allclose(
                    left, right, rtol=0, atol=tolerance * max(size, 1e-6), err_msg=f"{tag} {name}"
                )
            elif left.dtype.kind in "US":
                without = np.vectorize(lambda text: BACKBONE.sub("", str(text)), otypes=[object])
                assert (without(left) == without(right)).all(), (tag, name)
            else:
                np.testing.assert_array_equal(left, right, err_msg=f"{tag} {name}")


@dataclasses.dataclass
class Shown:
    """What a method showed, once for all tests of it."""

    name: str
    model: keras.Model
    network: InspectedNetwork
    weights_before: list[np.ndarray]
    config_before: str
    nodes_before: list[int]
    panels: dict[str, Panel]


@pytest.fixture(scope="module", params=sorted(METHODS))
def shown(request: pytest.FixtureRequest) -> Shown:
    model = make_flat()
    weights = [weight.copy() for weight in model.get_weights()]
    config, nodes = model.to_json(), [len(layer._inbound_nodes) for layer in model.layers]
    network = InspectedNetwork(model, SPEC, labels=LABELS)
    return Shown(request.param, model, network, weights, config, nodes, show(request.param, make_session(network)))


def test_panels_are_what_the_writers_take(shown: Shown) -> None:
    assert shown.panels
    needs_photos = PHOTOS in METHODS[shown.name].needs
    for tag, panel in shown.panels.items():
        assert panel.method == shown.name
        assert tag.startswith("garden/")
        assert panel.pixels.dtype == np.uint8
        assert panel.pixels.ndim in (3, 4)
        assert panel.pixels.shape[-1] == 3
        assert panel.caption.strip()
        assert panel.values
        assert all(np.asarray(value).dtype != object for value in panel.values.values())
        if "map" in panel.values:
            assert panel.values["map"].ndim == 2
        assert (panel.image in ("a", "b")) == needs_photos or panel.image in ("", "a", "b")
    if needs_photos and GALLERY not in METHODS[shown.name].needs:
        assert {panel.image for panel in shown.panels.values()} >= {"a", "b"}


def test_the_network_is_left_as_it_was(shown: Shown) -> None:
    for before, after in zip(shown.weights_before, shown.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert shown.model.to_json() == shown.config_before
    assert [len(layer._inbound_nodes) for layer in shown.model.layers] == shown.nodes_before
    x = keras.Variable(np.array([-1.0, 2.0], np.float32))
    with tf.GradientTape() as tape:
        y = tf.nn.relu(x.value) * -3.0
    np.testing.assert_array_equal(tape.gradient(y, x.value), [0.0, -3.0])


def test_the_same_seed_gives_the_same_result_without_tracing_again(shown: Shown) -> None:
    assert_equal(shown.panels, show(shown.name, make_session(shown.network)), tolerance=1e-6)
    for key, count in shown.network.trace_counts().items():
        assert count <= 2, key


def test_a_batch_is_its_pictures_one_by_one(shown: Shown) -> None:
    if PHOTOS not in METHODS[shown.name].needs:
        pytest.skip("not about single pictures")
    alone = show(shown.name, make_session(shown.network, [PHOTO_B]))
    both = {tag: panel for tag, panel in shown.panels.items() if panel.image == "b"}
    common = [tag for tag in both if tag in alone]
    assert common
    assert_equal({tag: both[tag] for tag in common}, {tag: alone[tag] for tag in common}, tolerance=1e-4)
    for key, count in shown.network.trace_counts().items():
        assert count <= 2, key


def test_a_nested_network_is_the_flat_one(shown: Shown) -> None:
    nested = InspectedNetwork(make_nested(shown.model), SPEC, labels=LABELS)
    assert_equal(shown.panels, show(shown.name, make_session(nested)), tolerance=1e-4)


class FailingNetwork(InspectedNetwork):
    """Breaks down after some runs, as a full memory would."""

    runs_left = 10**9

    def run(self, *arguments: Any, **options: Any) -> dict[str, tf.Tensor]:
        self.runs_left -= 1
        if self.runs_left < 0:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
        return super().run(*arguments, **options)


def test_after_an_error_everything_is_as_before(shown: Shown) -> None:
    failing = FailingNetwork(shown.model, SPEC, labels=LABELS)
    failing.shape_of("logits")
    failing.runs_left = 0
    graph_before = tf.compat.v1.get_default_graph().__class__
    # Methods that only look at weights or shapes run nothing.
    with contextlib.suppress(tf.errors.ResourceExhaustedError):
        show(shown.name, make_session(failing))
        assert shown.name in ("first_layer_filters",)
    for before, after in zip(shown.weights_before, shown.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert tf.compat.v1.get_default_graph().__class__ is graph_before
    assert [len(layer._inbound_nodes) for layer in shown.model.layers] == shown.nodes_before


def test_what_cannot_apply_says_so_in_one_sentence(shown: Shown) -> None:
    """A network without maps, positions or ReLUs: every method either works on it, or refuses in a sentence."""
    image = keras.Input((HEIGHT, WIDTH, 3))
    x = keras.layers.Dense(5, activation="tanh", name="hidden")(keras.layers.Flatten(name="flat")(image))
    model = keras.Model(image, keras.layers.Dense(len(LABELS), name="logits")(x), name="blind")
    network = InspectedNetwork(model, SPEC, labels=LABELS)
    try:
        panels = show(shown.name, make_session(network, [PHOTO_A]))
    except InspectionError as error:
        sentence = str(error)
        assert sentence.endswith(".")
        assert "\n" not in sentence
        assert len(sentence) > 60
    else:
        assert panels or PHOTOS not in METHODS[shown.name].needs


def test_every_method_file_is_in_the_catalogue_and_tested() -> None:
    folder = Path(inspection.__file__).parent
    modules = {method.panels.__module__.rpartition(".")[2] for method in METHODS.values()}
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (TESTS / "garden" / "inspection").glob("test_*.py")}
    without_entry = files - modules - set(MACHINERY)
    assert without_entry == set()
    assert files - tests - {"method", "methods", "panel", "session"} == set(TESTED_WITH)
    assert set(TESTED_WITH.values()) <= tests


def test_every_public_name_is_documented() -> None:
    for name in inspection.__all__:
        thing = getattr(inspection, name)
        if callable(thing):
            assert (thing.__doc__ or "").strip().endswith((".", "`", ")")), name


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_is_described(name: str) -> None:
    method = METHODS[name]
    assert method.name == name
    assert method.title
    assert method.source
    assert method.about.endswith(".")
    assert method.group != "attribution" or method.attribute is not None or method.black_box
