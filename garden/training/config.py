"""TrainingConfig: everything that decides what a fine-tuning run gives."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from garden.errors import UsageError

AUGMENTATIONS = ("none", "light", "heavy")
MIXES = ("none", "mixup", "cutmix")
CLASS_WEIGHTS = ("none", "balanced")
GROUPINGS = ("none", "stem")
RESIZES = ("stretch", "pad", "crop")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """One fine-tuning run; checked on construction, plain JSON both ways.

    Args:
        photos: Folder of class folders, or a CSV of path and label.
        architecture: A name of `garden list`.
        weights: "imagenet", "none" (train everything from scratch) or the path of a weights file.
        image_size: Side of the network's square input, in pixels; None for the architecture's own.
        resize: How a picture becomes square: "stretch" and "pad" show all of it, "crop" its centre.
        validation: Share of the images held out to choose, stop and calibrate by.
        test: Share of the images held out for the final figures only.
        folds: Number of folds of a cross-validation; 0 for one split.
        fold: Which fold is held out, from 0; only with `folds`.
        group_by: "stem" keeps pictures of the same file name, whatever their folder, on one side; "none" only
            duplicates.
        unfreeze: First endpoint that trains in the second phase; "auto", "none" or "all".
        head_epochs: Passes over the training images while only the head trains.
        late_epochs: Passes while the late convolutions train as well.
        head_rate: Peak learning rate of the head; None lets the learning-rate finder choose.
        late_rate: Peak learning rate of the second phase, for the layers nearest the head; None lets the finder choose.
        rate_decay: Factor on the rate for each endpoint further from the head.
        batch_size: Images in a training step.
        weight_decay: Decoupled weight decay (AdamW) on kernels.
        dropout_rate: Dropout before the logits; None for the architecture's own.
        augmentation: "none", "light" or "heavy".
        views: Versions of each training image that epochs take turns with; the first is the plain image.
        mix: "none", "mixup" or "cutmix", applied to what enters the part of the network that trains.
        mix_alpha: Parameter of the Beta distribution that mixing proportions come from.
        label_smoothing: Share of the loss that asks for all classes alike.
        class_weights: "none", or "balanced" to count every class alike.
        early_stopping: Epochs without a better validation loss after which a phase ends, keeping the best weights;
            0 runs all epochs and keeps the last weights.
        ema: Momentum of an exponential moving average of the weights, per step; 0 for none.
        mixed_precision: Compute in bfloat16 (CPU) or float16 (GPU), keep weights in float32.
        unknown_precision: Precision on validation that the "unknown" threshold must reach; None for no threshold.
        seed: Decides initial head weights, split, order, views, mixing and dropout.
        deterministic: Ask TensorFlow for bit-identical operations, at some cost in speed.
        cache: Keep what the frozen part computes on disk.
        checkpoint_seconds: Least time between checkpoints.
    Raises: UsageError, if an argument is out of range.
    """

    photos: Path
    architecture: str
    weights: str = "imagenet"
    image_size: int | None = None
    resize: str = "stretch"
    validation: float = 0.2
    test: float = 0.0
    folds: int = 0
    fold: int = 0
    group_by: str = "none"
    unfreeze: str = "auto"
    head_epochs: int = 20
    late_epochs: int = 10
    head_rate: float | None = 3e-3
    late_rate: float | None = 5e-4
    rate_decay: float = 0.7
    batch_size: int = 32
    weight_decay: float = 1e-4
    dropout_rate: float | None = None
    augmentation: str = "light"
    views: int = 4
    mix: str = "none"
    mix_alpha: float = 0.2
    label_smoothing: float = 0.1
    class_weights: str = "none"
    early_stopping: int = 8
    ema: float = 0.0
    mixed_precision: bool = False
    unknown_precision: float | None = 0.95
    seed: int = 0
    deterministic: bool = False
    cache: bool = True
    checkpoint_seconds: float = 5.0

    def __post_init__(self) -> None:
        _choice("--augmentation", self.augmentation, AUGMENTATIONS)
        _choice("--resize", self.resize, RESIZES)
        _choice("--group-by", self.group_by, GROUPINGS)
        _choice("--mix", self.mix, MIXES)
        _choice("--class-weights", self.class_weights, CLASS_WEIGHTS)
        _range("--validation", self.validation, 0.0, 0.9, open_low=True)
        _range("--test", self.test, 0.0, 0.9)
        if self.validation + self.test > 0.9:
            raise UsageError(
                f"--validation {self.validation:g} and --test {self.test:g} leave less than a tenth of the images "
                "to train on; together they may be at most 0.9."
            )
        _range("--folds", self.folds, 0, 100)
        if self.folds == 1:
            raise UsageError("--folds 1 leaves nothing to hold out; give 2 or more, or 0 for one split.")
        if self.folds and self.test:
            raise UsageError("--folds and --test exclude each other: every fold is the test images of one run.")
        _range("--fold", self.fold, 0, max(self.folds - 1, 0))
        _range("--head-epochs", self.head_epochs, 0, 100_000)
        _range("--late-epochs", self.late_epochs, 0, 100_000)
        if self.head_epochs + self.late_epochs == 0:
            raise UsageError("--head-epochs 0 and --late-epochs 0 train nothing; give one of them a number above 0.")
        if self.head_epochs == 0 and self.unfreeze == "none" and not self.from_scratch:
            raise UsageError(
                "--head-epochs 0 and --unfreeze none train nothing; give --head-epochs a number above 0, or "
                "--unfreeze auto."
            )
        if self.from_scratch and self.unfreeze not in ("auto", "all"):
            raise UsageError(
                f"--weights none trains everything, so --unfreeze {self.unfreeze} cannot be followed; leave it out, or "
                "give --weights."
            )
        for flag, rate in (("--head-rate", self.head_rate), ("--late-rate", self.late_rate)):
            if rate is not None:
                _range(flag, rate, 0.0, 10.0, open_low=True)
        _range("--rate-decay", self.rate_decay, 0.0, 1.0, open_low=True)
        _range("--batch-size", self.batch_size, 1, 65_536)
        _range("--weight-decay", self.weight_decay, 0.0, 1.0)
        if self.dropout_rate is not None:
            _range("--dropout", self.dropout_rate, 0.0, 0.99)
        _range("--views", self.views, 1, 1000)
        _range("--mix-alpha", self.mix_alpha, 0.0, 100.0, open_low=True)
        _range("--label-smoothing", self.label_smoothing, 0.0, 0.99)
        _range("--early-stopping", self.early_stopping, 0, 100_000)
        _range("--ema", self.ema, 0.0, 0.99999)
        _range("--seed", self.seed, 0, 2**32 - 1)
        _range("--checkpoint-seconds", self.checkpoint_seconds, 0.0, 1e9)
        if self.unknown_precision is not None:
            _range("--unknown-precision", self.unknown_precision, 0.0, 1.0, open_low=True)
        if self.image_size is not None:
            _range("--image-size", self.image_size, 8, 4096)

    @property
    def num_views(self) -> int:
        """Versions of each training image; 1 without augmentation."""
        return 1 if self.augmentation == "none" else self.views

    @property
    def from_scratch(self) -> bool:
        """Whether there are no weights to transfer, so that everything trains."""
        return self.weights == "none"

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; `from_json` reads it back."""
        return {**dataclasses.asdict(self), "photos": str(self.photos)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingConfig:
        """The configuration that `to_json` wrote."""
        return cls(**{**value, "photos": Path(value["photos"])})

    def fingerprint(self) -> str:
        """A hash of everything that decides the resulting weights."""
        facts = {name: value for name, value in self.to_json().items() if name not in NOT_DECISIVE}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: TrainingConfig) -> list[str]:
        """Names of the settings in which two runs differ, of those that decide the resulting weights."""
        mine, theirs = self.to_json(), other.to_json()
        return [name for name in mine if name not in NOT_DECISIVE and mine[name] != theirs[name]]


# Settings that may change between a kill and the resumption: they decide how fast, not what.
NOT_DECISIVE = frozenset({"cache", "checkpoint_seconds"})


def _choice(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{flag} {value} is not known; give one of {', '.join(allowed)}.")


def _range(flag: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    inside = low < value <= high if open_low else low <= value <= high
    if not inside:
        bound = f"{'above' if open_low else 'at least'} {low:.10g}"
        raise UsageError(f"{flag} {value:.10g} is out of range; give a number {bound} and at most {high:.10g}.")
