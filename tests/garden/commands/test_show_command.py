"""`garden show`: facts, endpoints, table."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from garden import architectures
from garden.commands import show_command
from garden.errors import ArchitectureError
from garden.summary import summarize


def run(name):
    parser = argparse.ArgumentParser()
    show_command.add_arguments(parser)
    return show_command.run(parser.parse_args([name]))


def test_the_page_of_lenet(capsys):
    assert run("lenet5") == 0
    facts = """\
lenet5
  family          lenet
  source          http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf
  task            classify, 10 classes in the original
  pixels          32×32 grey, stretch, bicubic, (x − 20) / 200
  smallest input  32×32
  parameters      61,706 trainable
  multiply-adds   416,520 an image (convolutions and dense layers)
  last map sees   32 pixels, one position every 4
  top-1 error     not published
  weights         none in the catalogue; a file of yours can be given
  features        f6_tanh; the head after it: dropout, logits

endpoints, where it can be cut (stride)
    1  c1_tanh
    2  s2, c3_tanh
    4  s4, c5_tanh

"""
    assert capsys.readouterr().out == f"{facts}{summarize(architectures.build('lenet5'))}\n"


def test_weights_say_where_they_come_from_and_their_licence(capsys):
    assert run("squeezenet1_1") == 0
    page = capsys.readouterr().out
    assert "\n  weights         imagenet: ndf 0.1.4, MIT. The authors' Caffe weights" in page
    assert "\n  pixels          227×227 BGR, crop 0.875, bicubic, (x − [104.006, 116.669, 122.679]) / 1\n" in page
    assert max(len(line) for line in page.splitlines()) <= 110


def test_inverted_pixels_are_called_so():
    spec = dataclasses.replace(architectures.get("lenet5").image_spec, invert=True)
    assert show_command.describe_pixels(spec).startswith("32×32 inverted grey, stretch")


def test_an_unknown_name_gets_its_sentence():
    with pytest.raises(ArchitectureError, match="There is no architecture named 'lenet'. Did you mean lenet5?"):
        run("lenet")
