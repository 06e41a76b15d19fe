"""File names of any text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garden.reports import inspection_names


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("saliency", "", "class tabby cat"), "saliency-class-tabby-cat"),
        (("deconvnet", "backbone/conv1@1", "channel 3"), "deconvnet-backbone-conv1-1-channel-3"),
        (("../../etc/passwd",), "etc-passwd"),
        (("class <script>",), "class-script"),
        (("Tür", "猫"), "Tür-猫"),
        (("...", "/"), "unnamed"),
        (("con",), "_con"),
        (("aux.txt",), "_aux.txt"),
        ((), "unnamed"),
    ],
)
def test_names_say_what_they_can(parts, name):
    assert inspection_names.joined(*parts) == name


@given(st.lists(st.text(max_size=300), max_size=3))
def test_names_are_safe_whatever_the_text(parts):
    name = inspection_names.joined(*parts)
    assert 0 < len(name.encode("utf-8")) <= inspection_names.MAXIMUM_BYTES + 1
    assert not set(name) & set('/\\:*?"<>|\0\n ')
    assert name[0] not in ".-"
    assert ".." not in name


def test_names_differ_where_case_and_composition_do_not_count():
    names = inspection_names.UniqueNames()
    decomposed = unicodedata.normalize("NFD", "Tür")
    given_names = [names.unique(name) for name in ("Cat", "cat", "CAT", "Tür", decomposed, "straße", "STRASSE")]
    assert given_names == ["Cat", "cat-2", "CAT-3", "Tür", f"{decomposed}-2", "straße", "STRASSE-2"]


def test_names_that_are_taken_or_reserved_are_not_handed_out():
    names = inspection_names.UniqueNames(taken={"cat", "cat-2"}.__contains__)
    names.reserve("Index.json")
    assert names.unique("cat") == "cat-3"
    assert names.unique("index.json") == "index.json-2"
