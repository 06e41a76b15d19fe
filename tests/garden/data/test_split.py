"""Splits: proportional, by content, with copies on one side, and with every class on both sides."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garden.data import duplicates
from garden.data.image_folder import ImageFolder, LabelledFile, scan_image_folder
from garden.data.split import Split, group_by_stem, k_folds, read_split_csv, split_image_folder, write_split_csv
from garden.errors import ImageFolderError, RunError


def folder_of(counts, *, prefix="", root="/photos"):
    """A folder of so many files per class that exist on paper only; the content hash comes from class and number."""
    files = [
        LabelledFile(Path(f"{root}/{label}/{prefix}{index}.png"), label, digest(f"{label} {index}"))
        for label, count in enumerate(counts)
        for index in range(count)
    ]
    return ImageFolder(Path(root), tuple(f"class{label}" for label in range(len(counts))), tuple(sorted(files)))


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def counts(files, num_classes):
    by_label = Counter(file.label_index for file in files)
    return [by_label[label] for label in range(num_classes)]


def hashes(files):
    return {file.content_hash for file in files}


def test_every_class_is_split_in_proportion():
    split = split_image_folder(folder_of([100, 10, 5, 2]), validation=0.2, test=0.1)
    assert counts(split.validation, 4) == [20, 2, 1, 1]
    assert counts(split.test, 4) == [10, 1, 1, 0]  # Of two pictures none is left for a test.
    assert counts(split.train, 4) == [70, 7, 3, 1]


@settings(deadline=None, max_examples=50)
@given(
    class_counts=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    validation=st.floats(0.01, 0.6),
    test=st.sampled_from([0.0, 0.05, 0.3]),
    seed=st.integers(0, 5),
)
def test_every_picture_is_on_one_side_and_every_class_on_both(class_counts, validation, test, seed):
    folder = folder_of(class_counts)
    split = split_image_folder(folder, validation=validation, test=test, seed=seed)
    assert sorted(split.train + split.validation + split.test) == list(folder.files)
    assert min(counts(split.train, len(class_counts))) >= 1
    assert min(counts(split.validation, len(class_counts))) >= 1
    for label, count in enumerate(class_counts):
        assert counts(split.validation, len(class_counts))[label] <= max(1, validation * count + 0.5)
        if test and count >= 3 and validation <= 0.3:
            assert counts(split.test, len(class_counts))[label] >= 1


def test_content_and_seed_decide_not_names_or_order():
    folder = folder_of([30, 20])
    renamed = folder_of([30, 20], prefix="img_", root="/elsewhere")
    renamed = dataclasses.replace(renamed, files=renamed.files[::-1])
    split, other = split_image_folder(folder, seed=3), split_image_folder(renamed, seed=3)
    assert hashes(split.validation) == hashes(other.validation)
    assert hashes(split.validation) != hashes(split_image_folder(folder, seed=4).validation)


def test_added_pictures_leave_nearly_all_others_where_they_were():
    before = split_image_folder(folder_of([200, 50]))
    after = split_image_folder(folder_of([210, 50]))
    assert len(hashes(before.validation) - hashes(after.validation)) <= 4
    assert counts(after.validation, 2) == [42, 10]


def test_asking_for_a_test_split_leaves_validation_as_it_is():
    folder = folder_of([50, 20])
    assert split_image_folder(folder).validation == split_image_folder(folder, test=0.2).validation


def sides_of(split):
    return {file.path.name: side for side, files in split.sides().items() for file in files}


@pytest.mark.parametrize("seed", range(8))
def test_copies_stay_on_one_side(seed, photos, pictures):
    picture = pictures.colour_picture(1)  # That of cat/0.png.
    (photos / "cat/exact.png").write_bytes((photos / "cat/0.png").read_bytes())
    (photos / "cat/smaller.jpg").write_bytes(pictures.encoded(picture.resize((40, 26)), "JPEG", quality=80))
    split = split_image_folder(scan_image_folder(photos), validation=0.4, test=0.2, seed=seed)
    sides = {file.path: side for side, files in split.sides().items() for file in files}
    assert len({sides[photos / "cat" / name] for name in ("0.png", "exact.png", "smaller.jpg")}) == 1


def test_groups_stay_on_one_side():
    folder = folder_of([40, 40])
    groups = {file.path: f"{file.label_index}-{int(file.path.stem) // 4}" for file in folder.files}
    split = split_image_folder(folder, groups=groups, test=0.2)
    for left, right in ((split.train, split.validation), (split.train, split.test), (split.validation, split.test)):
        assert not {groups[file.path] for file in left} & {groups[file.path] for file in right}
    assert counts(split.validation, 2) == [8, 8]


def test_groups_may_span_classes():
    """Ten animals, each photographed asleep and awake: four pictures per class and animal."""
    folder = folder_of([40, 40])
    groups = {file.path: int(file.path.stem) // 4 for file in folder.files}
    split = split_image_folder(folder, groups=groups)
    assert counts(split.validation, 2) == [8, 8]
    assert not {groups[file.path] for file in split.train} & {groups[file.path] for file in split.validation}


def test_the_same_bytes_in_two_classes_are_never_checked_with():
    folder = folder_of([10, 10])
    twin = LabelledFile(Path("/photos/1/twin.png"), 1, digest("0 3"))
    folder = dataclasses.replace(folder, files=tuple(sorted((*folder.files, twin))))
    for seed in range(10):
        split = split_image_folder(folder, seed=seed, validation=0.4, test=0.3)
        assert {digest("0 3")} <= hashes(split.train)
        assert digest("0 3") not in hashes(split.validation) | hashes(split.test)
        for fold in k_folds(folder, folds=4, seed=seed):
            assert digest("0 3") in hashes(fold.train) and digest("0 3") not in hashes(fold.validation)


def test_a_class_of_copies_cannot_be_split():
    folder = folder_of([10, 3])
    files = tuple(
        dataclasses.replace(file, content_hash="same") if file.label_index == 1 else file for file in folder.files
    )
    with pytest.raises(ImageFolderError) as raised:
        split_image_folder(dataclasses.replace(folder, files=files))
    assert str(raised.value) == (
        "The 3 pictures of class 'class1' in /photos cannot be divided: they are copies of one another, belong to "
        "one group, or are filed in another class too; one is needed to learn from and another to check with. "
        "Add different pictures of it."
    )


@pytest.mark.parametrize("validation, test", [(0.0, 0.1), (1.0, 0.0), (0.6, 0.4), (0.2, -0.1)])
def test_shares_that_leave_nothing_to_learn_from(validation, test):
    with pytest.raises(ValueError) as raised:
        split_image_folder(folder_of([5, 5]), validation=validation, test=test)
    assert str(raised.value) == (
        "`validation` must be above 0, `test` at least 0, and their sum below 1. "
        f"Received: validation={validation!r}, test={test!r}."
    )


def test_folds_check_with_every_picture_once_and_are_even():
    folder = folder_of([23, 11, 5])
    folds = k_folds(folder, folds=5)
    assert sorted(file for fold in folds for file in fold.validation) == list(folder.files)
    for fold in folds:
        assert sorted(fold.train + fold.validation) == list(folder.files) and fold.test == ()
    assert sorted(counts(fold.validation, 3)[0] for fold in folds) == [4, 4, 5, 5, 5]
    assert sorted(counts(fold.validation, 3)[1] for fold in folds) == [2, 2, 2, 2, 3]
    assert {len(fold.validation) for fold in folds} <= {7, 8}


def test_folds_keep_groups_together():
    folder = folder_of([40, 40])
    groups = {file.path: int(file.path.stem) // 2 for file in folder.files}
    for fold in k_folds(folder, folds=5, groups=groups):
        assert not {groups[file.path] for file in fold.train} & {groups[file.path] for file in fold.validation}


def test_more_folds_than_pictures():
    with pytest.raises(ImageFolderError) as raised:
        k_folds(folder_of([10, 3]), folds=5)
    assert str(raised.value) == (
        "Class 'class1' of /photos has 3 pictures that are not copies of one another; 5 folds need at least 5. "
        "Ask for fewer folds, or add pictures of it."
    )
    with pytest.raises(ValueError, match=r"^`folds` must be at least 2\. Received: folds=1\.$"):
        k_folds(folder_of([10, 3]), folds=1)


def test_stems_group_files_of_the_same_name():
    files = [LabelledFile(Path(name), 0, "") for name in ("/a/canadian--penny.png", "/a/us--penny.png", "/b/penny.jpg")]
    assert set(group_by_stem(files).values()) == {"penny"}


def test_a_split_survives_its_table(photos, tmp_path):
    (photos / "dog").rename(photos / 'dog, "großer"')
    folder = scan_image_folder(photos)
    split = split_image_folder(folder, test=0.3)
    path = tmp_path / "split.csv"
    write_split_csv(split, path, class_names=folder.class_names)
    assert read_split_csv(path) == (split, folder.class_names)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,label,side,content_hash" and len(lines) == 19
    first = split.train[0]
    assert lines[1] == f"{first.path},cat,train,{first.content_hash}"


@pytest.mark.parametrize("content", ["", "path,label\n/a,b\n", "path,label,side,content_hash\n/a,b,left,0\n"])
def test_a_table_that_is_no_split(content, tmp_path):
    path = tmp_path / "split.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match="is no split that garden wrote"):
        read_split_csv(path)


def test_splitting_looks_at_pictures_once(photos, monkeypatch):
    """Decoding is the slow part; folds must not repeat it."""
    calls = []
    original = duplicates.fingerprint_files
    monkeypatch.setattr(duplicates, "fingerprint_files", lambda files: calls.append(1) or original(files))
    k_folds(scan_image_folder(photos), folds=3)
    assert calls == [1]


def test_sides_by_name():
    split = Split(train=(), validation=(), test=())
    assert list(split.sides()) == ["train", "validation", "test"]
