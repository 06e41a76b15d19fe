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


def chosen(**filters):
    return architectures.list_architectures("*squeezenet*", **filters)


def test_filters_choose_what_fits_all_of_them():
    both = ["squeezenet1_0", "squeezenet1_1"]
    assert chosen(family="squeezenet") == chosen(year=2016) == chosen(year=(2015, 2016)) == both
    assert chosen(year=2015) == chosen(year=(2017, 2018)) == chosen(family="lenet") == []
    assert chosen(min_parameters=1_248_424) == chosen(min_parameters=1_235_497) == ["squeezenet1_0"]
    assert chosen(max_macs=352_540_352) == ["squeezenet1_1"]
    assert chosen(max_macs=352_540_351) == []
    assert chosen(input_size=227) == chosen(max_input_size=227) == both
    assert chosen(input_size=228) == chosen(max_input_size=226) == []
    assert chosen(pretrained=True) == ["squeezenet1_1"]
    assert chosen(pretrained=False, max_parameters=2e6) == ["squeezenet1_0"]
    assert chosen(output_stride=16) == both
    assert chosen(output_stride=32) == []


def test_an_option_makes_a_network_fit_an_output_stride():
    for stride in (8, 16, 32):
        assert "resnet50" in architectures.list_architectures("resnet*", output_stride=stride)
    assert architectures.list_architectures("resnet*", output_stride=64) == []


def test_a_list_can_be_sorted():
    def squeezed(sort):
        return architectures.list_architectures("squeezenet*", sort=sort)

    # Of squeezenet1_1 no error is published, and what is not known comes last.
    assert squeezed("name") == squeezed("year") == squeezed("error") == ["squeezenet1_0", "squeezenet1_1"]
    assert squeezed("parameters") == squeezed("macs") == ["squeezenet1_1", "squeezenet1_0"]
    names = architectures.list_architectures(sort="error")
    usual = [error.is_usual for error in (architectures.get(name).published_error for name in names) if error]
    assert usual == sorted(usual, reverse=True)


def test_a_filter_that_is_none_gets_its_sentence():
    with pytest.raises(ArchitectureError) as caught:
        architectures.list_architectures(family="squeezenets")
    assert str(caught.value).startswith("There is no family named 'squeezenets'. Did you mean squeezenet")
    with pytest.raises(ValueError) as caught:
        architectures.list_architectures(sort="size")
    assert str(caught.value) == (
        "`sort` must be one of 'name', 'year', 'parameters', 'macs', 'error'. Received: sort='size'."
    )
    with pytest.raises(ValueError) as caught:
        architectures.list_architectures(year=(2016, 2012))
    assert str(caught.value) == "`year` must be a year or two in their order. Received: year=(2016, 2012)."


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("mobilenetv2", "Did you mean mobilenet_v2?"),
        ("MobileNet-V2", "Did you mean mobilenet_v2?"),
        ("ResNet50", "Did you mean resnet50?"),
        ("resnet-50", "Did you mean resnet50?"),
        ("vgg 16", "Did you mean vgg16?"),
        ("DenseNet-121", "Did you mean densenet121?"),
        ("squeezenet", "Did you mean squeezenet1_0 or squeezenet1_1?"),
        ("SqueezeNet 1.1", "Did you mean squeezenet1_1?"),
        (
            "densenet",
            "densenet is a family of densenet100_cifar, densenet121, densenet161, densenet169, densenet201.",
        ),
    ],
)
def test_an_unknown_name_gets_the_right_ones(written, hint):
    with pytest.raises(ArchitectureError) as caught:
        architectures.get(written)
    assert str(caught.value) == (f"There is no architecture named {written!r}. {hint} `garden list` prints all names.")


def test_of_a_large_family_the_first_names_are_told():
    with pytest.raises(ArchitectureError, match=r"shufflenet is a family of shufflenet_g1, .*_g2_050 and 11 more\. "):
        architectures.get("ShuffleNet")


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(ArchitectureError) as caught:
        architectures.describe("zzz")
    assert str(caught.value) == "There is no architecture named 'zzz'. `garden list` prints all names."


def test_a_taken_name_cannot_be_registered_again():
    add = registry.architecture(
        {"lenet5": architectures.get("lenet5").variant},
        source="",
        year=1998,
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
    assert (entry.family, entry.year, entry.published_error.per_cent) == ("tinynet", 2026, 40.0)
    assert (summary.trainable_parameters, summary.macs) == (entry.num_parameters, entry.macs)
    assert [summary.row(endpoint.name).stride[0] for endpoint in entry.endpoints] == [2, 4]
    assert architectures.build("tinynet8", num_classes=None).output_shape == (None, 8)
    dense = summarize(architectures.outline("tinynet8", output_stride=2))
    assert dense.row("conv2_relu").stride == (2, 2)
    assert dense.row("conv2_relu").receptive_field == summary.row("conv2_relu").receptive_field
