"""The server's log begins with its own lines, and a TensorFlow that cannot load is not hidden."""

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
from serving.quiet_start import import_tensorflow_quietly
try:
    import_tensorflow_quietly()
    import tensorflow
except ImportError as error:
    print("caught", error, file=sys.stderr)
print("my own words, level", os.environ["TF_CPP_MIN_LOG_LEVEL"], file=sys.stderr)
"""


def standard_error(path=None, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**inherited, **environment, **({"PYTHONPATH": str(path)} if path else {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stderr


@pytest.fixture
def chatty(tmp_path):
    """Where a package `tensorflow` lies that writes to the file descriptor, as its libraries do."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import os\nos.write(2, b'chatter\\n')\n")
    return tmp_path


def test_loading_tensorflow_prints_nothing():
    assert standard_error() == "my own words, level 3\n"


def test_what_a_failing_import_printed_is_shown(chatty):
    with (chatty / "tensorflow" / "__init__.py").open("a") as file:
        file.write("raise ImportError('no library')\n")
    assert standard_error(chatty) == "chatter\ncaught no library\nmy own words, level 3\n"


@pytest.mark.parametrize(("level", "chatter"), [("0", "chatter\n"), ("1", "chatter\n"), ("2", ""), ("3", "")])
def test_a_log_level_of_the_operators_decides(chatty, level, chatter):
    expected = f"{chatter}my own words, level {level}\n"
    assert standard_error(chatty, TF_CPP_MIN_LOG_LEVEL=level) == expected
