"""The model card: what a network is for, what it was made of, how good it is, and where not to trust it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from garden.reports import evaluation_page
from garden.reports.evaluation_page import escaped, figure, table

if TYPE_CHECKING:
    from garden.data.image_folder import Problem
    from garden.evaluation.classification import Evaluation
    from garden.trained_model import TrainedModel

# With fewer images of a class, its figures are anecdotes; the card says so.
FEW_IMAGES = 10
# Classes whose pictures are mostly called something else are named.
LOW_RECALL = 0.5


def model_card(
    trained: TrainedModel, evaluation: Evaluation, *, problems: Sequence[Problem], config: Mapping[str, Any]
) -> str:
    """Write the model card of a trained network.

    Source of the sections: Mitchell et al., "Model Cards for Model Reporting", 2019,
    https://arxiv.org/abs/1810.03993

    Args:
        trained: The network. Of its `provenance` are read, where given: `images` (counts by side),
            `figures_from` (the side that `evaluation` is of), `hashes`, `initial_weights`, `versions`.
        evaluation: Its final figures.
        problems: Files that were left out.
        config: Settings of the run, by name.
    Returns: Markdown.
    """
    provenance = trained.provenance
    architecture = str(config.get("architecture", "a convolutional network"))
    side = str(provenance.get("figures_from", "held-out"))
    sections = {
        "Intended use": _use(trained, architecture),
        "Data": _data(provenance, problems),
        "Figures": _figures(evaluation, side),
        "Calibration": [
            "Of pictures with a score of 0.8, about 8 in 10 should be right. To that end logits are divided "
            "by a temperature, fitted on validation images, before softmax.",
            evaluation_page.calibration_table(evaluation),
            evaluation_page.acceptance_sentence(evaluation, trained.unknown_threshold),
        ],
        "Limits": _limits(evaluation, side),
        "Training": [_facts("setting", {name: _plain(value) for name, value in config.items()})],
        "Licences": _licences(config, provenance),
        "Versions": _versions(provenance),
    }
    parts = [f"# {escaped(architecture)}: {len(trained.labels)} classes"]
    for heading, paragraphs in sections.items():
        if paragraphs:
            parts += [f"## {heading}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Where the true share may lie, given a share of so many images; 95 % of the time.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927. It stays
    within 0 and 1, and is wide where a few images are all right.
    """
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def _use(trained: TrainedModel, architecture: str) -> list[str]:
    spec = trained.image_spec
    return [
        f"It gives a picture one of these labels, with a score: {escaped(', '.join(trained.labels))}.",
        f"The network is {escaped(architecture)} and sees {spec.width} × {spec.height} pixels. Pictures of "
        "any size may be handed over; they are brought to that size in the same way as in training.",
        "It is for pictures like those that it learnt from. A picture of anything else gets one of the "
        "labels as well, unless its best score stays below the threshold for “unknown”. It is not made for "
        "identifying people, nor for decisions about them.",
    ]


def _data(provenance: Mapping[str, Any], problems: Sequence[Problem]) -> list[str]:
    parts = []
    images = {name: count for name, count in provenance.get("images", {}).items() if count}
    if images:
        parts.append(table(["side", "images"], [*images.items(), ("all", sum(images.values()))]))
        parts.append("Every class is on each side as far as its pictures go; duplicates lie on one side.")
    if problems:
        verb = "file was" if len(problems) == 1 else "files were"
        parts.append(f"{len(problems)} {verb} left out:")
        parts.append(evaluation_page.problems_list(problems, limit=20))
    hashes = {name: value for name, value in provenance.get("hashes", {}).items() if value}
    if hashes:
        parts.append(_facts("hash of", {name.replace("_", " "): value for name, value in hashes.items()}))
    return parts


def _figures(evaluation: Evaluation, side: str) -> list[str]:
    choices = {
        "validation": "The best epoch and the temperature were chosen by the same images: "
        "expect a little less of new pictures.",
        "test": "Nothing was chosen by these images.",
    }
    low, high = wilson_interval(evaluation.accuracy, evaluation.num_images)
    rows = [
        ("images", evaluation.num_images),
        ("accuracy", figure(evaluation.accuracy)),
        ("accuracy, 95 % interval", f"{low:.3f} to {high:.3f}"),
        ("macro recall", figure(evaluation.macro_recall)),
        ("macro F1", figure(evaluation.macro_f1)),
    ]
    return [
        f"On {side} images. {choices.get(side, '')}".strip(),
        table(["figure", "value"], rows),
        evaluation_page.per_class_table(evaluation),
        "Most frequent confusions:",
        evaluation_page.confusions_table(evaluation, 10),
    ]


def _limits(evaluation: Evaluation, side: str) -> list[str]:
    items = []
    few = [f"{row.label} ({row.support})" for row in evaluation.per_class if row.support < FEW_IMAGES]
    if few:
        items.append(f"Fewer than {FEW_IMAGES} {side} images stand behind the figures of {escaped(', '.join(few))}.")
    weak = [
        f"{row.label} ({row.recall:.2f})"
        for row in evaluation.per_class
        if row.recall is not None and row.recall < LOW_RECALL
    ]
    if weak:
        items.append(f"More than half of these are called something else: {escaped(', '.join(weak))}.")
    items += [
        "Scores are calibrated for pictures like the validation images; another camera, light or subject shifts them.",
        "What goes with a class in these pictures, such as a background or a watermark, may be what the "
        "network goes by.",
    ]
    return ["\n".join(f"- {item}" for item in items)]


def _licences(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> list[str]:
    weights = str(config.get("weights", "none"))
    source = provenance.get("initial_weights")
    if weights == "none":
        start = "The network was trained from nothing but these pictures; their terms are all that bind it."
    elif weights == "imagenet":
        start = (
            "It began with weights that were trained on ImageNet. They come with the terms of those who "
            "published them, and ImageNet's pictures were gathered for research. See to both before you use "
            "it in a product."
        )
    else:
        start = f"It began with the weights of {escaped(weights)}; their terms go on to bind it."
    if source:
        start += f" Source of the weights: {escaped(source)}."
    return [start, "The rights in the pictures that it learnt from are yours to clear."]


def _versions(provenance: Mapping[str, Any]) -> list[str]:
    versions = provenance.get("versions", {})
    return [_facts("package", versions)] if versions else []


def _facts(name: str, facts: Mapping[str, Any]) -> str:
    return table([name, "value"], facts.items(), text_columns=2)


def _plain(value: Any) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
