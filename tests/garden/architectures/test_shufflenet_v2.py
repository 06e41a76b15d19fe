"""ShuffleNet V2's table and its passing half; tests/parity compares its answers."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures
from garden.architectures import shufflenet_v2


@pytest.mark.parametrize(
    ("name", "filters", "millions"),
    [
        ("shufflenet_v2_050", (48, 96, 192, 1024), 41),
        ("shufflenet_v2", (116, 232, 464, 1024), 146),
        ("shufflenet_v2_150", (176, 352, 704, 1024), 299),
        ("shufflenet_v2_200", (244, 488, 976, 2048), 591),
    ],
)
def test_maps_and_multiply_adds_are_those_of_table_5(name, filters, millions):
    model = architectures.outline(name)
    places = ("stage2_unit4_shuffle", "stage3_unit8_shuffle", "stage4_unit4_shuffle", "conv5_relu")
    assert [model.get_layer(place).output.shape[1] for place in places] == [28, 14, 7, 7]
    assert tuple(model.get_layer(place).output.shape[-1] for place in places) == filters
    assert architectures.get(name).macs == pytest.approx(millions * 1e6, rel=0.015)


def test_half_of_the_channels_passes_a_unit_untouched_and_becomes_every_other_one():
    model = architectures.build("shufflenet_v2_050", num_classes=2, input_shape=(32, 32, 3))
    before, after = "stage3_unit2_shuffle", "stage3_unit3_shuffle"
    outputs = [model.get_layer(name).output for name in (before, after)]
    pixels = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
    entered, left = (np.asarray(output) for output in keras.Model(model.input, outputs)(pixels))
    assert entered.std() > 0
    np.testing.assert_array_equal(left[..., ::2], entered[..., :48])
    assert not np.allclose(left[..., 1::2], entered[..., 48:])


def test_every_layer_with_weights_has_one_name_of_its_own_in_the_files_of_pytorch():
    model = architectures.outline("shufflenet_v2")
    names = shufflenet_v2._foreign_names(architectures.get("shufflenet_v2").variant)
    assert set(names) == {layer.name for layer in model.layers if layer.weights}
    assert len({theirs for (theirs,) in names.values()}) == len(names)
    assert names["stage2_unit1_left_conv"] == ("stage2.0.branch1.2",)
