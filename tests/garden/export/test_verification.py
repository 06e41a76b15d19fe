"""A replay finds an answer that differs, and only that."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from garden import grpc_client
from garden.errors import ExportError
from garden.export import golden, verification


def test_directory_answers_as_recorded(exported_colours: Any) -> None:
    report = verification.verify_directory(exported_colours.path)
    assert [(c.source, c.signature, c.output) for c in report.comparisons] == [
        (source, signature, output)
        for source in ("red.png", "teal.png")
        for signature, output in [
            ("serving_default", "scores"),
            ("pixels", "scores"),
            ("pixels", "logits"),
            ("features", "features"),
            ("classify", "scores"),
        ]
    ]
    assert report.problems == []
    assert report.tolerance == 1e-5
    assert max(comparison.difference for comparison in report.comparisons) <= 1e-5


def test_server_answers_as_recorded(exported_colours: Any, fake_server: Any) -> None:
    with grpc_client.PredictClient(fake_server.address) as client:
        report = verification.verify_address(exported_colours.path, client, name="colours", version=1)
    assert report.problems == []
    assert report.tolerance == 1e-4
    assert len(report.comparisons) == 10
    assert fake_server.calls == 8


def test_changed_record_is_a_difference(exported_colours: Any, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(exported_colours.path, copy)
    file = copy / "assets.extra" / "golden" / "golden.json"
    facts = json.loads(file.read_text())
    facts["examples"][1]["logits"][2] += 0.01
    file.write_text(json.dumps(facts))
    report = verification.verify_directory(copy)
    assert len(report.problems) == 1
    assert report.problems[0].startswith("The logits of 'pixels' for 'teal.png' differ by 0.0")
    assert report.problems[0].endswith("more than the tolerance of 0.0001.")
    assert verification.verify_directory(copy, tolerance=0.1).problems == []


class Answers:
    """Answers as recorded, or as told."""

    def __init__(self, recorded: golden.GoldenRecord, **changes: Mapping[str, Any]) -> None:
        [self.example] = recorded.examples
        self.labels = np.array([label.encode() for label in recorded.labels], dtype=object)
        self.changes = changes

    def __call__(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if signature in self.changes:
            return self.changes[signature]
        if signature == "pixels":
            return {"scores": self.example.scores[None], "logits": self.example.logits[None]}
        if signature == "features":
            return {"features": self.example.features[None]}
        best = np.argsort(-self.example.scores, kind="stable")[:5]
        return {"classes": self.labels[best][None], "scores": self.example.scores[best][None]}


def best(*pairs: tuple[str, float]) -> dict[str, np.ndarray]:
    return {
        "classes": np.array([[name.encode() for name, _ in pairs]], dtype=object),
        "scores": np.array([[score for _, score in pairs]], np.float32),
    }


@pytest.fixture
def recorded(plain_picture: Any) -> golden.GoldenRecord:
    scores = np.array([0.3, 0.4, 0.2, 0.06, 0.04], np.float32)
    return golden.GoldenRecord(
        labels=("a", "b", "c", "d", "e"),
        tolerance=1e-5,
        unknown_threshold=None,
        examples=(
            golden.GoldenExample(
                golden.GoldenImage("x.png", plain_picture((1, 2, 3))),
                logits=np.log(scores),
                scores=scores,
                features=np.array([100.0, 1.0], np.float32),
            ),
        ),
    )


RIGHT = [("b", 0.4), ("a", 0.3), ("c", 0.2), ("d", 0.06), ("e", 0.04)]


def problems(recorded: golden.GoldenRecord, tolerance: float = 1e-3, **changes: Mapping[str, Any]) -> list[str]:
    return verification.replay(recorded, Answers(recorded, **changes), tolerance=tolerance).problems


def test_right_answers_are_no_problem(recorded: golden.GoldenRecord) -> None:
    assert problems(recorded) == []
    assert problems(recorded, serving_default=best(*RIGHT)) == []


def test_swapped_names_are_a_difference(recorded: golden.GoldenRecord) -> None:
    swapped = best(("a", 0.4), ("b", 0.3), *RIGHT[2:])
    [problem] = problems(recorded, serving_default=swapped)
    assert problem == ("The scores of 'serving_default' for 'x.png' differ by 0.1, more than the tolerance of 0.001.")


def test_nearly_equal_classes_may_change_places(recorded: golden.GoldenRecord) -> None:
    swapped = best(*RIGHT[:3], ("e", 0.05), ("d", 0.05))
    assert problems(recorded, tolerance=0.02, classify=swapped) == []
    assert len(problems(recorded, tolerance=0.005, classify=swapped)) == 1


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (best(("z", 0.4), *RIGHT[1:]), "name 'z', which is not a class of the run"),
        (best(*RIGHT[:4]), "name 4 classes instead of 5"),
        ({"classes": np.zeros((1, 5))}, "are missing from the answer"),
        (best(("b", float("nan")), *RIGHT[1:]), "differ by nan, more than the tolerance of 0.001"),
        (best(("unknown", 0.4), *RIGHT[1:]), "name 'unknown', which is not a class of the run"),
    ],
)
def test_wrong_answers_are_told(recorded: golden.GoldenRecord, answer: Mapping[str, Any], fault: str) -> None:
    [problem] = problems(recorded, serving_default=answer)
    assert problem == f"The scores of 'serving_default' for 'x.png' {fault}."


def test_features_are_compared_relative_to_the_largest(recorded: golden.GoldenRecord) -> None:
    assert problems(recorded, features={"features": np.array([[100.5, 1.0]])}) == []
    assert len(problems(recorded, features={"features": np.array([[102.0, 1.0]])})) == 1
    [problem] = problems(recorded, features={"features": np.array([[100.0]])})
    assert problem == "The features of 'features' for 'x.png' differ by inf, more than the tolerance of 0.01."


def test_unknown_is_right_below_the_threshold_and_wrong_above(recorded: golden.GoldenRecord) -> None:
    unknown = best(("unknown", 0.4), *RIGHT[1:])
    strict = dataclasses.replace(recorded, unknown_threshold=0.5)
    assert problems(strict, serving_default=unknown, classify=unknown) == []
    assert problems(strict, serving_default=unknown) == [
        "The scores of 'classify' for 'x.png' name 'b', but the best is below the threshold for \"unknown\"."
    ]
    lax = dataclasses.replace(recorded, unknown_threshold=0.1)
    assert len(problems(lax, serving_default=unknown)) == 1
    at_threshold = dataclasses.replace(recorded, unknown_threshold=0.4)
    assert problems(at_threshold, serving_default=unknown) == []


def test_directory_without_a_model(exported_colours: Any, tmp_path: Path) -> None:
    shutil.copytree(exported_colours.path / "assets.extra", tmp_path / "assets.extra")
    with pytest.raises(ExportError) as caught:
        verification.verify_directory(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no SavedModel (there is no saved_model.pb). "
        "Name a version directory that `garden export` wrote, such as models/pets/1."
    )


def test_damaged_model_is_one_sentence(exported_colours: Any, tmp_path: Path) -> None:
    copy = tmp_path / "1"
    shutil.copytree(exported_colours.path, copy)
    (copy / "variables" / "variables.index").unlink()
    with pytest.raises(ExportError, match=r"does not load in a TensorFlow session, so TF Serving would refuse it too"):
        verification.verify_directory(copy)
