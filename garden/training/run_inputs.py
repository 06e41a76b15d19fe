"""What a run trains on: its split, and what enters the trainable part for each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

import garden
from garden import progress, weights
from garden.architectures import Architecture
from garden.cache_directory import cache_directory
from garden.data import split as splitting
from garden.data.image_folder import ImageFolder, LabelledFile, Problem
from garden.data.split import Split
from garden.errors import ImageFolderError
from garden.image_spec import ImageSpec
from garden.training import activations
from garden.training.activation_cache import ActivationCache, discard_oldest
from garden.training.config import TrainingConfig
from garden.training.phase import Images
from garden.training.transfer import TransferParts


@dataclasses.dataclass(frozen=True)
class RunInputs:
    """What a run trains on.

    Args:
        split: The pictures by purpose, without the unreadable ones.
        problems: Files that are left out.
        extractor: Makes views and computes the frozen part.
        train: Training images.
        validation: Images to choose, stop and calibrate by.
        test: Images for the final figures; may be none.
    """

    split: Split
    problems: tuple[Problem, ...]
    extractor: activations.Extractor
    train: Images
    validation: Images
    test: Images


def split_pictures(folder: ImageFolder, config: TrainingConfig) -> Split:
    """The split that the settings ask for.

    Raises: ImageFolderError, if a class has too few different pictures for it.
    """
    groups = splitting.group_by_stem(folder.files) if config.group_by == "stem" else None
    if config.folds:
        return splitting.k_folds(folder, folds=config.folds, seed=config.seed, groups=groups)[config.fold]
    return splitting.split_image_folder(
        folder, validation=config.validation, test=config.test, seed=config.seed, groups=groups
    )


def prepare_inputs(
    folder: ImageFolder,
    split: Split,
    parts: TransferParts,
    *,
    architecture: Architecture,
    image_spec: ImageSpec,
    config: TrainingConfig,
) -> RunInputs:
    """Compute what the frozen part gives for all images and views, as far as it is not on disk already.

    Args:
        folder: All pictures that could be used.
        split: Which of them are for what.
        parts: The network, cut.
        architecture: Its registry entry.
        image_spec: Its preparation.
        config: The run's settings.
    Raises:
        ImageFolderError, if a class has no readable picture left to train or validate with.
        ResourceError, if the disk has no room for the cache.
    """
    files = [file for side in split.sides().values() for file in side]
    extractor = activations.Extractor(parts.extract, image_spec, preset=config.augmentation, seed=config.seed)
    source: activations.CachedActivations | activations.ComputedActivations
    if config.cache:
        facts = _cache_facts(parts, architecture, image_spec, config)
        cache = ActivationCache(cache_directory() / "activations", facts)
        source = activations.CachedActivations(files, extractor, cache)
        num_plain = len(split.validation) + len(split.test)
        broken = source.compute_missing([config.num_views] * len(split.train) + [1] * num_plain)
        discard_oldest(cache.directory.parent, keep=cache.directory)
    else:
        source = activations.ComputedActivations(files, extractor)
        broken = activations.unreadable(files, image_spec)
    for problem in broken:
        progress.say(f"left out: {problem.path}: {problem.reason}")
    readable = _without(split, broken, folder, config)
    position = {file.path: index for index, file in enumerate(files)}

    def images(side: Sequence[LabelledFile], num_views: int = 1) -> Images:
        return Images(
            source,
            np.array([position[file.path] for file in side], np.int64),
            np.array([file.label_index for file in side], np.int64),
            num_views,
        )

    return RunInputs(
        split=readable,
        problems=(*folder.problems, *broken),
        extractor=extractor,
        train=images(readable.train, config.num_views),
        validation=images(readable.validation),
        test=images(readable.test),
    )


def _cache_facts(
    parts: TransferParts, architecture: Architecture, image_spec: ImageSpec, config: TrainingConfig
) -> dict[str, object]:
    """Everything that changes what the frozen part gives for a picture's view."""
    return {
        "architecture": architecture.name,
        "weights": weights.fingerprint(parts.extract),
        "preparation": image_spec.fingerprint(),
        "boundary": parts.boundary,
        "features": architecture.features_layer,
        "mixed_precision": config.mixed_precision,
        "garden": garden.__version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def _without(split: Split, broken: Sequence[Problem], folder: ImageFolder, config: TrainingConfig) -> Split:
    """The split without the unreadable pictures; every class must still be learnt from and checked with."""
    gone = {problem.path for problem in broken}
    left = Split(**{side: tuple(f for f in files if f.path not in gone) for side, files in split.sides().items()})
    for side, files in {"train": left.train, "validation": left.validation}.items():
        present = {file.label_index for file in files}
        missing = [name for index, name in enumerate(folder.class_names) if index not in present]
        if missing and gone:
            raise ImageFolderError(
                f"Without its unreadable files, {missing[0]} has no image left for {side}. "
                f"`garden check {config.photos}` names them; replace them, or add images to the class."
            )
    return left
