"""An inspection's directory: whole or untouched, and nothing of others lost."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from garden.errors import InspectionError
from garden.inspection.panel import Curve, Grade, Panel
from garden.reports import event_files
from garden.reports.inspection_files import InspectionWriter

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def make_panel(**changes):
    facts = {
        "method": "saliency",
        "image": "cat",
        "layer": "",
        "unit": "class tabby",
        "pixels": PHOTO,
        "values": {"map": np.arange(6.0).reshape(2, 3)},
        "caption": "What speaks for it.",
        **changes,
    }
    return Panel(**facts)


def write(directory, *panels, log_directory=None):
    with InspectionWriter(
        directory, title="Tiny", network_facts={"classes": "3"}, log_directory=log_directory
    ) as writer:
        for panel in panels:
            writer.add(panel)
    return writer


def files_in(directory):
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_pictures_values_page_and_index_are_there(tmp_path):
    frames = np.stack([PHOTO, PHOTO[::-1]])
    panels = [
        make_panel(grade=Grade(0.1, 0.4, np.nan), curves=(Curve("deletion", np.linspace(0, 1, 3), np.ones(3)),)),
        make_panel(method="dream", layer="conv/2", unit="", pixels=frames, values={}),
        make_panel(method="filters", image="", layer="conv1", unit=""),
    ]
    writer = write(tmp_path / "out", *panels)
    assert files_in(tmp_path / "out") == {
        "cat/saliency-class-tabby.png",
        "cat/saliency-class-tabby.npz",
        "cat/dream-conv-2.gif",
        "network/filters-conv1.png",
        "network/filters-conv1.npz",
        "report.html",
        "index.json",
    }
    assert writer.report_path == tmp_path / "out" / "report.html"
    assert writer.panels_written == 3
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/cat/saliency-class-tabby.png")), PHOTO)
    with np.load(tmp_path / "out/cat/saliency-class-tabby.npz") as values:
        np.testing.assert_array_equal(values["map"], panels[0].values["map"])
    index = json.loads((tmp_path / "out/index.json").read_text(encoding="utf-8"))
    first, dream, _ = index["panels"]
    assert index["network"] == {"classes": "3"}
    assert first["tag"] == "garden/cat/saliency/class tabby"
    assert first["files"] == {"picture": "cat/saliency-class-tabby.png", "values": "cat/saliency-class-tabby.npz"}
    assert first["values"]["map"] == {"shape": [2, 3], "type": "float64"}
    assert first["grade"]["random_deletion_auc"] == 0.4
    assert first["grade"]["insertion_auc"] is None
    assert first["says"][0].startswith("Better than chance: deletion AUC 0.10, random 0.40.")
    assert (dream["shape"], dream["frame_seconds"], dream["grade"]) == ([2, 12, 16, 3], 0.1, None)


def test_names_that_clash_get_numbers(tmp_path):
    units = ["class A/b", "class a b", "class A-B", "x" * 300, "x" * 299]
    images = ["Cat", "cat", "index.json", "network", ""]
    panels = [make_panel(unit=unit) for unit in units] + [make_panel(image=image) for image in images]
    write(tmp_path, *panels)
    pictures = [path for path in files_in(tmp_path) if path.endswith(".png")]
    assert len({path.casefold() for path in pictures}) == len(panels)
    folders = {path.split("/")[0] for path in pictures}
    assert folders == {"cat", "Cat-2", "index.json-2", "network", "network-2"}


def test_two_panels_of_one_tag_are_both_kept(tmp_path):
    write(tmp_path, make_panel(), make_panel())
    index = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    assert [panel["tag"] for panel in index["panels"]] == [
        "garden/cat/saliency/class tabby",
        "garden/cat/saliency/class tabby-2",
    ]


def test_a_later_inspection_replaces_the_files_of_the_earlier_and_no_others(tmp_path):
    write(tmp_path, make_panel(), make_panel(image="dog"))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "cat" / "mine.png").write_text("mine")
    (tmp_path / "cat" / "dream.npz").write_text("mine")
    write(tmp_path, make_panel(pixels=255 - PHOTO), make_panel(method="dream", unit=""))
    assert files_in(tmp_path) == {
        "cat/saliency-class-tabby.png",
        "cat/saliency-class-tabby.npz",
        "cat/dream-2.png",
        "cat/dream-2.npz",
        "cat/mine.png",
        "cat/dream.npz",
        "notes.txt",
        "report.html",
        "index.json",
    }
    assert (tmp_path / "cat" / "dream.npz").read_text() == "mine"
    assert not (tmp_path / "dog").exists()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "cat/saliency-class-tabby.png")), 255 - PHOTO)


def test_an_index_that_names_files_elsewhere_costs_nobody_theirs(tmp_path):
    directory = tmp_path / "out"
    write(directory, make_panel())
    (tmp_path / "precious.png").write_text("mine")
    index = json.loads((directory / "index.json").read_text(encoding="utf-8"))
    index["panels"][0]["files"] = {"picture": "../precious.png", "values": str(tmp_path / "precious.png")}
    (directory / "index.json").write_text(json.dumps(index), encoding="utf-8")
    write(directory, make_panel(image="dog"))
    assert (tmp_path / "precious.png").read_text() == "mine"


@pytest.mark.parametrize("content", ["{}", "[1]", "not JSON", '{"panels": [], "format": "other"}'])
def test_an_index_of_somebody_else_is_not_overwritten(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    sentence = (
        f"{tmp_path} holds an index.json that is not of an inspection; nothing of others is overwritten. "
        "Give another directory."
    )
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        write(tmp_path, make_panel())
    assert files_in(tmp_path) == {"index.json"}
    assert (tmp_path / "index.json").read_text() == content


def test_a_page_of_somebody_else_is_not_overwritten(tmp_path):
    (tmp_path / "report.html").write_text("mine")
    sentence = (
        f"{tmp_path} holds a report.html without the index.json of an inspection; nothing of others is overwritten. "
        "Give another directory."
    )
    with pytest.raises(InspectionError, match=f"^{re.escape(sentence)}$"):
        write(tmp_path, make_panel())


def fail(directory, *panels, log_directory=None):
    with (
        pytest.raises(InspectionError, match="^The third method fails.$"),
        InspectionWriter(directory, title="t", network_facts={}, log_directory=log_directory) as writer,
    ):
        for panel in panels:
            writer.add(panel)
        raise InspectionError("The third method fails.")


def test_after_an_error_there_is_nothing(tmp_path):
    fail(tmp_path / "new" / "out", make_panel(), log_directory=tmp_path / "new" / "out" / "inspection")
    assert list(tmp_path.iterdir()) == []


def test_after_an_error_the_earlier_inspection_is_as_it_was(tmp_path):
    logs = tmp_path / "inspection"
    write(tmp_path, make_panel(), log_directory=logs)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    fail(tmp_path, make_panel(pixels=255 - PHOTO), make_panel(image="dog"), log_directory=logs)
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_process_left_goes_and_what_one_at_work_writes_stays(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, at_work = (tmp_path / f".inspection.{number}.partial" for number in (ended.pid, os.getppid()))
    foreign = tmp_path / ".inspection.mine.partial"
    for directory in (left, at_work, foreign):
        (directory / "cat").mkdir(parents=True)
    write(tmp_path, make_panel())
    assert not left.exists()
    assert at_work.is_dir() and foreign.is_dir()


def test_what_fails_at_the_end_leaves_nothing_either(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    write(tmp_path, make_panel(), log_directory=tmp_path / "inspection")
    before = files_in(tmp_path)
    assert len(before) == 5
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write(tmp_path, make_panel(image="dog"), log_directory=tmp_path / "inspection")
    assert files_in(tmp_path) == before


def test_a_later_inspection_replaces_the_earlier_in_tensorboard(tmp_path):
    for _ in range(2):
        write(tmp_path, make_panel(), log_directory=tmp_path / "logs" / "inspection")
    assert len(event_files.event_files(tmp_path / "logs" / "inspection")) == 1


def test_panels_are_added_within_the_block(tmp_path):
    writer = InspectionWriter(tmp_path, title="t", network_facts={})
    with pytest.raises(ValueError, match=re.escape("`add` works within `with InspectionWriter(…) as writer:`.")):
        writer.add(make_panel())
