"""Tables and pages: figures in their places, and names that cannot break them."""

from pathlib import Path

import numpy as np

from garden.data.image_folder import Problem
from garden.evaluation import classification
from garden.reports import evaluation_page


def page_of(labels, **options):
    logits = np.array([[4, 0], [1, 3], [0, 2]], np.float32)
    result = classification.evaluate_logits(logits, np.array([0, 0, 1]), labels, [Path("a_1.png")] * 3)
    return evaluation_page.evaluation_page(result, title="Pets on validation", **options)


def test_a_page_tells_figures_confusions_and_problems():
    problems = [Problem(Path("x/broken.jpg"), "it is damaged. Replace it.")]
    page = page_of(["cat", "dog"], problems=problems, unknown_threshold=0.95)
    for line in (
        "# Pets on validation",
        "| images | 3 |",
        "| wrong | 1 |",
        "| accuracy | 0.667 |",
        "| cat | 1.000 | 0.500 | 0.667 | 2 | 1 |",
        "| cat | dog | 1 |",
        "| a_1.png | cat | dog | 0.881 |",
        "## Not evaluated: 1 file",
        "- x/broken.jpg: it is damaged. Replace it.",
        "Best scores below 0.950 mean “unknown”: 33.3% of these images are accepted, and 100.0% of those are right.",
    ):
        assert line in page.split("\n"), line


def test_without_a_threshold_the_page_says_so():
    sentence = "No threshold for “unknown” is set: every picture gets one of the labels."
    assert sentence in page_of(["cat", "dog"])


def test_a_threshold_that_accepts_nothing():
    sentence = "Best scores below 1.000 mean “unknown”: none of these images is accepted."
    assert sentence in page_of(["cat", "dog"], unknown_threshold=1.0)


def test_names_stay_within_their_cells():
    page = page_of(["a|b", "<script>_x_\n*y*"])
    assert "| a\\|b | 1.000 |" in page
    assert "| &lt;script&gt;\\_x\\_ \\*y\\* | 0.500 |" in page


def test_many_classes_give_a_list_of_confusions_instead_of_a_wide_table():
    classes = 30
    logits = np.eye(classes, dtype=np.float32)
    labels = [f"c{k}" for k in range(classes)]
    result = classification.evaluate_logits(logits, np.roll(np.arange(classes), 1), labels, [Path("a")] * classes)
    table = evaluation_page.confusion_table(result).split("\n")
    assert table[0] == "| is | was called | images |"
    assert len(table) == 2 + 30
    small = classification.evaluate_logits(logits[:2, :2], np.array([0, 1]), labels[:2], [Path("a")] * 2)
    assert evaluation_page.confusion_table(small).split("\n") == [
        "| true \\\\ predicted | c0 | c1 |",
        "| :--- | ---: | ---: |",
        "| c0 | 1 | 0 |",
        "| c1 | 0 | 1 |",
    ]
