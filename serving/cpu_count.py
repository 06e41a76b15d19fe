"""How many cores this process may really use: a container's quota, not the machine's size."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_cpus(cgroup_root: Path = CGROUP_ROOT) -> int:
    """Cores that the scheduler and the control group grant, at least 1.

    Args:
        cgroup_root: Where the control-group file system is mounted; version 2 and version 1 are read.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_of_version_2(cgroup_root) or _quota_of_version_1(cgroup_root)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _quota_of_version_2(cgroup_root: Path) -> float | None:
    try:
        quota, period = (cgroup_root / "cpu.max").read_text().split()[:2]
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_of_version_1(cgroup_root: Path) -> float | None:
    try:
        quota = int((cgroup_root / "cpu" / "cpu.cfs_quota_us").read_text())
        period = int((cgroup_root / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
