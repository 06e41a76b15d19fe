"""Figures of an evaluation against paper and scikit-learn, and the files that it writes."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import special
from sklearn import metrics

from garden.data.image_folder import LabelledFile
from garden.errors import ImageFolderError
from garden.evaluation import classification
from garden.reports import evaluation_files

LABELS = ("ant", "bee", "cat")
# Answers: ant right, ant called bee, bee right, bee right, cat called bee, in this order.
LOGITS = np.array([[4, 0, 0], [1, 3, 0], [0, 2, 1], [0, 5, 0], [0, 6, 1]], np.float32)
TRUE = np.array([0, 0, 1, 1, 2])


def paths_of(count):
    return [Path(f"picture{index}.png") for index in range(count)]


@pytest.fixture
def small():
    return classification.evaluate_logits(LOGITS, TRUE, LABELS, paths_of(5))


def random_evaluation(*, images=300, classes=7, seed=0, temperature=1.0):
    chance = np.random.default_rng(seed)
    logits = chance.normal(size=(images, classes)) * 2
    true = chance.integers(0, classes, images)
    logits[np.arange(images), true] += 1.5
    labels = [f"class {index}" for index in range(classes)]
    return classification.evaluate_logits(logits, true, labels, paths_of(images), temperature=temperature)


def test_figures_on_paper(small):
    assert small.accuracy == pytest.approx(3 / 5)
    assert small.macro_recall == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert small.confusion.tolist() == [[1, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert small.per_class == (
        classification.ClassFigures("ant", 1.0, 0.5, pytest.approx(2 / 3), support=2, predicted=1),
        classification.ClassFigures("bee", 0.5, 1.0, pytest.approx(2 / 3), support=2, predicted=4),
        classification.ClassFigures("cat", None, 0.0, 0.0, support=1, predicted=0),
    )
    assert small.ranks.tolist() == [1, 2, 1, 1, 2]
    assert [small.top_k(k) for k in (1, 2, 3)] == [0.6, 1.0, 1.0]
    assert small.most_frequent_confusions(5) == [("ant", "bee", 1), ("cat", "bee", 1)]


def test_a_class_without_images_counts_for_nothing():
    result = classification.evaluate_logits(LOGITS[:4], TRUE[:4], LABELS, paths_of(4))
    assert result.macro_recall == pytest.approx((1 / 2 + 1) / 2)
    assert result.per_class[2] == classification.ClassFigures("cat", None, None, None, support=0, predicted=0)


def test_most_confident_mistakes_come_first(small):
    mistakes = small.most_confident_mistakes(10)
    assert [(m.index, m.label, m.predicted, m.path.name) for m in mistakes] == [
        (4, "cat", "bee", "picture4.png"),
        (1, "ant", "bee", "picture1.png"),
    ]
    expected = special.softmax([0, 6, 1])
    assert mistakes[0].score == pytest.approx(expected[1], rel=1e-6)
    assert mistakes[0].label_score == pytest.approx(expected[2], rel=1e-6)
    assert len(small.most_confident_mistakes(1)) == 1


def test_acceptance_counts_scores_at_the_threshold(small):
    best = sorted(small.best_scores)
    assert small.acceptance(float(best[2])) == (3 / 5, pytest.approx(2 / 3))
    assert small.acceptance(1.0) == (0.0, None)


def test_figures_equal_scikit_learn():
    result = random_evaluation()
    true, predicted = result.class_indices, result.predicted_indices
    assert result.accuracy == metrics.accuracy_score(true, predicted)
    assert result.macro_recall == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
    assert result.macro_f1 == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
    assert result.nll == pytest.approx(metrics.log_loss(true, special.softmax(result.logits.astype(float), axis=1)))
    np.testing.assert_array_equal(result.confusion, metrics.confusion_matrix(true, predicted))
    columns = metrics.precision_recall_fscore_support(true, predicted)
    for row, *expected in zip(result.per_class, *columns, strict=True):
        assert [row.precision, row.recall, row.f1, row.support] == pytest.approx(expected)
    for k in (1, 3, 5):
        assert result.top_k(k) == metrics.top_k_accuracy_score(true, result.logits, k=k)


def test_temperature_changes_scores_and_nothing_else():
    result = random_evaluation()
    cooler = result.with_temperature(0.5)
    np.testing.assert_allclose(cooler.scores, special.softmax(result.logits / 0.5, axis=1), rtol=1e-5)
    assert cooler.nll != pytest.approx(result.nll)
    assert cooler.accuracy == result.accuracy
    np.testing.assert_array_equal(cooler.ranks, result.ranks)


def test_large_logits_stay_finite():
    result = classification.evaluate_logits(LOGITS * 1000, TRUE, LABELS, paths_of(5))
    assert np.isfinite(result.scores).all()
    assert result.nll == pytest.approx((2000 + 5000) / 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"labels": LABELS[:2]},
            "`logits` must have shape (images, classes) with as many images as `true_indices` and `paths`, at least "
            "one, and as many classes as `labels`. Received: logits (5, 3), 5 true indices, 5 paths, 2 labels.",
        ),
        ({"true_indices": TRUE + 1}, "`true_indices` must be within 0..2. Received: 1..3."),
        ({"logits": LOGITS * np.nan}, "`logits` must be finite. Received: 5 images with logits that are not."),
        ({"temperature": 0.0}, "`temperature` must be positive. Received: temperature=0.0."),
    ],
)
def test_wrong_arguments_are_named(change, sentence):
    arguments = {"logits": LOGITS, "true_indices": TRUE, "labels": LABELS, "paths": paths_of(5), **change}
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        classification.evaluate_logits(**arguments)


def test_json_can_be_written_and_holds_the_figures(small):
    read = json.loads(json.dumps(small.to_json()))
    assert read["images"] == 5
    assert read["accuracy"] == pytest.approx(0.6)
    assert read["ece"] == read["ece_uncalibrated"]
    assert read["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 1, 0]]
    assert read["per_class"][2] == {
        "label": "cat",
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
        "support": 1,
        "predicted": 0,
    }


def write_pictures(folder, plain_picture):
    """Plain pictures of three colours; cyan is filed as green."""
    files = []
    for name, index, colour in [("r", 0, (255, 0, 0)), ("g", 1, (0, 255, 0)), ("c", 1, (0, 255, 255))]:
        path = folder / f"{name}.png"
        path.write_bytes(plain_picture(colour))
        files.append(LabelledFile(path, index, ""))
    return files


def test_evaluate_asks_the_network_as_the_export_does(colour_model, colour_scores, plain_picture, tmp_path):
    files = write_pictures(tmp_path, plain_picture)
    result, problems = classification.evaluate(colour_model, files, batch_size=2)
    assert problems == []
    expected = [colour_scores(colour) for colour in [(255, 0, 0), (0, 255, 0), (0, 255, 255)]]
    np.testing.assert_allclose(result.scores, expected, atol=1e-6)
    assert [m.predicted for m in result.most_confident_mistakes(5)] == ["cyan"]
    assert result.paths == tuple(file.path for file in files)


def test_a_broken_picture_is_named_and_the_others_keep_their_labels(colour_model, plain_picture, tmp_path):
    files = write_pictures(tmp_path, plain_picture)
    broken, gone = tmp_path / "a.png", tmp_path / "gone.png"
    broken.write_bytes(plain_picture((255, 0, 0))[:40])
    files = [LabelledFile(broken, 4, ""), files[0], LabelledFile(gone, 5, ""), *files[1:]]
    result, problems = classification.evaluate(colour_model, files, batch_size=2)
    assert [problem.path for problem in problems] == [broken, gone]
    assert result.class_indices.tolist() == [0, 1, 1]
    assert result.num_images == 3


def test_no_readable_picture_is_a_sentence(colour_model, tmp_path):
    gone = tmp_path / "gone.png"
    with pytest.raises(ImageFolderError) as caught:
        classification.evaluate(colour_model, [LabelledFile(gone, 0, "")])
    assert str(caught.value).startswith(
        "None of the 1 pictures can be read; an evaluation needs at least one. Check that they are still there. "
        f"The first: {gone}: it cannot be read (No such file or directory)."
    )


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


def test_written_files_hold_the_figures(colour_model, plain_picture, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    result, problems = classification.evaluate(colour_model, write_pictures(pictures, plain_picture))
    directory = tmp_path / "run" / "evaluation"
    evaluation_files.write_evaluation(result, directory, title="Colours", problems=problems, unknown_threshold=0.5)
    assert sorted(path.name for path in directory.iterdir()) == [
        "confusion_matrix.csv",
        "confusion_matrix.png",
        "evaluation.json",
        "evaluation.md",
        "mistakes.png",
        "per_class.csv",
        "predictions.csv",
        "reliability.png",
    ]
    assert json.loads((directory / "evaluation.json").read_text())["accuracy"] == pytest.approx(2 / 3)
    matrix = rows_of(directory / "confusion_matrix.csv")
    assert matrix[0] == ["true \\ predicted", *colour_model.labels]
    assert matrix[2] == ["green", "0", "1", "0", "0", "1", "0"]
    predictions = rows_of(directory / "predictions.csv")
    assert predictions[0] == ["path", "label", "predicted", "score", "label_score", "label_rank"]
    assert predictions[3][:3] == [str(pictures / "c.png"), "green", "cyan"]
    assert float(predictions[3][3]) == pytest.approx(result.best_scores[2], abs=1e-6)
    assert rows_of(directory / "per_class.csv")[1] == ["red", "1.0", "1.0", "1.0", "1", "1"]
    page = (directory / "evaluation.md").read_text(encoding="utf-8")
    assert page.startswith("# Colours\n")
    assert "| accuracy | 0.667 |" in page
    # The one mistake is a cyan picture: its colour fills the middle of the first tile.
    sheet = np.asarray(Image.open(directory / "mistakes.png"))
    assert sheet[90, 90].tolist() == [0, 255, 255]


def test_mistakes_of_an_earlier_evaluation_do_not_stay(tmp_path):
    wrong = classification.evaluate_logits(LOGITS, TRUE, LABELS, paths_of(5))
    right = classification.evaluate_logits(LOGITS[:1], TRUE[:1], LABELS, paths_of(1))
    evaluation_files.write_evaluation(wrong, tmp_path)
    assert (tmp_path / "mistakes.png").is_file()
    evaluation_files.write_evaluation(right, tmp_path)
    assert not (tmp_path / "mistakes.png").exists()
    assert "Nothing was confused." in (tmp_path / "evaluation.md").read_text(encoding="utf-8")
