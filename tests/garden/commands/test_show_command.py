"""`garden show`: facts, endpoints, table, JSON, Markdown, picture."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json

import pytest

from garden import architectures
from garden.commands import show_command
from garden.errors import ArchitectureError, UsageError
from garden.reports import network_graph
from garden.summary import summarize


def run(*words):
    parser = argparse.ArgumentParser()
    show_command.add_arguments(parser)
    return show_command.run(parser.parse_args(words))


def test_the_page_of_lenet(capsys):
    assert run("lenet5") == 0
    facts = """\
lenet5
  family           lenet
  year             1998
  source           http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
  task             classify, 10 classes in the original
  pixels           32×32 grey, stretch, bicubic, (x − 20) / 200
  smallest input   32×32
  parameters       61,706 trainable
  multiply-adds    416,520 an image (convolutions and dense layers)
  last map sees    32 pixels, one position every 4
  published error  none
  weights          none in the catalogue; a file of yours can be given
  features         f6_tanh; the head after it: dropout, logits

where it can be cut, in pixels of the input
  endpoint  stride  sees  output
  c1_tanh        1     5  28×28×6
  s2             2     6  14×14×6
  c3_tanh        2    14  10×10×16
  s4             4    16  5×5×16
  c5_tanh        4    32  1×1×120

"""
    printed = capsys.readouterr().out
    note = architectures.get("lenet5").parameter_note
    if note:
        printed = printed.replace(f"; {note}", "")
    assert printed == f"{facts}{summarize(architectures.outline('lenet5'))}\n"


def test_weights_say_where_they_come_from_and_their_licence(capsys):
    assert run("squeezenet1_1") == 0
    page = capsys.readouterr().out
    assert "\n  weights          imagenet: ndf 0.1.4, MIT. The authors' Caffe weights" in page
    assert "\n  pixels           227×227 BGR, crop 0.875, bicubic, (x − [104.006, 116.669, 122.679]) / 1\n" in page
    facts = page.partition("\nlayer ")[0]
    assert max(len(line) for line in facts.splitlines()) <= 110


def test_the_published_error_stands_with_its_table_and_options_with_their_values(capsys):
    assert run("squeezenet1_0") == 0
    assert "published error  42.5 % (top-1, ImageNet validation, one crop), table 2\n" in capsys.readouterr().out
    assert run("resnet18") == 0
    assert "\n  output_stride    32, 16, 8 (an option; the first is what it is built with)\n" in capsys.readouterr().out


def test_another_size_stride_and_number_of_classes(capsys):
    assert run("resnet18", "--input-size", "64", "--output-stride", "8", "--classes", "3") == 0
    page = capsys.readouterr().out
    parameters = architectures.get("resnet18").num_parameters - 997 * (512 + 1)
    assert f"\n  as shown         64×64×3 pixels, {parameters:,} trainable parameters\n" in page
    last = architectures.get("resnet18").endpoints[-1].name
    assert [line.split()[1:2] for line in page.splitlines() if line.startswith(f"  {last} ")] == [["8"]]
    assert page.splitlines()[-3].split()[:3] == ["logits", "Dense", "3"]


def test_json_holds_facts_endpoints_and_layers(capsys):
    assert run("lenet5", "--format", "json") == 0
    page = json.loads(capsys.readouterr().out)
    assert (page["name"], page["year"], page["num_parameters"], page["macs"]) == ("lenet5", 1998, 61_706, 416_520)
    assert page["endpoints"][1] == {"name": "s2", "stride": [2, 2], "receptive_field": [6, 6]}
    assert page["shown"]["input_shape"] == [32, 32, 1]
    assert sum(layer["trainable_parameters"] for layer in page["layers"]) == page["shown"]["parameters"] == 61_706
    assert page["layers"][-1] == {
        "name": "logits",
        "kind": "Dense",
        "output_shape": [10],
        "parameters": 850,
        "trainable_parameters": 850,
        "macs": 840,
        "receptive_field": None,
        "stride": None,
    }


def test_markdown_has_a_table_of_endpoints_and_one_of_layers(capsys):
    assert run("lenet5", "--format", "markdown") == 0
    page = capsys.readouterr().out
    assert page.startswith("# lenet5\n\n- family: lenet\n- year: 1998\n")
    assert "\n| `s2` | 2 | 6 | 14×14×6 |\n" in page
    assert "\n| `c3` | Conv2D | 10×10×16 | 2,416 | 240,000 | 14 | 2 |\n" in page
    assert page.endswith("| `logits` | Dense | 10 | 850 | 840 | all |  |\n")


def test_the_graph_is_drawn_into_a_file(tmp_path, capsys):
    assert run("lenet5", "--graph", str(tmp_path / "lenet.svg")) == 0
    captured = capsys.readouterr()
    assert captured.err == f"The graph is in {tmp_path / 'lenet.svg'}.\n"
    assert captured.out.startswith("lenet5\n")
    picture = (tmp_path / "lenet.svg").read_text(encoding="utf-8")
    assert "c3 (Conv2D): 10×10×16, 2,416 parameters, 240,000 multiply-adds, sees 14×14, stride 2×2" in picture


def test_a_picture_that_cannot_be_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UsageError) as caught:
        run("no_such_network", "--graph", "graph.pdf")
    assert str(caught.value) == "--graph graph.pdf ends in neither .svg nor .png; give it one of these endings."
    missing = tmp_path / "missing"
    with pytest.raises(UsageError) as caught:
        run("no_such_network", "--graph", str(missing / "graph.svg"))
    assert str(caught.value) == (
        f"--graph {missing / 'graph.svg'} cannot be written: there is no directory {missing}. Make it first."
    )


def test_a_picture_where_none_can_be_written_is_refused_in_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(UsageError) as caught:
        run("no_such_network", "--graph", str(tmp_path / "taken.svg"))
    assert str(caught.value) == (
        f"--graph {tmp_path / 'taken.svg'} cannot be written: it is a directory. Give the name of a file."
    )

    def full(graph, path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(network_graph, "write", full)
    with pytest.raises(UsageError) as caught:
        run("lenet5", "--graph", str(tmp_path / "lenet.svg"))
    assert str(caught.value) == (
        f"--graph {tmp_path / 'lenet.svg'} cannot be written: No space left on device. Name another place."
    )


def test_an_ending_in_capital_letters_is_one_too(tmp_path):
    assert run("lenet5", "--graph", str(tmp_path / "LENET.PNG")) == 0
    assert (tmp_path / "LENET.PNG").read_bytes().startswith(b"\x89PNG")
    assert run("lenet5", "--graph", str(tmp_path / "LENET.SVG")) == 0
    assert (tmp_path / "LENET.SVG").read_text(encoding="utf-8").startswith("<svg ")


def test_inverted_pixels_are_called_so():
    spec = dataclasses.replace(architectures.get("lenet5").image_spec, invert=True)
    assert show_command.describe_pixels(spec).startswith("32×32 inverted grey, stretch")


def test_an_unknown_name_gets_its_sentence():
    with pytest.raises(ArchitectureError, match="There is no architecture named 'lenet'. Did you mean lenet5 or "):
        run("lenet")


def test_a_number_of_classes_that_is_none_is_wrong_usage(capsys):
    with pytest.raises(SystemExit):
        run("lenet5", "--classes", "0")
    assert "argument --classes: '0' is not a number of classes, such as 10\n" in capsys.readouterr().err
