"""`garden list`: a table, JSON, and a choice."""

from __future__ import annotations

import argparse
import json

import pytest

from garden import architectures
from garden.commands import list_command


def run(*words):
    parser = argparse.ArgumentParser()
    list_command.add_arguments(parser)
    return list_command.run(parser.parse_args(words))


def test_the_table_of_two(capsys):
    assert run("squeezenet*") == 0
    assert capsys.readouterr().out == (
        "name           input      parameters  multiply-adds  top-1 error  pretrained\n"
        "─────────────  ─────────  ──────────  ─────────────  ───────────  ──────────\n"
        "squeezenet1_0  227×227×3   1,248,424        832.7 M       42.5 %\n"
        "squeezenet1_1  227×227×3   1,235,496        352.5 M               imagenet\n"
    )


def test_every_network_has_a_line(capsys):
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert tuple(line.split()[0] for line in lines[2:]) == architectures.names()
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("limit", ["61706", "61.706K", "0.061706M", "6.1706e4"])
def test_a_size_chooses_the_largest_that_still_fits(limit, capsys):
    assert run("--max-parameters", limit) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["lenet5"]


def test_json_says_all_that_the_table_says(capsys):
    assert run("squeezenet1_1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "squeezenet1_1",
            "family": "squeezenet",
            "task": "classify",
            "input_shape": [227, 227, 3],
            "num_classes": 1000,
            "num_parameters": 1_235_496,
            "macs": 352_540_352,
            "published_error": None,
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


def test_a_size_that_is_no_number_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        run("--max-parameters", "small")
    assert caught.value.code == 2
    assert "'small' is not a number of parameters, such as 4000000, 4e6 or 4M" in capsys.readouterr().err
