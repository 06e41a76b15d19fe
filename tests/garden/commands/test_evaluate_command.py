"""`garden evaluate` on a run whose answers are known on paper."""

import argparse
import json
from pathlib import Path

import pytest

from garden.commands import evaluate_command
from garden.data import image_folder, split
from garden.errors import ImageFolderError, RunError, UsageError

RED, GREEN, BLUE, CYAN = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255)
# Class → colours of its pictures: one of the green pictures is cyan, and the network says so.
PHOTOS = {"red": [RED, (250, 9, 9)], "green": [GREEN, CYAN], "blue": [BLUE, (0, 9, 240)]}


def write_photos(root, plain_picture, photos):
    for name, colours in photos.items():
        (root / name).mkdir(parents=True)
        for number, colour in enumerate(colours):
            (root / name / f"{number}.png").write_bytes(plain_picture(colour))
    return root


@pytest.fixture
def photos(tmp_path, plain_picture):
    return write_photos(tmp_path / "photos", plain_picture, PHOTOS)


@pytest.fixture
def run(tmp_path, photos, colour_model):
    """A run that learnt from the first picture of each class, and held out the second."""
    directory = tmp_path / "runs" / "first"
    colour_model.save(directory)
    folder = image_folder.scan_image_folder(photos)
    sides = {number: tuple(file for file in folder.files if file.path.stem == number) for number in "01"}
    split.write_split_csv(split.Split(sides["0"], sides["1"]), directory / "split.csv", class_names=folder.class_names)
    return directory


def evaluate(*arguments):
    parser = argparse.ArgumentParser()
    evaluate_command.add_arguments(parser)
    return evaluate_command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_held_out_images_by_default(run, capsys):
    assert evaluate(run) == 0
    answer = capsys.readouterr().out
    directory = run / "evaluation" / "validation"
    for line in (
        "first on validation images: 3 images, 6 classes",
        "accuracy           0.667  (2 right, 1 wrong)",
        "macro recall       0.667  (mean over the classes that have images)",
        "class    precision  recall     F1  images",
        "green            –   0.000  0.000       1",
        "yellow           –       –      –       0",
        "     1  green called cyan",
        f"Written to {directory}: evaluation.md, confusion_matrix.png, reliability.png, mistakes.png, and the tables "
        "as CSV.",
    ):
        assert line in answer.split("\n"), answer
    mistake = next(line for line in answer.split("\n") if "green called cyan: " in line)
    assert mistake.endswith(str(Path("photos", "green", "1.png")))
    assert (directory / "mistakes.png").is_file()
    assert (directory / "evaluation.md").read_text(encoding="utf-8").startswith("# first on validation images\n")


@pytest.mark.parametrize(
    ("side", "images", "accuracy"), [("train", 3, 1.0), ("all", 6, 5 / 6), ("validation", 3, 2 / 3)]
)
def test_sides_of_the_split_as_json(run, capsys, side, images, accuracy):
    assert evaluate(run, "--split", side, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["accuracy"]) == (images, pytest.approx(accuracy))
    assert answer["title"] == f"first on {side} images"
    assert answer["problems"] == []
    assert Path(answer["directory"]) == run / "evaluation" / side


def test_a_side_without_images_is_a_sentence(run):
    with pytest.raises(RunError) as caught:
        evaluate(run, "--split", "test")
    assert str(caught.value) == (
        f"{run} has no test images; it has: train, validation. Choose another --split. "
        "Train with --test to hold some out."
    )


def test_test_images_come_first_where_there_are_some(run, capsys):
    path = run / "split.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",validation,", ",test,"), encoding="utf-8")
    assert evaluate(run, "--json") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "first on test images"


def test_vanished_and_changed_pictures_are_named(run, photos, capsys, plain_picture):
    (photos / "red" / "1.png").unlink()
    (photos / "blue" / "1.png").write_bytes(plain_picture(RED))
    assert evaluate(run, "--split", "validation") == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(
        f"1 of 3 pictures have changed since the run, and are evaluated as they are now: {photos / 'blue' / '1.png'}\n"
    )
    assert "not evaluated: 1 file\n" in captured.out
    assert f"  {photos / 'red' / '1.png'}: it cannot be read (No such file or directory)." in captured.out
    assert "first on validation images: 2 images" in captured.out


def test_other_photos_may_show_some_of_the_classes(run, tmp_path, plain_picture, capsys):
    others = write_photos(tmp_path / "new", plain_picture, {"cyan": [CYAN], "red": [RED, GREEN]})
    (others / "red" / "broken.png").write_bytes(b"no picture")
    output = tmp_path / "report"
    assert evaluate(run, others, "--output", output, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["accuracy"] == pytest.approx(2 / 3)
    support = {row["label"]: row["support"] for row in answer["per_class"]}
    assert support == {"red": 2, "green": 0, "blue": 0, "yellow": 0, "cyan": 1, "magenta": 0}
    assert [Path(problem["path"]).name for problem in answer["problems"]] == ["broken.png"]
    assert (output / "evaluation.md").is_file()
    assert not (run / "evaluation").exists()


def test_an_unknown_class_is_a_sentence(run, tmp_path, plain_picture):
    others = write_photos(tmp_path / "new", plain_picture, {"red": [RED], "grean": [GREEN]})
    with pytest.raises(ImageFolderError) as caught:
        evaluate(run, others)
    assert str(caught.value) == (
        f"{others} has the class 'grean', which the network does not know (it knows red, green, blue, yellow, cyan, "
        "magenta); folders must be named as its classes. Did you mean 'green'? Rename the folder, or leave it out."
    )


def test_a_folder_without_pictures_is_a_sentence(run, tmp_path):
    broken = tmp_path / "new" / "red" / "broken.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"")
    with pytest.raises(ImageFolderError) as caught:
        evaluate(run, tmp_path / "new")
    assert str(caught.value).startswith(
        f"{tmp_path / 'new'} has no picture that can be used; an evaluation needs at least one, in a folder named as "
        f"its class. Name a folder that holds some. The first: {broken}: "
    )


def test_a_split_of_another_network_is_a_sentence(run):
    path = run / "split.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",green,", ",purple,"), encoding="utf-8")
    with pytest.raises(RunError) as caught:
        evaluate(run)
    assert str(caught.value) == (
        f"{path} has the class 'purple', which the network does not know; both must be of one run. Restore the files "
        "of the run, or train anew."
    )


def test_photos_and_split_exclude_each_other(run, photos):
    with pytest.raises(UsageError) as caught:
        evaluate(run, photos, "--split", "train")
    assert str(caught.value) == (
        "--split chooses among the pictures of the run, but PHOTOS names others. Leave one of them out."
    )


def test_a_directory_that_is_no_run_is_a_sentence(tmp_path):
    with pytest.raises(RunError, match="holds no trained network"):
        evaluate(tmp_path)


def test_an_output_that_cannot_be_written_is_a_sentence(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        evaluate(run, "--output", tmp_path / "file" / "report")
    assert str(caught.value) == (
        f"The evaluation cannot be written to {tmp_path / 'file' / 'report'} (Not a directory). "
        "Name another directory with --output."
    )


def test_many_classes_are_cut_to_the_weakest(monkeypatch, run, capsys):
    monkeypatch.setattr(evaluate_command, "MAXIMUM_CLASS_LINES", 2)
    evaluate(run)
    answer = capsys.readouterr().out
    assert "the 2 classes with the lowest recall, of 6\n" in answer
    assert "\ngreen " in answer
    assert "\nyellow " not in answer
