"""Makes `oracles.py` a module that the cases and tests can use: test folders are not packages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location("parity_oracles", Path(__file__).with_name("oracles.py"))
_module = importlib.util.module_from_spec(_spec)
sys.modules["parity_oracles"] = _module
_spec.loader.exec_module(_module)
