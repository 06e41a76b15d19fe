"""`garden inspect`: from a name and a picture to a report, and one sentence for what cannot be."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from garden import cli
from garden.commands import inspect_command
from garden.errors import InspectionError, RemoteError, ResourceError, RunError, UsageError


def inspect(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    inspect_command.add_arguments(parser)
    return inspect_command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def run_directory(colour_model: Any, tmp_path: Path) -> Path:
    colour_model.save(tmp_path / "colours")
    return tmp_path / "colours"


@pytest.fixture
def photo(tmp_path: Path, encode: Any) -> Path:
    path = tmp_path / "stripes.png"
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[::2, :, 0] = 255
    path.write_bytes(encode(pixels))
    return path


def test_report_is_written_and_named(run_directory: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect(run_directory, photo, "--method", "saliency") == 0
    told = capsys.readouterr()
    report = run_directory / "inspection" / "report.html"
    assert told.out.splitlines()[0] == f"1 picture is in {report.parent}; open {report}."
    assert "stripes" in report.read_text(encoding="utf-8")
    index = json.loads((report.parent / "index.json").read_text(encoding="utf-8"))
    assert "garden/stripes/saliency/class red" in json.dumps(index)
    assert list((run_directory / "tensorboard" / "inspection").glob("events*"))
    assert told.err.splitlines() == ["1/1 Class saliency"]


def test_progress_names_a_method_once_and_below_it_what_it_is_at(
    run_directory: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(run_directory, photo, "--method", "occlusion,deletion") == 0
    # Deletion takes its map from occlusion, which was made before.
    assert capsys.readouterr().err.splitlines() == [
        "1/2 Occlusion",
        "    a square over stripes",
        "2/2 Hiding what matters",
        "    stripes",
    ]


def test_class_is_named_or_counted(run_directory: Path, photo: Path, tmp_path: Path) -> None:
    for number, word in enumerate(("green", "Green", "1")):
        output = tmp_path / f"out{number}"
        assert inspect(run_directory, photo, "--method", "saliency", "--class", word, "--output", output) == 0
        assert "class green" in (output / "index.json").read_text(encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        inspect(run_directory, photo, "--method", "saliency", "--class", "yelow")
    assert str(caught.value) == (
        "The network knows no class 'yelow'; a class is one of its labels, or a number within 0..5. "
        "Did you mean 'yellow'?"
    )


def test_method_that_cannot_apply_says_why_and_leaves_nothing(run_directory: Path, photo: Path) -> None:
    with pytest.raises(InspectionError, match=r"guided_backprop: .*ReLU.*Use saliency"):
        inspect(run_directory, photo, "--method", "guided_backprop")
    assert not (run_directory / "inspection").exists()


def test_others_go_on_where_one_method_cannot(
    run_directory: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect(run_directory, photo, "--method", "saliency,guided-backprop") == 1
    assert "guided_backprop: " in capsys.readouterr().err
    assert (run_directory / "inspection" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "salency"], "There is no method 'salency'. Did you mean 'saliency'? `garden inspect --list-me"),
        (["--steps", "0"], "--steps must be at least 1. Received: 0."),
        (["--model", "x"], "--model names a model on a server, but there is no --served HOST:PORT. Give both."),
        (["--channels", "a,b"], "--channels takes numbers from 0 on, such as --channels 3,17. Received: 'a,b'."),
        (["--class", "9"], "The network knows no class '9'; a class is one of its labels, or a number within 0..5."),
    ],
)
def test_wrong_usage_is_one_sentence(run_directory: Path, photo: Path, words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        inspect(run_directory, photo, *words)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("words", [["--input-range", "-1..1"], ["--input-range=-1..1"]])
def test_range_that_begins_with_a_dash_is_a_value(words: list[str]) -> None:
    arguments = cli.make_parser().parse_args(["inspect", "mine.keras", "cat.jpg", *words, "--labels", "names.txt"])
    assert arguments.input_range == "-1..1"
    assert arguments.images == ["cat.jpg"]
    assert arguments.labels == Path("names.txt")


def test_layer_that_is_none_is_told(run_directory: Path, photo: Path) -> None:
    with pytest.raises(InspectionError, match=r"has no layer 'conv7'; .*`garden inspect … --list-layers` names all\."):
        inspect(run_directory, photo, "--method", "saliency", "--layer", "conv7")


def test_without_a_network_or_picture(run_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no NETWORK to look into\. Name a run, an architecture"):
        inspect("--method", "saliency")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"There is no picture in .*empty\. Name files, or folders that hold some\."):
        inspect(run_directory, tmp_path / "empty")
    with pytest.raises(InspectionError, match="saliency needs pictures to explain: name some after the network"):
        inspect(run_directory, "--method", "saliency")


def test_lists_need_no_picture(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect("--list-methods") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "attribution" in lines
    of = {line.split()[0]: line for line in lines if line.startswith("  ")}
    assert of["saliency"].endswith("Class saliency (needs pictures)")
    assert of["occlusion"].endswith("Occlusion (needs pictures; asks the server with --served)")
    assert of["tsne"].endswith("(needs a folder of pictures)")
    assert of["dissection"].endswith("Network dissection")
    assert inspect(run_directory, "--list-layers") == 0
    assert capsys.readouterr().out.splitlines() == [
        "mean    GlobalAveragePooling2D  3",
        "logits  Dense                   6",
    ]


def test_server_that_serves_the_network_is_compared_and_asked(
    run_directory: Path, photo: Path, fake_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [run_directory, photo, "--served", fake_server.address, "--model", "colours", "--output", tmp_path / "out"]
    assert inspect(*words, "--method", "occlusion,saliency") == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"colours at {fake_server.address} scores 1 picture as the inspected network does ")
    assert "saliency needs the network's inside, which a server does not show." in told.err
    assert fake_server.calls > 2
    index = json.loads((tmp_path / "out" / "index.json").read_text(encoding="utf-8"))
    assert "occlusion" in json.dumps(index)
    assert "saliency" not in json.dumps(index)


def test_server_that_answers_otherwise_is_told(
    colour_model: Any, photo: Path, fake_server: Any, tmp_path: Path
) -> None:
    dataclasses.replace(colour_model, temperature=3.0).save(tmp_path / "hotter")
    with pytest.raises(RemoteError) as caught:
        inspect(tmp_path / "hotter", photo, "--served", fake_server.address, "--model", "colours")
    assert str(caught.value).startswith("The served scores are not those of hotter: for stripes they differ by 0.")
    assert not (tmp_path / "hotter" / "inspection").exists()


def test_server_or_model_that_is_not_there_is_told_in_words_of_this_command(
    run_directory: Path, photo: Path, fake_server: Any
) -> None:
    with pytest.raises(RemoteError) as caught:
        inspect(run_directory, photo, "--served", "localhost:1", "--model", "colours")
    assert str(caught.value).startswith("No server answers at localhost:1 (")
    assert str(caught.value).endswith(
        "Start one with `garden serve MODELS --port 1`, or name the right one with --served HOST:PORT."
    )
    with pytest.raises(RemoteError) as caught:
        inspect(run_directory, photo, "--served", fake_server.address, "--model", "pets")
    assert str(caught.value) == (
        f"The server at {fake_server.address} serves no model 'pets'. A model's name is its directory under the one "
        "that is served (MODELS/NAME/1/saved_model.pb); name it with --model as it is written there, and wait until "
        "the server says that it is loaded."
    )
    with pytest.raises(UsageError, match=r"Write --served localhost:8500 \(8501 is the REST port\)\."):
        inspect(run_directory, photo, "--served", "http://localhost:8501")


def test_memory_and_disk_that_run_out_are_one_sentence(
    run_directory: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    from garden.inspection import methods

    def fail(error: BaseException) -> None:
        def panels(session: Any) -> Any:
            raise error

        broken = dataclasses.replace(methods.METHODS["saliency"], panels=panels)
        monkeypatch.setitem(methods.METHODS, "saliency", broken)

    fail(tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"))
    with pytest.raises(ResourceError, match=r"Memory ran out while inspecting; nothing was written\. Ask for fewer"):
        inspect(run_directory, photo, "--method", "saliency")
    fail(OSError(errno.ENOSPC, "No space left on device", "map.npz"))
    with pytest.raises(ResourceError, match=r"The disk is full while writing map\.npz; nothing was written\. Free"):
        inspect(run_directory, photo, "--method", "saliency")
    assert not (run_directory / "inspection").exists()
    assert not (run_directory / "tensorboard").exists()


def test_output_that_cannot_be_written_is_told(run_directory: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        RunError, match=r"file.* cannot be written \(Not a directory\)\. Name another place with --output"
    ):
        inspect(run_directory, photo, "--method", "saliency", "--output", tmp_path / "file" / "look")
