"""`garden predict`: which files are asked about, in which order, how many at once, and what is printed."""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from garden import grpc_client
from garden.commands import predict_command
from garden.errors import RemoteError, UsageError


@pytest.fixture
def photos(tmp_path: Path, plain_picture: Any) -> Path:
    """red.png, sub/blue.png, sub/broken.jpg, and files that are no pictures."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "red.png").write_bytes(plain_picture((255, 0, 0)))
    (folder / "sub" / "blue.PNG").write_bytes(plain_picture((0, 0, 255)))
    (folder / "sub" / "broken.jpg").write_bytes(b"\xff\xd8\xff\x00broken")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden" / "red.png").write_bytes(plain_picture((255, 0, 0)))
    return folder


def predict(server: Any, *words: str) -> int:
    parser = argparse.ArgumentParser()
    predict_command.add_arguments(parser)
    return predict_command.run(parser.parse_args([*words, "--model=colours", f"--address={server.address}"]))


def test_folder_is_answered_in_order_and_a_broken_picture_has_its_line(
    fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    assert predict(fake_server, "photos") == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "photos/red.png         red               55.8%",
        "photos/sub/blue.PNG    blue              55.8%",
        f"photos/sub/broken.jpg  error: {JPEG_PROBLEM}",
    ]
    assert told.err.endswith("garden predict: 1 of 3 pictures got no answer; their lines say why.\n")


# e² / (e² + 3 e⁻² + 2 e) = 0.558: the kernel's 4, -4 and 2 over a temperature of 2.
JPEG_PROBLEM = "the JPEG header is damaged or incomplete. Fetch or save it again, or remove it."


def test_json_lines(fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str], colour_scores: Any) -> None:
    missing = str(photos / "missing.png")
    assert predict(fake_server, str(photos / "red.png"), missing, "--json") == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert set(first) == {"image", "classes", "scores"}
    assert first["image"] == str(photos / "red.png")
    assert first["classes"][0] == "red"
    assert len(first["classes"]) == 5
    np.testing.assert_allclose(first["scores"], np.sort(colour_scores((255, 0, 0)))[::-1][:5], atol=1e-6)
    assert second == {"image": missing, "error": "It cannot be read: No such file or directory."}


def test_scores_have_the_digits_of_a_float32(
    fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(fake_server, str(photos / "red.png"), "--json") == 0
    written = capsys.readouterr().out.split('"scores": [')[1].split(",")[0]
    assert len(written) <= 11
    assert np.float32(written) == np.float32(json.loads(written))


def test_top_and_unknown(fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    red = str(photos / "red.png")
    assert predict(fake_server, red, "--top=2", "--json", "--unknown-below=0.9") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["classes"][0] == "unknown"
    assert len(answer["classes"]) == len(answer["scores"]) == 2
    assert predict(fake_server, red, "--top=2", "--unknown-below=0.5") == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{red}  red               55.8%  ")
    assert line.count("%") == 2


@pytest.mark.parametrize("signature", ["serving_default", "classify"])
def test_questions_about_classes_agree(
    fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str], signature: str
) -> None:
    assert predict(fake_server, str(photos / "red.png"), f"--signature={signature}", "--json") == 0
    assert json.loads(capsys.readouterr().out)["classes"][0] == "red"
    assert fake_server.requests[0].model_spec.signature_name == signature


def test_pixels_are_decoded_here_and_answered_by_label_index(
    fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str], colour_scores: Any
) -> None:
    words = [str(photos / "sub" / "blue.PNG"), str(photos / "sub" / "broken.jpg")]
    assert predict(fake_server, *words, "--signature=pixels", "--json") == 1
    blue, broken = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    expected = colour_scores((0, 0, 255))
    order = np.argsort(-expected, kind="stable")
    assert blue["classes"] == [str(index) for index in order]
    np.testing.assert_allclose(blue["scores"], expected[order], atol=1e-6)
    assert "error" in broken
    assert fake_server.calls == 1


def test_features(fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    red = str(photos / "red.png")
    assert predict(fake_server, red, "--signature=features", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"image": red, "features": [1.0, 0.0, 0.0]}
    assert predict(fake_server, red, "--signature=features") == 0
    assert capsys.readouterr().out == f"{red}  3 numbers: 1 0 0 …\n"


def test_version_is_asked_for(fake_server: Any, photos: Path) -> None:
    assert predict(fake_server, str(photos / "red.png"), "--version=1") == 0
    assert fake_server.requests[0].model_spec.version.value == 1
    with pytest.raises(RemoteError, match="has no version 5 of 'colours'; it has 1"):
        predict(fake_server, str(photos / "red.png"), "--version=5")


def test_server_that_goes_away_ends_the_command(
    fake_server: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_client, "RETRY_WAITS_SECONDS", ())
    fake_server.unavailable_calls = 99
    with pytest.raises(RemoteError, match="No server answers at"):
        predict(fake_server, str(photos))


def test_sound_picture_that_is_rejected_with_its_neighbours_is_asked_again(
    fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_server.rejected_calls = 3
    assert predict(fake_server, str(photos / "red.png")) == 0
    assert "red  " in capsys.readouterr().out
    assert fake_server.calls == 4
    fake_server.rejected_calls = 99
    assert predict(fake_server, str(photos / "red.png")) == 1
    assert "error: The server does not take it: Invalid PNG data, size 7" in capsys.readouterr().out
    assert fake_server.calls == 8


def test_broken_picture_is_asked_about_once(fake_server: Any, photos: Path) -> None:
    assert predict(fake_server, str(photos / "sub" / "broken.jpg")) == 1
    assert fake_server.calls == 1


def test_slow_answer_is_that_pictures_line(fake_server: Any, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_server.hold.clear()
    assert predict(fake_server, str(photos / "red.png"), "--timeout=0.3") == 1
    assert "error: The server at" in capsys.readouterr().out


def test_questions_are_asked_side_by_side_up_to_the_limit(fake_server: Any, tmp_path: Path, plain_picture: Any) -> None:
    for index in range(12):
        (tmp_path / f"{index:02}.png").write_bytes(plain_picture((index, 0, 0)))
    fake_server.hold.clear()
    done: list[int] = []
    asking = threading.Thread(target=lambda: done.append(predict(fake_server, str(tmp_path), "--concurrency=3")))
    asking.start()
    wait_until(lambda: fake_server.under_way == 3)
    fake_server.hold.set()
    asking.join(timeout=60)
    assert done == [0]
    assert fake_server.most_under_way == 3
    assert fake_server.calls == 12


def wait_until(condition: Any, timeout_seconds: float = 30.0) -> None:
    end = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_answers_keep_the_order_of_the_pictures() -> None:
    release = [threading.Event() for _ in range(3)]

    def question(path: Path) -> dict[str, Any]:
        index = int(path.name)
        assert release[index].wait(timeout=30)
        if index:
            release[index - 1].set()  # The last picture is answered first.
        return {"index": index}

    release[2].set()
    answers = predict_command.ask_about([Path(str(i)) for i in range(3)], question, concurrency=3)
    assert [answer["index"] for _, answer in answers] == [0, 1, 2]


def test_few_pictures_are_held_however_many_there_are() -> None:
    drawn = 0

    def paths() -> Iterator[Path]:
        nonlocal drawn
        for index in range(10_000):
            drawn += 1
            yield Path(str(index))

    answers = predict_command.ask_about(paths(), lambda path: {}, concurrency=4)
    next(answers)
    assert drawn == 8
    next(answers)
    assert drawn == 9
    answers.close()  # type: ignore[attr-defined]
    assert drawn == 9


def test_patterns_folders_and_files_are_found(photos: Path) -> None:
    found = predict_command.find_images([f"{photos}/*.png", str(photos / "sub"), "gone.jpg"])
    assert list(found) == [
        photos / "red.png",
        photos / "sub" / "blue.PNG",
        photos / "sub" / "broken.jpg",
        Path("gone.jpg"),
    ]


def test_pattern_reaches_into_folders(photos: Path) -> None:
    assert list(predict_command.find_images([f"{photos}/**/b*.PNG"])) == [photos / "sub" / "blue.PNG"]


def test_pattern_that_finds_nothing_is_not_passed_over(tmp_path: Path) -> None:
    assert list(predict_command.find_images([f"{tmp_path}/*.png"])) == [tmp_path / "*.png"]


def test_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "cat[1].png").touch()
    assert list(predict_command.find_images([f"{tmp_path}/cat[1].png"])) == [tmp_path / "cat[1].png"]


def test_folder_without_pictures(fake_server: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        predict(fake_server, str(tmp_path))
    assert str(caught.value) == (
        f"There is no picture in {tmp_path}. Name files, or folders with .bmp, .gif, .jpeg, .jpg, .png, .webp files."
    )


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--concurrency=0", "--concurrency must be at least 1. Received: 0."),
        ("--timeout=0", "--timeout must be above 0 seconds. Received: 0."),
        ("--top=0", "--top must be at least 1. Received: 0."),
        ("--unknown-below=2", "--unknown-below is a score between 0 and 1. Received: 2."),
    ],
)
def test_wrong_numbers(fake_server: Any, photos: Path, flag: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        predict(fake_server, str(photos), flag)
    assert str(caught.value) == sentence
    assert fake_server.calls == 0
