"""Effective receptive fields of networks whose field is known on paper."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, effective_fields
from garden.inspection.effective_field import noise


@pytest.fixture(scope="module")
def averaging():
    """Twenty averages of 3×3: the field of n of them is nearly a Gaussian of variance 2n/3."""
    x = image = keras.Input((61, 61, 1))
    for number in range(20):
        x = keras.layers.Conv2D(
            1, 3, padding="same", kernel_initializer=keras.initializers.Constant(1 / 9), name=f"average{number + 1}"
        )(x)
    return InspectedNetwork(keras.Model(image, x))


def test_the_field_of_averages_grows_as_the_root_of_their_number(averaging):
    fields = effective_fields(averaging, ["average5", "average20"], noise(averaging, 2))
    for count in (5, 20):
        # Above 4.55 % of the peak is a disc of radius σ·√(2·ln 22).
        radius = math.sqrt(2 * count / 3) * math.sqrt(-2 * math.log(0.0455))
        assert fields[f"average{count}"].size == pytest.approx(math.sqrt(math.pi) * radius, rel=0.05)
    assert fields["average20"].size / fields["average5"].size == pytest.approx(2, rel=0.1)
    assert fields["average20"].ratio == pytest.approx(fields["average20"].size / 41)
    assert fields["average20"].map[30, 30] == 1


def test_it_is_never_more_than_the_theory(averaging):
    for field in effective_fields(averaging, ["average1", "average2"], noise(averaging, 2)).values():
        assert field.ratio <= 1


def test_dead_layers_and_vectors_are_refused(network_of):
    dead = network_of(
        (9, 9, 3),
        keras.layers.Conv2D(2, 3, bias_initializer=keras.initializers.Constant(-1e6), activation="relu", name="dead"),
        keras.layers.Flatten(name="flat"),
    )
    with pytest.raises(InspectionError, match="^Nothing in these pictures moves the middle of 'dead' of 'small': its"):
        effective_fields(dead, ["dead"], noise(dead, 2))
    with pytest.raises(InspectionError, match=r"^'flat' of 'small' gives no map \(height, width, channels\), so that"):
        effective_fields(dead, ["flat"], noise(dead, 2))


def test_noise_has_a_seed_and_stays_within_the_pixels(averaging):
    pictures = noise(averaging, 3, seed=4)
    np.testing.assert_array_equal(pictures, noise(averaging, 3, seed=4))
    assert np.abs(pictures - noise(averaging, 3, seed=5)).max() > 1
    assert pictures.min() >= 0 and pictures.max() <= 255


def test_slopes_of_opposite_signs_do_not_cancel_out():
    """Of a convolution the field is the sum of its weights' magnitudes over colours, of the sum over its channels."""
    image = keras.Input((7, 7, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same", use_bias=False, name="conv")(image))
    network = InspectedNetwork(model)
    kernel = np.random.default_rng(0).normal(0, 1, (3, 3, 3, 2))
    model.get_layer("conv").kernel.assign(kernel)
    found = effective_fields(network, ["conv"], noise(network, 2))["conv"].map
    expected = np.abs(kernel.sum(axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(found[2:5, 2:5], expected / expected.max(), rtol=1e-5)
    assert np.count_nonzero(found) == 9
