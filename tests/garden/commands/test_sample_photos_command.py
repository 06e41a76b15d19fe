"""`garden sample-photos` prints where the pictures are and how many of each class."""

from garden import cli
from garden.data import sample_photos
from garden.data.sample_photos import SamplePhotos


def test_the_answer(tmp_path, monkeypatch, capsys):
    asked = []

    def fetch(destination, *, package):
        asked.append((destination, package))
        return SamplePhotos(destination, "stamps 1.0", {"bird": 2, "sea_creature": 13}, is_new=package is None)

    monkeypatch.setattr(sample_photos, "fetch_sample_photos", fetch)
    assert cli.main(["sample-photos", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        f"bird             2\nsea_creature    13\n{tmp_path}: 15 pictures in 2 classes, from stamps 1.0\n"
    )
    assert cli.main(["sample-photos", str(tmp_path), "--package", "digits"]) == 0
    assert capsys.readouterr().out.endswith("from stamps 1.0, already there\n")
    assert asked == [(tmp_path, None), (tmp_path, "digits")]
