"""The pictures of tests/garden/data, for the commands that look at folders of pictures."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[1] / "data" / "conftest.py"
_specification = importlib.util.spec_from_file_location("garden_test_pictures", _PATH)
_pictures = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_pictures)

photos, pictures = _pictures.photos, _pictures.pictures
