"""What the line of `garden inspect` chooses: methods by name, group or all."""

import dataclasses

from garden.commands import inspection_choices, inspection_lines
from garden.inspection import METHODS


def test_what_takes_minutes_runs_when_it_is_asked_for(monkeypatch):
    monkeypatch.setitem(METHODS, "saliency", dataclasses.replace(METHODS["saliency"], slow=True))
    by_default, explicit = inspection_choices.chosen_methods(None)
    assert not explicit
    assert "saliency" not in {method.name for method in by_default}
    for word in ("all", "attribution", "saliency"):
        chosen, _ = inspection_choices.chosen_methods([word])
        assert "saliency" in {method.name for method in chosen}
    line = next(line for line in inspection_lines.method_lines() if line.startswith("  saliency "))
    assert line.endswith("Class saliency (needs pictures; slow: runs when it is named)")


def test_names_come_in_the_catalogues_order_and_once():
    chosen, explicit = inspection_choices.chosen_methods(["occlusion,grad-cam", "grad_cam", "saliency"])
    assert explicit
    assert [method.name for method in chosen] == ["saliency", "grad_cam", "occlusion"]
    group, explicit = inspection_choices.chosen_methods(["folder"])
    assert not explicit
    assert {method.group for method in group} == {"folder"}
