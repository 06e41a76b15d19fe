"""Pictures for neurons, channels, layers, directions and sums, on networks whose best pictures are known."""

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork, InspectionSession, input_space, objectives
from garden.inspection.activation_maximization import FFT_SETTINGS, activation_maximization, panels

SPEC = ImageSpec(16, 16, mean=(127.5,) * 3, std=(127.5,) * 3)
# To the end in few steps; plain colours are what a spectrum reaches last.
FAST = {"steps": 100, "settings": FFT_SETTINGS._replace(learning_rate=0.3)}


@pytest.fixture(scope="module")
def colours():
    """Channels 0 to 2 each see one colour less the others; channel 3 sees nothing darker than white; vertical edges."""
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(4, 1, activation="relu", name="colours"),
            keras.layers.Conv2D(1, (1, 2), name="edges"),
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dense(2, name="scores"),
        ]
    )
    kernel = np.full((1, 1, 3, 4), -0.5, np.float32)
    kernel[0, 0, range(3), range(3)] = 1.0
    kernel[0, 0, :, 3] = 1.0 / 3
    model.get_layer("colours").set_weights([kernel, np.float32([0.2, 0.2, 0.2, -0.9])])
    edges = np.zeros((1, 2, 4, 1), np.float32)
    edges[0, :, 0, 0] = -1.0, 1.0
    model.get_layer("edges").set_weights([edges, np.zeros(1, np.float32)])
    model.get_layer("scores").set_weights([np.float32([[1.0, -1.0]]), np.zeros(2, np.float32)])
    return InspectedNetwork(model, SPEC)


def rgb_of(made):
    return input_space.to_rgb(SPEC, made.images)


def test_a_channels_picture_has_the_colour_that_it_looks_for(colours):
    made = activation_maximization(colours, objectives.channel("colours", [0, 1, 2]), **FAST)
    means = rgb_of(made).mean(axis=(1, 2))
    assert means.argmax(axis=-1).tolist() == [0, 1, 2]
    for row in range(3):
        assert means[row, row] > 180
        assert np.delete(means[row], row).max() < 110
    best = 1.0 + 0.5 + 0.5 + 0.2
    assert (made.final > 0.5 * best).all()


@pytest.mark.parametrize("options", [FAST, {"kind": "pixels", "steps": 100}])
def test_a_dead_unit_is_woken(colours, options):
    """It is 0 for every nearly gray picture, and so is its gradient."""
    made = activation_maximization(colours, objectives.channel("colours", 3), **options)
    assert made.values[0, 0] == 0
    assert made.final[0] > 0.02
    assert rgb_of(made).mean() > 170


def test_a_sum_is_both(colours):
    both = objectives.channel("colours", 0) + 0.5 * objectives.channel("colours", 1)
    made = activation_maximization(colours, both, **FAST)
    answers = colours.outputs(made.images, ["colours"])["colours"].mean(axis=(1, 2))[0]
    np.testing.assert_allclose(made.final[0], answers[0] + 0.5 * answers[1], rtol=1e-4)
    difference = activation_maximization(
        colours, objectives.channel("colours", 0) - objectives.channel("colours", 1), **FAST
    )
    red, green, _ = rgb_of(difference).mean(axis=(0, 1, 2))
    assert red > 200
    assert green < 60


@pytest.mark.slow
def test_a_direction_points_where_its_vector_does(colours):
    made = activation_maximization(colours, objectives.direction("colours", [0.0, 1.0, 0.0, 0.0]), **FAST)
    answers = colours.outputs(made.images, ["colours"])["colours"].mean(axis=(1, 2))[0]
    assert answers.argmax() == 1
    assert answers[1] > 10 * np.delete(answers, 1).max()


def test_a_neuron_changes_its_own_place_only(colours):
    made = activation_maximization(
        colours, objectives.unit("colours", 0, 4, 9), kind="pixels", augmented=False, steps=60,
    )  # fmt: skip
    reds = rgb_of(made)[0, ..., 0] - rgb_of(made)[0, ..., 1:].max(axis=-1)
    assert np.unravel_index(reds.argmax(), reds.shape) == (4, 9)
    assert reds[4, 9] > 40


@pytest.mark.slow
def test_a_layer_becomes_large(colours):
    made = activation_maximization(colours, objectives.layer("edges"), steps=60)
    answers = colours.outputs(made.images, ["edges"])["edges"]
    np.testing.assert_allclose(made.final, np.square(answers).mean(axis=(1, 2, 3)), rtol=1e-4)
    assert made.final[0] > 20 * max(made.values[0, 0], 1e-6)


def test_seeds_make_different_pictures_of_one_objective(colours):
    made = activation_maximization(colours, objectives.channel("edges", 0), seed=[1, 2, 1], steps=10)
    np.testing.assert_allclose(made.images[0], made.images[2], atol=1e-4)
    assert np.abs(made.images[0] - made.images[1]).max() > 0.1
    with pytest.raises(
        ValueError, match=r"^`rows`, the objective's indices and the seeds must agree\. Received: rows=3, 2 indices"
    ):
        activation_maximization(colours, objectives.channel("colours", [0, 1]), seed=[1, 2, 1])


def test_panels_show_layers_over_the_depth_or_the_one_asked_for(colours):
    shown = list(panels(InspectionSession(colours, steps=2)))
    assert {panel.layer for panel in shown} >= {"colours"}
    assert all(len(panel.curves[0].y) == 2 for panel in shown)
    (panel,) = panels(InspectionSession(colours, layer="colours", channels=(2, 3), steps=60, seed=5))
    assert panel.unit == "channels 2, 3"
    expected = activation_maximization(colours, objectives.channel("colours", 2), steps=60, seed=5)
    np.testing.assert_allclose(panel.values["channel 2"], expected.images[0], atol=1e-3)
    (quiet,) = panels(InspectionSession(colours, layer="colours", channels=(3,), steps=1))
    assert quiet.note == "Nothing was found that excites channel 3."
    assert max(colours.trace_counts().values()) <= 2


def test_a_channel_that_does_not_exist_is_refused(colours):
    with pytest.raises(
        InspectionError,
        match=r"^There is no channel 4 in 'colours': there are 4, counted from 0\. Choose one within 0\.\.3\.$",
    ):
        list(panels(InspectionSession(colours, layer="colours", channels=(1, 4), steps=1)))
