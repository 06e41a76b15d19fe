"""What loading a version adds to the metrics, where upstream counts it. Source: tensorflow/cc/saved_model/loader.cc and
tensorflow_serving/servables/tensorflow/{saved_model_warmup_util,machine_learning_metadata}.cc.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from serving.errors import ServingError
from serving.messages import ServableId
from serving.metrics import Metrics

MLMD_FILE = Path("assets.extra") / "mlmd_uuid"

Loaded = TypeVar("Loaded")


def count_load(metrics: Metrics, path: Path, load: Callable[[Path], Loaded]) -> Loaded:
    """Load a version and count the attempt, whatever comes of it.

    Args:
        metrics: Where it is counted.
        path: The version's directory.
        load: Called with it.
    Returns: what `load` returns.
    """
    started = time.perf_counter()
    succeeded = False
    try:
        loaded = load(path)
        succeeded = True
        return loaded
    finally:
        metrics.record_load(str(path), time.perf_counter() - started, succeeded=succeeded)


def count_warm_up(metrics: Metrics, path: Path, replay: Callable[[], int]) -> int:
    """Replay warm-up records and count them; a version that brings none is not counted.

    Args:
        metrics: Where they are counted.
        path: The version's directory.
        replay: Returns how many records there were.
    Returns: what `replay` returns.
    """
    started = time.perf_counter()
    try:
        records = replay()
    except ServingError as error:
        metrics.record_warmup(str(path), str(error), 0, time.perf_counter() - started)
        raise
    if records:
        metrics.record_warmup(str(path), "OK", records, time.perf_counter() - started)
    return records


def publish_mlmd(metrics: Metrics, id: ServableId, path: Path) -> None:
    """Show that a version has an ML Metadata UUID: as 0, since it is no number; so does upstream's page."""
    if (path / MLMD_FILE).is_file():
        metrics.mlmd_map.cell(id.name, str(id.version)).set(0)
