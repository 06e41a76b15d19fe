"""The report: what its file holds, and how it behaves in a browser."""

import dataclasses
import json
import re

import numpy as np
import pytest

from garden.inspection import rendering
from garden.inspection.panel import Curve, Grade, Panel
from garden.reports.inspection_files import InspectionWriter

CHANCE = np.random.default_rng(0)
PHOTO = CHANCE.integers(0, 256, (64, 64, 3), dtype=np.uint8)
MAP = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
# What would run, if anything were taken for markup.
EVIL = '</script><img src=x onerror="document.title=`taken`"><script>document.title="taken"</script>'


@dataclasses.dataclass(frozen=True)
class Explained:
    """What a page asks of a method."""

    title: str
    group: str
    about: str
    source: str


METHODS = {
    "saliency": Explained(
        "Class saliency", "attribution", "How much each pixel counts.", "A paper, https://a.b/c; another, https://d.e/f"
    ),
    "dream": Explained("DeepDream", "synthesis", "What it sees.", "A page, javascript:alert(1)"),
    "filters": Explained("Filters", "network", "What comes first.", "A book"),
}


def panels():
    for image in ("cat", "dog"):
        units = ("class tabby", f"class {EVIL}") if image == "cat" else ("class tabby",)
        for place, unit in enumerate(units):
            values = MAP if place == 0 else -MAP + 0.5
            yield Panel(
                method="saliency",
                image=image,
                layer="",
                unit=unit,
                pixels=rendering.overlay(PHOTO, values, signed=place == 1),
                values={"map": values},
                caption=f"A caption {EVIL}",
                note=f"Fails a test {EVIL}",
                input_pixels=PHOTO,
                grade=Grade(deletion_auc=0.12, random_deletion_auc=0.45, randomisation_correlation=0.9),
                curves=(Curve("deletion", np.linspace(0, 1, 5), np.array([1, 0.5, np.nan, 0.1, 0.0])),),
                signed=place == 1,
            )
        yield Panel("dream", image, "block/conv3", "", np.stack([PHOTO] * 2), {}, "Moves.", input_pixels=PHOTO)
    for unit in ("channel 1", "channel 2"):
        yield Panel("filters", "", "conv1", unit, np.zeros((300, 500, 3), np.uint8), {"kernel": MAP}, "Filters.")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    directory = tmp_path_factory.mktemp("report")
    facts = {"network": f"tiny {EVIL}"}
    with InspectionWriter(directory, title=f"Tiny {EVIL}", network_facts=facts, methods=METHODS) as writer:
        for panel in panels():
            writer.add(panel)
    return writer.report_path


def stored(page, name):
    return json.loads(re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page)[1])


def test_the_page_names_no_other_file(report):
    page = report.read_text(encoding="utf-8")
    assert not re.search(r"<(?:link|iframe|object|embed|base)\b", page)
    assert not re.search(r"<(?:script|img)[^>]*\bsrc=", page)
    assert "@import" not in page
    assert "url(" not in page


def test_an_input_is_stored_once(report):
    page = report.read_text(encoding="utf-8")
    assert len(re.findall(r'id="input-\d+"', page)) == 1
    assert len(re.findall(r'id="detail-\d+"', page)) == 7
    assert [panel["input"] for panel in stored(page, "inspection")["panels"]] == [0] * 5 + [None] * 2


def test_the_page_says_how_each_picture_is_drawn(report):
    drawings = [panel["drawing"] for panel in stored(report.read_text(encoding="utf-8"), "inspection")["panels"]]
    assert drawings == ["overlay", "overlay", "picture", "overlay", "picture", "picture", "picture"]


def test_what_is_no_number_is_a_gap_of_the_curve(report):
    assert stored(report.read_text(encoding="utf-8"), "detail-0")["curves"] == [
        {"name": "deletion", "x": [0, 0.25, 0.5, 0.75, 1], "y": [1, 0.5, None, 0.1, 0]}
    ]


def test_the_overview_has_a_card_for_each_picture_and_method(report, chromium):
    chromium.open(report.as_uri())
    assert chromium.evaluate("[...document.querySelectorAll('.card b')].map(b => b.textContent)") == [
        "Class saliency",
        "DeepDream",
        "Class saliency",
        "DeepDream",
        "Filters",
    ]
    assert chromium.evaluate("[...document.querySelectorAll('section h2 span')].map(s => s.firstChild.data)") == [
        "cat",
        "dog",
        "The network",
    ]
    chromium.wait_for("[...document.querySelectorAll('.card img')].every(picture => picture.naturalWidth > 0)")
    assert chromium.requests_elsewhere() == []
    assert chromium.problems == []


def test_a_tall_picture_makes_no_tall_card(tmp_path, chromium):
    with InspectionWriter(tmp_path, title="Tall", network_facts={}, methods=METHODS) as writer:
        writer.add(Panel("filters", "", "conv1", "", np.zeros((900, 60, 3), np.uint8), {}, "Filters."))
    chromium.open(writer.report_path.as_uri())
    width, height = chromium.evaluate(
        "(({ width, height }) => [width, height])(document.querySelector('.card .thumbnail').getBoundingClientRect())"
    )
    assert height == pytest.approx(width, abs=1)


def test_nothing_that_is_written_in_it_runs(report, chromium):
    for address in ("", "#image=cat&method=saliency", f"#image={EVIL}"):
        chromium.open(report.as_uri() + address)
        assert chromium.evaluate("document.title") == f"Tiny {EVIL}"
        assert chromium.evaluate("document.querySelectorAll('[onerror]').length") == 0
        assert chromium.evaluate("[...document.links].every(link => /^(https|file):/.test(link.href))")
        assert chromium.problems == []


def test_a_script_that_got_in_would_be_stopped(report, chromium):
    chromium.open(report.as_uri())
    chromium.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.taken = 1'}))"
    )
    assert chromium.evaluate("window.taken") is None
    assert any("Content Security Policy" in problem for problem in chromium.problems)


def test_an_address_opens_what_it_names(report, chromium):
    chromium.open(report.as_uri() + "#image=dog&method=dream&layer=block%2Fconv3")
    assert chromium.text(".about h1") == "DeepDream"
    assert chromium.text(".about .place") == "dog · block/conv3"
    assert chromium.evaluate("document.querySelector('.overview').hidden")


def test_selectors_and_keys_choose_and_the_address_follows(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=saliency&unit=class+tabby")
    chromium.press("ArrowDown")
    assert chromium.evaluate("location.hash") == "#image=dog&method=saliency&unit=class+tabby"
    chromium.press("ArrowRight")
    assert chromium.text(".about h1") == "DeepDream"
    chromium.press("ArrowRight")
    chromium.press("ArrowUp")
    chromium.press(".")
    assert EVIL in chromium.evaluate("document.querySelector('#choose-unit').value")
    chromium.choose("#choose-image", "")
    assert chromium.evaluate("location.hash") == "#method=filters&layer=conv1&unit=channel+1"
    chromium.press("o")
    assert chromium.evaluate("location.hash") == ""
    chromium.evaluate("history.back()")
    chromium.wait_for("location.hash === '#method=filters&layer=conv1&unit=channel+1'")
    chromium.wait_for("!document.querySelector('.detail').hidden")
    assert chromium.problems == []


def test_another_value_keeps_as_much_of_the_rest_as_there_is(report, chromium):
    chromium.open(report.as_uri())
    places = chromium.evaluate(
        """(() => {
            const entry = (image, layer, unit) => ({image, layer, unit});
            const entries = [entry("cat", "a", "1"), entry("cat", "b", "1"), entry("cat", "b", "2"),
                             entry("dog", "a", "1"), entry("dog", "b", "1"), entry("dog", "b", "2"),
                             entry("owl", "c", "2")];
            const choice = new GardenSelectors.Choice(entries, ["image", "layer", "unit"]);
            choice.show(entries[2]);
            const seen = [];
            for (const image of ["dog", "owl", "cat", "none"]) {
                choice.choose("image", image);
                seen.push(choice.address());
            }
            choice.move("image", -1);
            return [...seen, choice.address()];
        })()"""
    )
    assert places == [
        "image=dog&layer=b&unit=2",
        "image=owl&layer=c&unit=2",
        "image=cat&layer=b&unit=2",
        "image=cat&layer=b&unit=2",
        "image=owl&layer=c&unit=2",
    ]


@pytest.mark.parametrize(("across", "down", "x", "y"), [(0.5, 0.25, 32, 16), (0.99, 0.99, 63, 63)])
def test_pointing_reads_the_value(report, chromium, across, down, x, y):
    chromium.open(report.as_uri() + "#image=cat&method=saliency&unit=class+tabby")
    for figure in (1, 2):  # The input beside the map reads the same place.
        chromium.point(f".stage figure:nth-child({figure}) .frame", across, down)
        place, value = chromium.text(".readout").split(": ")
        assert place == f"x {x}, y {y}"
        assert float(value) == pytest.approx(MAP[y, x], rel=1e-3)
    ends = chromium.evaluate("[...document.querySelectorAll('.ends span')].map(end => end.textContent)")
    assert ends[0] == "0"
    assert float(ends[2].removeprefix("≥ ")) == pytest.approx(np.percentile(MAP, 99), rel=1e-3)


def test_a_signed_map_has_a_bar_symmetric_about_zero(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=saliency")
    chromium.press(".")
    low, middle, high = chromium.evaluate("[...document.querySelectorAll('.ends span')].map(end => end.textContent)")
    assert (low[2], middle, low[3:]) == ("−", "0", high[2:])


def test_the_browser_draws_the_map_as_python_does(report, chromium):
    for place, unit in enumerate(("class tabby", f"class {EVIL}")):
        chromium.open(report.as_uri() + "#image=cat&method=saliency")
        chromium.choose("#choose-unit", unit)
        chromium.click("[data-mode=fade]")
        pixels = chromium.evaluate(
            "(() => { const canvas = document.querySelector('.upper');"
            "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; })()"
        )
        drawn = np.array(pixels).reshape(64, 64, 4)[..., :3]
        wanted = rendering.colours(MAP if place == 0 else -MAP + 0.5, signed=place == 1)
        # A step of the palette, where the three digits of the stored map round otherwise.
        assert np.abs(drawn - wanted.astype(int)).max() <= 6
        assert chromium.evaluate("document.querySelector('.upper').style.opacity") == "0.6"


def test_pictures_can_be_wiped_and_pinned(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=saliency&unit=class+tabby")
    chromium.click("[data-mode=wipe]")
    assert chromium.evaluate("document.querySelector('.upper').style.clipPath") == "inset(0px 0px 0px 50%)"
    chromium.click("[data-mode=side]")
    chromium.evaluate(
        "[...document.querySelectorAll('.tools button')].find(b => b.textContent === 'Pin to compare').click()"
    )
    chromium.press("ArrowRight")
    captions = chromium.evaluate("[...document.querySelectorAll('figcaption')].map(caption => caption.textContent)")
    assert captions == ["Pinned: Class saliency, class tabby", "DeepDream, block/conv3"]


def test_notes_and_grades_are_seen(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=saliency&unit=class+tabby")
    assert chromium.text(".note") == f"Note: Fails a test {EVIL}"
    assert "Better than chance: deletion AUC 0.12, random 0.45." in chromium.text(".grades")
    assert chromium.evaluate("document.querySelectorAll('.chart path').length") == 1
    assert chromium.evaluate("document.querySelector('.chart path').getAttribute('d').match(/M/g).length") == 2


def test_papers_are_links(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=saliency")
    links = "[...document.querySelectorAll('.about a')].map(link => link.href)"
    assert chromium.evaluate(links) == ["https://a.b/c", "https://d.e/f"]
    chromium.choose("#choose-method", "dream")
    assert chromium.evaluate(links) == []
    assert "javascript:alert(1)" in chromium.text(".about")


def test_a_card_hides_no_failure(report, chromium):
    chromium.open(report.as_uri())
    badges = "[...document.querySelectorAll('.card')].map(c => [...c.querySelectorAll('.badge')].map(b => b.innerText))"
    # Of several pictures none speaks for the others.
    assert chromium.evaluate(badges)[0] == []
    assert chromium.evaluate(badges)[2] == ["✓ better than chance", "✗ ignores the weights"]


def test_words_find_methods_layers_and_classes(report, chromium):
    chromium.open(report.as_uri())
    chromium.evaluate(
        "(() => { const field = document.querySelector('#filter'); field.value = 'CONV3 dog';"
        "field.dispatchEvent(new Event('input')); })()"
    )
    assert chromium.evaluate("[...document.querySelectorAll('.card:not([hidden])')].map(c => c.hash)") == [
        "#image=dog&method=dream&layer=block%2Fconv3"
    ]
    assert chromium.evaluate("document.querySelectorAll('section:not([hidden])').length") == 1


@pytest.mark.parametrize("address", ["", "#image=cat&method=saliency", "#method=filters"])
def test_a_telephone_needs_no_sideways_scrolling(report, chromium, address):
    chromium.open(report.as_uri() + address, width=360, height=740)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 360


def test_controls_have_names(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=saliency")
    nameless = chromium.evaluate(
        "[...document.querySelectorAll('button, select, input, img, [role=img]')].filter(control =>"
        "!control.closest('[hidden]') && !(control.ariaLabel || control.innerText || control.alt || control.title"
        "|| control.labels?.length || control.querySelector('title') || control.closest('button')))"
        ".map(control => control.outerHTML)"
    )
    assert nameless == []


def test_what_moves_can_be_stopped(report, chromium):
    chromium.open(report.as_uri() + "#image=cat&method=dream")
    picture = "document.querySelector('.stage figure:last-child img').src.slice(0, 14)"
    assert chromium.evaluate(picture) == "data:image/gif"
    chromium.evaluate("[...document.querySelectorAll('.tools button')].find(b => b.textContent === 'Pause').click()")
    assert chromium.evaluate(picture) == "data:image/jpe"


def test_an_inspection_without_pictures_says_so(tmp_path, chromium):
    with InspectionWriter(tmp_path, title="Nothing", network_facts={}) as writer:
        pass
    chromium.open(writer.report_path.as_uri())
    assert chromium.text("main") == "This inspection has no pictures."
    assert chromium.problems == []
