"""The catalogue page: a row a network, a section a family, and known to be stale when it is."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from garden import architectures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script, with the docs elsewhere, three networks and what one of them sees."""
    spec = importlib.util.spec_from_file_location("write_catalogue", ROOT / "scripts" / "write_catalogue.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    for name in ("PAGE", "FIELDS", "PARITY"):
        monkeypatch.setattr(module, name, tmp_path / getattr(module, name).name)
    monkeypatch.setattr(architectures, "names", lambda: ("lenet5", "squeezenet1_0", "squeezenet1_1"))
    rows = [{"architecture": "squeezenet1_0", "oracle": "another (else 1.0)", "difference": 4.6e-7}]
    module.PARITY.write_text(json.dumps(rows), encoding="utf-8")
    return module


def test_a_network_has_a_row_with_its_error_and_who_it_was_compared_with(script):
    assert script.main([]) == 0
    lines = script.PAGE.read_text(encoding="utf-8").splitlines()
    assert (
        "| [`squeezenet1_0`](#squeezenet) | 2016 | 227×227×3 | 1,248,424 | 832,667,936 | 42.5 %, table 2 |  "
        "| another (else 1.0): 5e-07 |"
    ) in lines
    assert any(line.startswith("| [`squeezenet1_1`](#squeezenet) ") and "|  | imagenet |  |" in line for line in lines)


def test_a_family_has_its_facts_once_and_whose_they_are_where_they_differ(script):
    assert script.main([]) == 0
    page = script.PAGE.read_text(encoding="utf-8")
    section = page.partition("\n## squeezenet\n")[2]
    assert section.count("- features: `fire9_concat`; head: `dropout9`, `conv10`, `conv10_relu`, `logits`\n") == 1
    assert "- pixels of `squeezenet1_0`: 227×227 BGR" in section
    assert "\n`squeezenet1_1`:\n\n- stride 2: `conv1_relu` (3)\n- stride 4: `pool1` (7), `fire2_concat` (15)" in section


def test_fields_that_are_known_are_not_measured_again_unless_asked_for(script, monkeypatch):
    assert script.main([]) == 0
    known = json.loads(script.FIELDS.read_text(encoding="utf-8"))
    assert known["lenet5"] == {"c1_tanh": "5", "s2": "6", "c3_tanh": "14", "s4": "16", "c5_tanh": "32"}
    measured = []
    monkeypatch.setattr(script, "_measured", lambda name: measured.append(name) or known[name])
    script.FIELDS.write_text(json.dumps({**known, "lenet5": {"c1": "5"}}), encoding="utf-8")
    assert script.main(["--check"]) == 1
    assert script.main([]) == 0
    assert measured == ["lenet5"]
    assert script.main(["--check"]) == 0
    assert script.main(["--measure"]) == 0
    assert measured == ["lenet5", "lenet5", "squeezenet1_0", "squeezenet1_1"]


def test_a_page_that_differs_is_stale(script, capsys):
    assert script.main([]) == script.main(["--check"]) == 0
    script.PARITY.write_text("[]", encoding="utf-8")
    assert script.main(["--check"]) == 1
    assert capsys.readouterr().err == "catalogue.md is stale; run `scripts/check --fix` and commit it.\n"
