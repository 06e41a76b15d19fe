"""FilterWatch: a film of a run's filters and of the patches that excite its units, one frame for each epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from garden import atomic_files, progress
from garden.inspection import evolution
from garden.inspection.evolution import Evolution
from garden.inspection.inspected_network import InspectedNetwork
from garden.reports import inspection_descriptions
from garden.reports.tensorboard_writer import RunWriter

PICTURES = 64
FRAME_SECONDS = 0.4
KEPT = "kept"


class FilterWatch:
    """Takes a snapshot before the first epoch in which convolutions train, after each, and of what is kept.

    Each epoch's numbers are a file of their own until `finish` puts them together, so that a run that was killed
    goes on with them; an epoch that is trained again replaces its file.

    Args:
        directory: Such as RUN/evolution; made if missing.
        network: The network that trains.
        trained: Names of the layers that train.
        pixels: Pictures in which patches are looked for, uint8 RGB of the network's size.
        writer: Of the run's TensorBoard; None for none.
        epochs_done: How many epochs a run that goes on has behind it; snapshots of later ones are taken again.
    """

    def __init__(
        self,
        directory: Path,
        network: InspectedNetwork,
        *,
        trained: set[str],
        pixels: np.ndarray,
        writer: RunWriter | None,
        epochs_done: int,
    ) -> None:
        self.directory = directory
        self.evolution = Evolution(network, trained=trained, pixels=pixels)
        self._writer = writer
        self._directions: np.ndarray | None = None
        self._announce(network)
        if not self.watches:
            return
        directory.mkdir(parents=True, exist_ok=True)
        for number, path in self._files().items():
            if number > epochs_done:
                path.unlink()
        earlier = list(self._files().values())
        if earlier:
            self.evolution.units = _read(earlier[0]).get("units")

    @property
    def watches(self) -> bool:
        """Whether there is anything to see."""
        return self.evolution.filters_path is not None or self.evolution.patches_path is not None

    def before(self, phase: str, epoch: int) -> None:
        """Note how it was after `epoch` epochs, when a phase begins or goes on; unless that is known."""
        if self.watches and epoch not in self._files():
            self.after(phase, epoch)

    def after(self, phase: str, epoch: int) -> None:
        """Note how it is after `epoch` epochs, in a file and in TensorBoard."""
        if not self.watches:
            return
        snapshot = self.evolution.snapshot()
        _write(self.directory / f"epoch-{epoch:05d}.npz", snapshot)
        if self._writer is None:
            return
        sheets, descriptions = {}, {}
        if "filters" in snapshot:
            if self._directions is None:
                first = _read(self._files()[min(self._files())])
                self._directions = evolution.colour_directions(first["filters"])
            sheet = evolution.filters_sheet(snapshot["filters"], directions=self._directions)
            path = self.evolution.filters_path or ""
            sheets[f"garden/filters/{path}"] = sheet
            descriptions[f"garden/filters/{path}"] = inspection_descriptions.with_place(
                f"The filters of {path} while it learns, one step an epoch.", "", "filters in training", path
            )
        if "units" in snapshot:
            path = self.evolution.patches_path or ""
            sheets[f"garden/top_patches/{path}"] = self.evolution.patches_sheet(snapshot)
            descriptions[f"garden/top_patches/{path}"] = inspection_descriptions.with_place(
                f"The patches that excite units of {path} most while it learns, one step an epoch.",
                "",
                "patches in training",
                path,
            )
        self._writer.pictures(sheets, descriptions=descriptions, phase=phase, step=epoch)

    def finish(self) -> None:
        """Write the films, a strip of some frames of each, and all numbers; the single snapshots go."""
        files = self._files()
        if not self.watches or not files:
            return
        snapshots = [_read(files[number]) for number in sorted(files)] + [self.evolution.snapshot()]
        names = [f"epoch {number}" for number in sorted(files)] + [KEPT]
        for name, frames in evolution.film(self.evolution, snapshots, names).items():
            with atomic_files.replacing(self.directory / f"{name}.gif") as partial:
                _write_gif(partial, frames)
            with atomic_files.replacing(self.directory / f"{name}.png") as partial:
                Image.fromarray(evolution.strip(frames)).save(partial)
        together = {
            name: np.stack([snapshot[name] for snapshot in snapshots])
            for name in snapshots[0]
            if all(name in snapshot for snapshot in snapshots)
        }
        _write(
            self.directory / "evolution.npz",
            {
                **together,
                "epochs": np.array(names),
                "filters_path": np.array(self.evolution.filters_path or ""),
                "patches_path": np.array(self.evolution.patches_path or ""),
            },
        )
        for path in files.values():
            path.unlink()

    def _announce(self, network: InspectedNetwork) -> None:
        filters, patches = self.evolution.filters_path, self.evolution.patches_path
        if not self.watches:
            progress.say(
                "--watch-filters has nothing to watch: no convolution trains in this run. Give --unfreeze and "
                "--late-epochs, or --weights none."
            )
        elif filters is None:
            progress.say(
                f"watching patches of {patches}; the convolutions that train are 1×1, whose filters are no pictures. "
                "--unfreeze an earlier endpoint trains others as well"
            )
        else:
            first = network.convolution_paths()[0]
            frozen = "" if filters == first else f"; {first}, the first layer, is frozen"
            progress.say(f"watching the filters of {filters}, and patches of {patches or 'no layer'}{frozen}")

    def _files(self) -> dict[int, Path]:
        """Snapshots by epoch."""
        return {int(path.stem.partition("-")[2]): path for path in sorted(self.directory.glob("epoch-*.npz"))}


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_files.replacing(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **arrays)


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _write_gif(path: Path, frames: np.ndarray) -> None:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=int(FRAME_SECONDS * 1000), loop=0)
