"""What a scan finds in folders as people have them, and the sentence for each that cannot be used."""

import hashlib
import os
import shutil

import pytest

from garden.data.image_folder import LabelledFile, Problem, scan_image_folder
from garden.errors import ImageFolderError

EXAMPLE = "Give each class its own subfolder, e.g. photos/cat/1.jpg and photos/dog/1.jpg."


def names(folder):
    return {
        file.path.relative_to(folder.root).as_posix(): folder.class_names[file.label_index] for file in folder.files
    }


def sentence_of(path):
    with pytest.raises(ImageFolderError) as raised:
        scan_image_folder(path)
    return str(raised.value)


def test_files_labels_and_hashes(photos):
    folder = scan_image_folder(photos)
    assert folder.root == photos and folder.class_names == ("cat", "dog", "owl")
    assert folder.files_per_class() == (10, 5, 3) and folder.problems == ()
    first = folder.files[0]
    content_hash = hashlib.sha256((photos / "cat/0.png").read_bytes()).hexdigest()
    assert first == LabelledFile(photos / "cat/0.png", 0, content_hash)
    assert [facts.width for facts in folder.facts] == [60] * 18
    assert list(folder.files) == sorted(folder.files)


def test_deeper_folders_belong_to_their_class_and_names_may_be_anything(photos):
    strange = photos / "owl" / "Ausflug 2024" / "été ☀"
    strange.mkdir(parents=True)
    shutil.copy(photos / "owl/0.png", strange / "Eule im Wald.PNG")
    (photos / "dog").rename(photos / "große Hunde")
    folder = scan_image_folder(photos)
    assert folder.class_names == ("cat", "große Hunde", "owl")
    assert names(folder)["owl/Ausflug 2024/été ☀/Eule im Wald.PNG"] == "owl"


def test_what_file_managers_leave_behind_is_passed_over(photos):
    for name in (".DS_Store", "Thumbs.db", "cat/.DS_Store", "cat/._0.png", "dog/desktop.ini"):
        (photos / name).write_bytes(b"\x00\x01")
    for name in ("__MACOSX", ".git"):
        (photos / name).mkdir()
        shutil.copy(photos / "cat/0.png", photos / name)
    folder = scan_image_folder(photos)
    assert len(folder.files) == 18 and folder.problems == () and len(folder.class_names) == 3


def test_broken_files_are_named_and_the_rest_is_used(photos, pictures):
    (photos / "cat/empty.jpg").write_bytes(b"")
    (photos / "cat/notes.txt").write_text("a list of cats", encoding="utf-8")
    (photos / "dog/scan.jpg").write_bytes(b"II*\x00" + bytes(30))
    folder = scan_image_folder(photos)
    assert folder.problems == (
        Problem(photos / "cat/empty.jpg", "the file is empty (0 bytes). Fetch or save it again, or remove it."),
        Problem(
            photos / "cat/notes.txt",
            "it holds text, not a picture, whatever its name says. Fetch or save it again, or remove it.",
        ),
        Problem(
            photos / "dog/scan.jpg",
            "it is a TIFF file; garden reads JPEG, PNG, GIF, BMP and WebP. Convert it to JPEG or PNG.",
        ),
    )
    assert folder.files_per_class() == (10, 5, 3)


def test_the_content_decides_whatever_the_extension_says(photos, pictures):
    (photos / "cat/really_a_png.jpg").write_bytes((photos / "cat/0.png").read_bytes())
    (photos / "cat/no_extension").write_bytes(pictures.encoded(pictures.colour_picture(), "WEBP"))
    folder = scan_image_folder(photos)
    assert folder.problems == () and folder.files_per_class() == (12, 5, 3)


def test_damaged_pixels_are_found_by_verifying_only(photos):
    broken = photos / "cat/half.png"
    broken.write_bytes((photos / "cat/0.png").read_bytes()[:-40])
    assert scan_image_folder(photos).problems == ()
    assert scan_image_folder(photos, verify=True).problems == (
        Problem(broken, "the PNG data is damaged or ends too early. Fetch or save it again, or remove it."),
    )


def test_links_are_followed_but_not_in_circles(photos, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (photos / "owl").rename(elsewhere)
    (photos / "owl").symlink_to(elsewhere)
    (photos / "cat" / "all").symlink_to(photos)
    (photos / "cat" / "self").symlink_to(photos / "cat")
    (photos / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    folder = scan_image_folder(photos)
    assert folder.files_per_class() == (10, 5, 3)
    assert folder.problems == (
        Problem(
            photos / "dog/gone.png",
            "it is a link to a file that does not exist. Restore the picture, or remove the entry.",
        ),
    )


def test_loose_pictures_beside_class_folders(photos):
    shutil.copy(photos / "cat/0.png", photos / "who.png")
    (photos / "README").write_text("My pets", encoding="utf-8")
    folder = scan_image_folder(photos)
    assert folder.problems == (
        Problem(
            photos / "README",
            "it holds text, not a picture, whatever its name says. Fetch or save it again, or remove it.",
        ),
        Problem(
            photos / "who.png",
            "it lies beside the class folders, so its class is unknown. Move it into a class folder.",
        ),
    )


def test_a_folder_that_does_not_exist(tmp_path):
    assert sentence_of(tmp_path / "photoz") == (
        f"{tmp_path}/photoz does not exist; a folder of pictures is needed. Check the spelling."
    )


def test_a_file_instead_of_a_folder(photos):
    path = photos / "cat/0.png"
    assert sentence_of(path) == (
        f"{path} is a file; a folder with one subfolder per class, or a .csv file with the columns path and label, "
        "is needed. Give the folder that holds the class folders."
    )


def test_an_empty_folder(tmp_path):
    assert sentence_of(tmp_path) == f"{tmp_path} has no pictures; a classifier learns from pictures. {EXAMPLE}"


def test_pictures_without_class_folders(photos):
    assert sentence_of(photos / "cat") == (
        f"{photos}/cat has 10 files but no class folders; a picture's folder tells its class. {EXAMPLE}"
    )


def test_one_class(photos):
    shutil.rmtree(photos / "dog")
    shutil.rmtree(photos / "owl")
    assert sentence_of(photos) == f"{photos} has 1 class ('cat'); a classifier needs at least 2. {EXAMPLE}"


def test_one_picture_in_a_class(photos):
    for index in (1, 2):
        (photos / f"owl/{index}.png").write_bytes(b"")
    assert sentence_of(photos) == (
        f"Class 'owl' of {photos} has 1 usable picture; every class needs at least 2, one to learn from and one to "
        "check with. Add pictures of it, or remove the class."
    )


def test_an_empty_class_folder(photos):
    (photos / "yak").mkdir()
    assert sentence_of(photos) == (
        f"Class 'yak' of {photos} has no usable picture; every class needs at least 2, one to learn from and one "
        "to check with. Add pictures of it, or remove the class."
    )
    folder = scan_image_folder(photos, require_usable=False)
    assert folder.files_per_class() == (10, 5, 3, 0)


def test_nothing_but_broken_files(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.jpg").write_bytes(b"")
    assert sentence_of(tmp_path) == (
        f"{tmp_path} has 1 file, none of which can be used; a classifier learns from pictures. {EXAMPLE} "
        "The first, 1.jpg: the file is empty (0 bytes). Fetch or save it again, or remove it."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(photos):
    (photos / "cat/0.png").chmod(0)
    (problem,) = scan_image_folder(photos).problems
    assert problem.reason == "it cannot be read (Permission denied). Change its permissions."


def test_what_is_no_file_is_named_and_never_waited_for(photos):
    os.mkfifo(photos / "cat/pipe.jpg")
    table = photos.parent / "labels.csv"
    lines = [f"photos/{name}/{index}.png,{name}" for name in ("cat", "dog") for index in range(2)]
    table.write_text("\n".join(["path,label", *lines, "photos/cat/pipe.jpg,cat", "photos/owl,cat"]), encoding="utf-8")
    assert [problem.reason for problem in scan_image_folder(table).problems] == [
        "it is a pipe, a socket or a device, not a file. Remove it from the pictures.",
        "it is a folder, not a file. Remove it from the pictures.",
    ]
    assert len(scan_image_folder(photos).problems) == 1


def test_names_that_are_no_text(photos):
    strange = os.fsencode(photos) + b"/cat/caf\xe9.png"
    shutil.copy(photos / "cat/0.png", strange)
    shutil.copy(photos / "cat/0.png", photos / "cat/two\nlines.png")
    # What people do have: wide and no-break spaces, joiners.
    shutil.copy(photos / "cat/0.png", photos / "cat/猫\u3000写真\u00a0👩\u200d🔬.png")
    folder = scan_image_folder(photos)
    assert [problem.reason for problem in folder.problems] == [
        "its name is not one line of Unicode text. Rename it."
    ] * 2
    assert [problem.path.name for problem in folder.problems] == ["caf\\udce9.png", "two\\nlines.png"]
    assert len(folder.files) == 19
    os.rename(os.fsencode(photos / "owl"), os.fsencode(photos) + b"/h\xfbou")
    assert sentence_of(photos) == (
        f"{photos} has the class 'h\\udcfbou'; a class name is one line of Unicode text. Rename the class."
    )


def test_a_table_of_pictures(photos):
    table = photos.parent / "labels.csv"
    lines = ["\ufefflabel,who,path"]
    lines += [f"feline,me,photos/cat/{index}.png" for index in range(3)]
    lines += [f'"dog, old",you,{photos}/dog/{index}.png' for index in range(2)]
    lines += ["feline,me,photos/cat/99.png"]
    table.write_text("\n".join(lines), encoding="utf-8")
    folder = scan_image_folder(table)
    assert folder.root == photos.parent and folder.source == table and folder.class_names == ("dog, old", "feline")
    assert folder.files_per_class() == (2, 3)
    assert folder.files[0].path == photos / "cat/0.png"
    assert folder.problems == (
        Problem(photos / "cat/99.png", "it is not there. Restore the picture, or remove the entry."),
    )


TABLES = {
    "name,class\na,b\n": "{table} has the columns name, class; the columns path and label are needed. "
    "Name them in the first line, with a comma between: path,label.",
    "": "{table} has the columns none; the columns path and label are needed. Name them in the first line, with a "
    "comma between: path,label.",
    "path,label\nphotos/cat/0.png,cat\nphotos/cat/1.png,\n": "{table}, line 3, lacks a path or a label; every line "
    "needs both. Complete the line.",
    "path,label\nphotos/cat/0.png,cat\nphotos/cat/0.png,dog\n": "{table}, line 3, calls photos/cat/0.png 'dog', an "
    "earlier line 'cat'; a picture has one label. Remove one of the lines.",
    f"path,label\n{'x' * 200_000},cat\n": "{table}, line 2, is not CSV (field larger than field limit (131072)); every "
    "line holds a path, a comma and a label. Mend the line.",
    "path,label\n": "{table} has no pictures; a classifier learns from pictures. Add lines to it, one for each "
    "picture.",
    "path,label\nphotos/cat/0.png,cat\nphotos/cat/1.png,cat\n": "{table} has 1 class ('cat'); a classifier needs at "
    "least 2. Add lines to it, one for each picture.",
    'path,label\nphotos/cat/0.png,"a\ncat"\n': "{table} has the class 'a\\ncat'; a class name is one line of Unicode "
    "text. Rename the class.",
}


@pytest.mark.parametrize("content", TABLES, ids=range(len(TABLES)))
def test_tables_that_cannot_be_used(content, photos):
    table = photos.parent / "labels.csv"
    table.write_text(content, encoding="utf-8")
    assert sentence_of(table) == TABLES[content].format(table=table)


def test_a_table_in_another_encoding(photos):
    table = photos.parent / "labels.csv"
    table.write_bytes("path,label\nphotos/cat/0.png,Katzenbär\n".encode("latin-1"))
    assert sentence_of(table) == (f"{table} is not UTF-8 text; a table of pictures is. Save it as CSV in UTF-8.")
