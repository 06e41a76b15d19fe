"""A panel's place, written into its description and read back."""

import numpy as np
import pytest

from garden.inspection.panel import Grade, Panel
from garden.reports import inspection_descriptions


def make_panel(**changes):
    facts = {
        "method": "saliency",
        "image": "chelsea",
        "layer": "",
        "unit": "class tabby",
        "pixels": np.zeros((2, 2, 3), np.uint8),
        "values": {},
        "caption": "What speaks for it.",
        **changes,
    }
    return Panel(**facts)


@pytest.mark.parametrize(
    "parts",
    [
        {"image": "chelsea", "method": "saliency", "layer": "", "unit": "class tabby"},
        {"image": "", "method": "filters", "layer": "backbone/conv1@1", "unit": ""},
        {"image": "a_b*c|[d]`", "method": "m", "layer": "x\\y", "unit": "class <b>&amp; _c_</b>"},
        {"image": "", "method": "filters", "layer": "", "unit": ""},
    ],
)
def test_a_place_is_read_back_as_it_was(parts):
    panel = make_panel(**parts)
    text = inspection_descriptions.description(panel)
    place, rest = inspection_descriptions.place(panel.tag, text)
    assert place == parts
    assert rest == "What speaks for it."


def test_captions_notes_and_grades_come_first():
    panel = make_panel(note="Beware.", grade=Grade(insertion_auc=0.5))
    _, rest = inspection_descriptions.place(panel.tag, inspection_descriptions.description(panel))
    assert rest.split("\n\n") == [
        "What speaks for it.",
        "**Note:** Beware.",
        "**insertion AUC 0.50.** Area under the probability while the pixels that the map ranks first are shown "
        "first; large is good.",
    ]


def test_a_caption_that_looks_like_a_place_is_a_caption():
    panel = make_panel(caption="x\n\n- unit: another")
    place, rest = inspection_descriptions.place(panel.tag, inspection_descriptions.description(panel))
    assert place["unit"] == "class tabby"
    assert "unit: another" in rest


@pytest.mark.parametrize(
    ("tag", "place"),
    [
        ("garden/cat/saliency", {"image": "cat", "method": "saliency", "layer": "", "unit": ""}),
        ("garden/a/b/c/d/e", {"image": "a", "method": "b", "layer": "c", "unit": "d/e"}),
    ],
)
def test_pictures_that_others_wrote_have_the_place_of_their_tag(tag, place):
    assert inspection_descriptions.place(tag, "Just *text*.") == (place, "Just *text*.")
