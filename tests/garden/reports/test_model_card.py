"""The model card tells what the run knows, and nothing it does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from garden.data.image_folder import Problem
from garden.evaluation import classification
from garden.image_spec import ImageSpec
from garden.reports import model_card
from garden.trained_model import TrainedModel


@pytest.fixture
def result():
    chance = np.random.default_rng(0)
    true = np.arange(60) % 2
    logits = chance.normal(size=(60, 2)) + 2 * np.eye(2)[true]
    logits[true == 1] = [2, 0]  # Every dog is called a cat.
    return classification.evaluate_logits(logits, true, ["cat", "dog"], [Path("a.png")] * 60, temperature=2.0)


@pytest.fixture
def trained():
    return TrainedModel(
        network=None,
        labels=("cat", "dog"),
        image_spec=ImageSpec(160, 224),
        features_layer="mean",
        temperature=2.0,
        unknown_threshold=0.7,
        provenance={
            "images": {"train": 240, "validation": 60, "test": 0},
            "figures_from": "validation",
            "hashes": {"data": "d" * 64, "initial_weights": None},
            "initial_weights": "some package 1.0",
            "versions": {"keras": "3.15.1"},
        },
    )


def test_the_card_tells_all_that_is_known(trained, result):
    config = {"architecture": "squeezenet1_1", "weights": "imagenet", "late_rate": None, "cache": True}
    problems = [Problem(Path("photos/x.jpg"), "it is empty. Replace it.")]
    lines = model_card.model_card(trained, result, problems=problems, config=config).split("\n")
    for line in (
        "# squeezenet1_1: 2 classes",
        "It gives a picture one of these labels, with a score: cat, dog.",
        "| train | 240 |",
        "| all | 300 |",
        f"| data | {'d' * 64} |",
        "1 file was left out:",
        "- photos/x.jpg: it is empty. Replace it.",
        "On validation images. The best epoch and the temperature were chosen by the same images: expect a little "
        "less of new pictures.",
        "| temperature | 1.000 | 2.000 |",
        "- More than half of these are called something else: dog (0.00).",
        "| late_rate | none |",
        "| cache | true |",
        "| keras | 3.15.1 |",
    ):
        assert line in lines, line
    text = "\n".join(lines)
    assert "sees 224 × 160 pixels" in text
    assert "It began with weights that were trained on ImageNet." in text
    assert "Source of the weights: some package 1.0." in text
    assert "| test |" not in text
    assert "None" not in text


def test_calibration_is_told_before_and_after(trained, result):
    card = model_card.model_card(trained, result, problems=[], config={})
    before, after = result.with_temperature(1.0).ece, result.ece
    assert f"| expected calibration error | {before:.3f} | {after:.3f} |" in card


def test_test_images_are_told_apart_from_validation_images(trained, result):
    trained = dataclasses.replace(trained, provenance={"figures_from": "test"})
    card = model_card.model_card(trained, result, problems=[], config={"weights": "none"})
    assert "On test images. Nothing was chosen by these images." in card
    assert "The network was trained from nothing but these pictures" in card
    assert "## Data" not in card


def test_few_images_are_named(trained):
    few = classification.evaluate_logits(np.eye(2), np.array([0, 1]), ["cat", "dog"], [Path("a")] * 2)
    card = model_card.model_card(trained, few, problems=[], config={})
    assert "- Fewer than 10 validation images stand behind the figures of cat (1), dog (1)." in card


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [(81 / 263, 263, (0.2553, 0.3662)), (15 / 148, 148, (0.0624, 0.1605)), (0.0, 20, (0.0, 0.1611))],
)
def test_intervals_equal_the_literature(share, count, expected):
    assert model_card.wilson_interval(share, count) == pytest.approx(expected, abs=5e-5)
