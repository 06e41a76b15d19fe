"""`garden check` on folders with everything that goes wrong."""

import json

import pytest

from garden import cli
from garden.data.image_folder import scan_image_folder
from garden.data.split import split_image_folder
from garden.errors import ImageFolderError


def check(capsys, *arguments):
    code = cli.main(["check", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def messy(photos, pictures):
    """One of each: broken, copied, copied into another class, look-alike, tiny, misnamed, turned, grey."""
    (photos / "cat/broken.png").write_bytes((photos / "cat/0.png").read_bytes()[:-40])
    (photos / "cat/notes.txt").write_text("hello", encoding="utf-8")
    (photos / "cat/copy.png").write_bytes((photos / "cat/1.png").read_bytes())
    (photos / "owl/copy.png").write_bytes((photos / "dog/1.png").read_bytes())
    (photos / "dog/small.jpg").write_bytes(
        pictures.encoded(pictures.colour_picture(11).resize((48, 32)), "JPEG", exif=b"Exif\x00\x00" + pictures.tiff(1))
    )
    (photos / "owl/tiny.png").write_bytes(pictures.encoded(pictures.colour_picture(50, height=8, width=9), "PNG"))
    turned = pictures.colour_picture(51)
    (photos / "owl/turned.jpg").write_bytes(
        pictures.encoded(turned.convert("L"), "JPEG", exif=b"Exif\x00\x00" + pictures.tiff(6))
    )
    (photos / "owl/misnamed.jpg").write_bytes(pictures.encoded(pictures.colour_picture(52), "PNG"))
    return photos


def test_a_clean_folder(photos, capsys):
    code, out, _ = check(capsys, photos, "--strict")
    assert code == 0
    size = sum(path.stat().st_size for path in photos.rglob("*.png")) / 1e6
    assert out == (
        f"{photos}: 18 usable pictures in 3 classes, {size:.1f} MB\n"
        "\n"
        "Classes\n"
        "  cat     10  ██████████████████████████████\n"
        "  dog      5  ███████████████\n"
        "  owl      3  █████████\n"
        "  Unbalanced: cat has 3.3 times as many as owl. Every split keeps the proportions, figures\n"
        "  are given per class, and `garden finetune --class-weights balanced` lets small classes count more.\n"
        "\n"
        "Pictures\n"
        "  size    60 × 40 in the middle, from 60 × 40 to 60 × 40\n"
        "  format  PNG 18\n"
        "  mode    RGB 18\n"
        "\n"
        "Unreadable: none\n"
        "\n"
        "Duplicates: none\n"
        "\n"
        "Ready: nothing to mend.\n"
    )


def test_everything_that_is_wrong_is_named(messy, capsys):
    before = {path: path.read_bytes() for path in messy.rglob("*") if path.is_file()}
    code, out, _ = check(capsys, messy)
    assert code == 0
    pictures, problems = out.split("\n\n")[2:4]
    assert pictures == (
        "Pictures\n"
        "  size    60 × 40 in the middle, from 9 × 8 to 60 × 40\n"
        "  format  PNG 22, JPEG 2\n"
        "  mode    RGB 23\n"
        "          L 1 (grey: becomes RGB)\n"
        "  1 picture stored turned or mirrored: turned upright by the EXIF data.\n"
        "  1 picture below 32 pixels: enlarged, which adds no detail.\n"
        "    owl/tiny.png\n"
        "  1 file with the extension of another format: the content counts.\n"
        "    owl/misnamed.jpg"
    )
    assert problems == (
        "Left out: 2 files. Training goes on without them and names them again.\n"
        "  cat/broken.png: the PNG data is damaged or ends too early. Fetch or save it again, or remove it.\n"
        "  cat/notes.txt: it holds text, not a picture, whatever its name says. Fetch or save it again, or remove it."
    )
    assert out.split("\n\n", 4)[4] == (
        "Duplicates: 3 groups\n"
        "  Same file in different classes: one label is wrong. Learnt from, never checked with; remove the wrong "
        "ones.\n"
        "    dog/1.png  owl/copy.png\n"
        "  Same file twice: kept on one side of every split.\n"
        "    cat/1.png  cat/copy.png\n"
        "  Look alike: kept on one side of every split.\n"
        "    dog/0.png  dog/small.jpg\n"
        "\n"
        "Can be used as it is; mending the above makes it better.\n"
    )
    assert {path: path.read_bytes() for path in messy.rglob("*") if path.is_file()} == before


def test_strict_fails_when_there_is_something_to_mend(messy, capsys):
    assert check(capsys, messy, "--strict")[0] == 1


@pytest.mark.parametrize("kind, code", [("a file left out", 1), ("a copy", 1), ("a look-alike in a class", 0)])
def test_what_strict_means(kind, code, photos, pictures, capsys):
    if kind == "a file left out":
        (photos / "cat/x.png").write_bytes(b"")
    elif kind == "a copy":
        (photos / "cat/x.png").write_bytes((photos / "cat/0.png").read_bytes())
    else:
        (photos / "cat/x.jpg").write_bytes(pictures.encoded(pictures.colour_picture(1), "JPEG"))
    assert check(capsys, photos, "--strict")[0] == code


def test_json_has_everything(messy, capsys):
    code, out, _ = check(capsys, messy, "--json")
    report = json.loads(out)
    assert code == 0 and report["has_problems"] and report["unusable"] is None
    assert report["classes"] == {"cat": 11, "dog": 6, "owl": 7} and report["images"] == 24
    assert report["formats"] == {"PNG": 22, "JPEG": 2} and report["modes"] == {"RGB": 23, "L": 1}
    assert report["sizes"] == {"smallest": [9, 8], "median": [60, 40], "largest": [60, 40]}
    assert (report["turned"], report["animated"]) == (1, 0)
    assert report["tiny"] == [str(messy / "owl/tiny.png")] and report["misnamed"] == [str(messy / "owl/misnamed.jpg")]
    assert [problem["path"] for problem in report["problems"]] == [
        str(messy / "cat/broken.png"),
        str(messy / "cat/notes.txt"),
    ]
    assert report["duplicates"] == [
        {
            "exact": True,
            "crosses_classes": False,
            "files": [str(messy / "cat/1.png"), str(messy / "cat/copy.png")],
        },
        {"exact": True, "crosses_classes": True, "files": [str(messy / "dog/1.png"), str(messy / "owl/copy.png")]},
        {
            "exact": False,
            "crosses_classes": False,
            "files": [str(messy / "dog/0.png"), str(messy / "dog/small.jpg")],
        },
    ]


def test_a_folder_that_cannot_be_used_is_still_reported(photos, capsys):
    (photos / "yak").mkdir()
    code, out, _ = check(capsys, photos)
    assert code == 1
    assert "  yak      0  \n" in out
    assert out.endswith(
        f"Cannot be used yet: Class 'yak' of {photos} has no usable picture; every class needs at least 2, one to "
        "learn from and one to check with. Add pictures of it, or remove the class.\n"
    )


def test_a_class_of_copies_cannot_be_used_and_training_agrees(photos, capsys):
    (photos / "yak").mkdir()
    for index in range(3):
        (photos / "yak" / f"{index}.png").write_bytes((photos / "cat/0.png").read_bytes() + bytes(index))
    (photos / "cat/0.png").unlink()
    with pytest.raises(ImageFolderError) as raised:
        split_image_folder(scan_image_folder(photos))
    assert str(raised.value).startswith(f"The 3 pictures of class 'yak' in {photos} cannot be divided: ")
    code, out, _ = check(capsys, photos)
    assert code == 1
    assert out.endswith(f"Cannot be used yet: {raised.value}\n")


def test_a_folder_that_does_not_exist(tmp_path, capsys):
    code, out, err = check(capsys, tmp_path / "photoz")
    assert (code, out) == (1, "")
    assert err == (
        f"garden check: {tmp_path}/photoz does not exist; a folder of pictures is needed. Check the spelling.\n"
    )
