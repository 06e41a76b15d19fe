"""The directory of one run: what it was asked, how far it is, what it found.

RUN/
  config.json          the settings; the same command goes on, another is refused
  split.csv            path, label, side and content hash of every image
  problems.csv         files that were left out, with the reason
  labels.txt           class names, in the order of the logits
  checkpoint.npz       while the run is under way: weights, optimizer, position
  metrics.jsonl        one line for each epoch
  network.keras, trained_model.json, run.json, model_card.md, evaluation/     when it is done
  tensorboard/         all along
"""

from __future__ import annotations

import csv
import errno
import fcntl
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from garden import atomic_files
from garden.data.image_folder import Problem
from garden.errors import RunError, UsageError
from garden.trained_model import FACTS_FILE
from garden.training.config import TrainingConfig

CHECKPOINT_FORMAT = 1
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_directory(path: Path, *, holds_ours: bool, what: str) -> None:
    """Make the directory of a run or of several, unless it is there.

    Args:
        path: The directory.
        holds_ours: Whether what is in it, if anything, is garden's.
        what: What it is a directory of, for the sentence.
    Raises: RunError, if it is a file, cannot be made, or holds the user's files.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is a file; --output must name a directory. Choose another one.")
    try:
        if path.is_dir() and not holds_ours and any(path.iterdir()):
            raise RunError(
                f"{path} is not empty and holds no {what}; garden would mix its files with yours. "
                "Give --output a new or an empty directory."
            )
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise
        raise RunError(f"{path} cannot be made ({error.strerror}). Give --output a place you can write to.") from error


class RunDirectory:
    """One run on disk; a context manager that keeps other processes out while it is open.

    Args:
        path: The directory; made if missing.
        config: The settings of the run. A directory of an unfinished run with the same settings goes on.
    Raises: RunError, if the directory belongs to another run, or another process works in it.
    """

    def __init__(self, path: Path, config: TrainingConfig) -> None:
        self.path = path
        self.config = config
        make_directory(path, holds_ours=(path / "config.json").is_file(), what="run")
        self._refuse_other_settings()

    def __enter__(self) -> RunDirectory:
        self._lock = (self.path / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise RunError(
                f"Another process is working in {self.path}; two would overwrite each other. "
                "Wait for it, stop it, or choose another --output."
            ) from error
        # What a killed process was writing; nobody else writes here now.
        for partial in self.path.rglob(".*.partial*"):
            partial.unlink(missing_ok=True)
        atomic_files.write_json(self.path / "config.json", self.config.to_json())
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()

    @property
    def finished(self) -> bool:
        """Whether the run is done."""
        return (self.path / FACTS_FILE).is_file() and (self.path / "run.json").is_file()

    @property
    def _started(self) -> bool:
        """Whether there is anything to lose: a run that failed at its pictures or its settings may be mended."""
        return any((self.path / name).exists() for name in ("split.csv", "checkpoint.npz", "run.json"))

    def _refuse_other_settings(self) -> None:
        config_file = self.path / "config.json"
        if not self._started:
            return
        try:
            earlier = TrainingConfig.from_json(json.loads(config_file.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
            raise RunError(
                f"{config_file} is damaged or of another version of garden, so the run cannot go on. "
                "Choose another --output."
            ) from error
        different = self.config.differences(earlier)
        if different:
            mine, theirs = self.config.to_json(), earlier.to_json()
            listed = "; ".join(f"{name} was {theirs[name]!r} and is {mine[name]!r}" for name in different)
            raise RunError(
                f"{self.path} holds a run with other settings ({listed}). "
                "Repeat its command to go on with it, or choose another --output."
            )

    def write_problems(self, problems: Iterable[Problem]) -> None:
        """List the files that are left out."""
        with (
            atomic_files.replacing(self.path / "problems.csv") as partial,
            partial.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["path", "reason"])
            writer.writerows((str(problem.path), problem.reason) for problem in problems)

    def write_metrics(self, history: Iterable[Mapping[str, Any]]) -> None:
        """One line for each epoch so far."""
        lines = "".join(json.dumps(epoch) + "\n" for epoch in history)
        atomic_files.write_text(self.path / "metrics.jsonl", lines)

    def save_checkpoint(self, position: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Write where the run is, in one step.

        Args:
            position: Plain JSON: phase, epoch, history, …
            arrays: Weights, optimizer state and so on, by name.
        """
        header = json.dumps({**position, "format": CHECKPOINT_FORMAT})
        with atomic_files.replacing(self.path / "checkpoint.npz") as partial:
            np.savez(partial, allow_pickle=False, header=np.array(header), **arrays)

    def load_checkpoint(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What `save_checkpoint` wrote last; None at the beginning of a run."""
        path = self.path / "checkpoint.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return json.loads(str(arrays.pop("header"))), arrays

    def remove_checkpoint(self) -> None:
        """A finished run needs none."""
        (self.path / "checkpoint.npz").unlink(missing_ok=True)
