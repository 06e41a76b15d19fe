"""The catalogue: names, patterns, close matches."""

from __future__ import annotations

import dataclasses
import re
import sys
import types
from pathlib import Path

import pytest

from garden import architectures
from garden.architectures import registry
from garden.errors import ArchitectureError
from garden.summary import summarize


def test_names_are_sorted_and_hold_the_first_four_families():
    names = architectures.names()
    assert list(names) == sorted(names)
    assert {"efficientnet_lite0", "squeezenet1_1", "mobilenet_v2", "lenet5"} <= set(names)


def test_a_pattern_a_task_and_a_size_choose():
    assert architectures.list_architectures("squeezenet*") == ["squeezenet1_0", "squeezenet1_1"]
    assert architectures.list_architectures("squeezenet*", max_parameters=1_235_496) == ["squeezenet1_1"]
    assert architectures.list_architectures("squeezenet*", max_parameters=1_235_495) == []
    assert architectures.list_architectures("lenet5", task="classify") == ["lenet5"]
    assert architectures.list_architectures("lenet5", task="detect") == []


def test_an_unknown_name_gets_the_close_ones():
    with pytest.raises(ArchitectureError) as caught:
        architectures.get("mobilenetv2")
    assert str(caught.value) == (
        "There is no architecture named 'mobilenetv2'. Did you mean mobilenet_v2 or mobilenet_v2_140 or "
        "mobilenet_v2_130? `garden list` prints all names."
    )


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(ArchitectureError) as caught:
        architectures.describe("zzz")
    assert str(caught.value) == "There is no architecture named 'zzz'. `garden list` prints all names."


def test_a_taken_name_cannot_be_registered_again():
    add = registry.architecture(
        {"lenet5": architectures.get("lenet5").variant},
        source="",
        image_spec=architectures.get("lenet5").image_spec,
        endpoints=lambda variant: (),
        features_layer="",
        head_layers=(),
        minimum_size=1,
    )
    with pytest.raises(ValueError, match="already taken"):
        add(lambda variant, pixels, *, num_classes, dropout_rate: pixels)


def test_pretrained_names_come_from_the_sources():
    assert architectures.get("squeezenet1_1").pretrained == ("imagenet",)
    assert architectures.get("squeezenet1_0").pretrained == ()


def test_grey_pixels_are_scaled_by_the_average_of_the_channels():
    spec = architectures.get("squeezenet1_1").image_spec_for((100, 120, 1))
    assert spec.input_shape == (100, 120, 1)
    assert spec.mean == (pytest.approx((104.006 + 116.669 + 122.679) / 3),)
    assert spec.std == (1.0,)


def test_colour_pixels_of_a_grey_network_are_scaled_alike():
    entry = architectures.get("lenet5")
    assert entry.image_spec_for((32, 32, 3)) == dataclasses.replace(
        entry.image_spec, channels=3, mean=(20.0,) * 3, std=(200.0,) * 3
    )


def test_four_channels_have_no_image_spec():
    with pytest.raises(ArchitectureError) as caught:
        architectures.get("lenet5").image_spec_for((32, 32, 4))
    assert str(caught.value) == (
        "lenet5 with 4 input channels has no ImageSpec: pictures are prepared with 1 or 3 channels. "
        "Prepare the pixels yourself, or build the network with 3 channels."
    )


def test_the_family_of_the_how_to_is_true(monkeypatch):
    page = Path(__file__).parents[3] / "docs/how-to/add-an-architecture.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    module = types.ModuleType("garden.architectures.tinynet")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)
    entry, summary = architectures.get("tinynet8"), summarize(architectures.build("tinynet8"))
    assert entry.family == "tinynet"
    assert (summary.trainable_parameters, summary.macs) == (entry.num_parameters, entry.macs)
    assert [summary.row(endpoint.name).stride[0] for endpoint in entry.endpoints] == [2, 4]
    assert architectures.build("tinynet8", num_classes=None).output_shape == (None, 8)
