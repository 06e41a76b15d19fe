"""`garden list`: a table, JSON, and a choice."""

from __future__ import annotations

import argparse
import json

import pytest

from garden import architectures
from garden.architectures import registry
from garden.commands import list_command
from garden.errors import ArchitectureError


def run(*words):
    parser = argparse.ArgumentParser()
    list_command.add_arguments(parser)
    return list_command.run(parser.parse_args(words))


def test_the_table_of_two(capsys):
    assert run("squeezenet*") == 0
    assert capsys.readouterr().out == (
        "name           year  input      parameters  multiply-adds    error  pretrained\n"
        "─────────────  ────  ─────────  ──────────  ─────────────  ───────  ──────────\n"
        "squeezenet1_0  2016  227×227×3   1,248,424        832.7 M  42.5 %\n"
        "squeezenet1_1  2016  227×227×3   1,235,496        352.5 M           imagenet\n"
    )


def test_every_network_has_a_line(capsys):
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert tuple(line.split()[0] for line in lines[2:] if line and line[0] != "*") == architectures.names()
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("limit", ["61706", "61.706K", "0.061706M", "6.1706e4"])
def test_a_size_chooses_the_largest_that_still_fits(limit, capsys):
    assert run("lenet5", "--max-parameters", limit) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["lenet5"]
    assert run("lenet5", "--max-parameters", "61.705K") == 1


def test_json_says_all_that_the_table_says(capsys):
    assert run("squeezenet1_1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "squeezenet1_1",
            "family": "squeezenet",
            "year": 2016,
            "task": "classify",
            "input_shape": [227, 227, 3],
            "minimum_size": 31,
            "num_classes": 1000,
            "num_parameters": 1_235_496,
            "macs": 352_540_352,
            "published_error": None,
            "options": {},
            "output_stride": 16,
            "pretrained": ["imagenet"],
            "source": "https://arxiv.org/abs/1602.07360",
        }
    ]


def test_nothing_that_fits_is_exit_code_1_and_an_empty_list(capsys):
    assert run("zzz*", "--json") == 1
    assert capsys.readouterr().out == "[]\n"
    assert run("zzz*") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "No network fits; `garden list` prints all.\n")


def test_a_plain_name_that_no_network_has_gets_the_names_that_may_be_meant(capsys):
    with pytest.raises(ArchitectureError) as error:
        run("SqueezeNet1.1")
    assert str(error.value) == (
        "There is no architecture named 'SqueezeNet1.1'. Did you mean squeezenet1_1? `garden list` prints all names."
    )
    # The name is right; it is the filter that nothing fits.
    assert run("squeezenet1_1", "--year", "1980") == 1
    assert capsys.readouterr().err == "No network fits; `garden list` prints all.\n"


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--max-parameters", "small", "'small' is not a number, such as 4000000, 4e6 or 4M"),
        ("--max-macs", "1T", "'1T' is not a number, such as 4000000, 4e6 or 4M"),
        ("--year", "20", "'20' is not a year or a range of years, such as 2014 or 2012-2016"),
        ("--year", "2016-2012", "'2016-2012' is not a year or a range of years, such as 2014 or 2012-2016"),
        ("--input-size", "0", "'0' is not a number of pixels, such as 224"),
        ("--output-stride", "all", "'all' is not a number of pixels, such as 224"),
    ],
)
def test_a_filter_that_is_none_is_wrong_usage(option, value, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        run(option, value)
    assert caught.value.code == 2
    assert f"argument {option}: {sentence}\n" in capsys.readouterr().err


def test_all_filters_reach_the_list(capsys):
    words = "squeezenet* --family squeezenet --task classify --year 2012-2016 --min-parameters 1M --max-macs 1G"
    assert run(*words.split(), "--input-size", "227", "--max-input-size", "300", "--output-stride", "16") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    for more in (["--pretrained"], ["--max-macs", "400M"], ["--max-parameters", "1240K"]):
        assert run(*words.split(), *more) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["squeezenet1_1"]
    assert run(*words.split(), "--year", "2014") == 1


def test_the_orders_are_those_of_the_registry():
    assert list_command._ORDERS == registry.ORDERS


def test_errors_that_count_something_else_have_a_star(capsys):
    assert run("densenet100_cifar") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "4.5 %*" in lines[2]
    # Rounded to one decimal, it would say 0.2.
    assert run("capsnet") == 0
    assert "0.25 %*" in capsys.readouterr().out
    assert lines[-1].startswith("* counted otherwise than top-1, one crop")
