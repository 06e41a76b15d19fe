"""Write docs/parity.json: how far each network's answers are from an independent implementation's.

Takes some minutes and several gigabytes. Arguments: shell patterns on architecture names; by default all. Entries
that are not measured keep their figures.
"""

from __future__ import annotations

import fnmatch
import gc
import importlib.machinery
import json
import sys
import types
from pathlib import Path

from garden import progress, quiet_start

quiet_start.hush_tensorflow()

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "parity.json"


def main(patterns: list[str]) -> int:
    """Measure the cases that fit and write the file. Exit code 1 if one is beyond the tolerance."""
    loader = importlib.machinery.SourceFileLoader("parity_oracles", str(ROOT / "tests" / "parity" / "oracles.py"))
    oracles = types.ModuleType(loader.name)
    oracles.__file__ = loader.path
    sys.modules[loader.name] = oracles
    loader.exec_module(oracles)
    rows = {(row["architecture"], row["oracle"]): row for row in json.loads(FILE.read_text())} if FILE.is_file() else {}
    cases = oracles.load_cases()
    beyond = 0
    for case in cases:
        if not any(fnmatch.fnmatchcase(case.architecture, pattern) for pattern in patterns or ["*"]):
            continue
        difference = case.difference()
        beyond += difference > oracles.TOLERANCE
        progress.say(f"{case.architecture}: {difference:.1e} from {case.oracle_with_version}")
        rows[case.architecture, case.oracle_with_version] = {
            "architecture": case.architecture,
            "oracle": case.oracle_with_version,
            "difference": float(f"{difference:.1e}"),
        }
        gc.collect()
    known = {(case.architecture, case.oracle_with_version) for case in cases}
    listed = [rows[key] for key in sorted(rows) if key in known]
    FILE.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
