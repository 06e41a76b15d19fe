"""A command's standard error holds what it says itself, and a TensorFlow that cannot load is not hidden."""

import os
import subprocess
import sys

CODE = """
import sys
from garden import quiet_start
quiet_start.hush_tensorflow()
{extra}
try:
    import tensorflow
except ImportError as error:
    print("caught", error, file=sys.stderr)
print("my own words", file=sys.stderr)
"""


def standard_error(extra="", path=None, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(extra=extra)],
        env={**inherited, **environment, **({"PYTHONPATH": str(path)} if path else {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stderr


def test_loading_tensorflow_prints_nothing():
    assert standard_error() == "my own words\n"


def test_what_a_failing_import_printed_is_shown(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text(
        "import os\nos.write(2, b'library missing\\n')\nraise ImportError('no library')\n"
    )
    printed = standard_error(path=tmp_path)
    assert printed == "library missing\ncaught no library\nmy own words\n"


def test_a_log_level_of_the_users_switches_it_off(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("import os\nos.write(2, b'chatter\\n')\n")
    assert standard_error(path=tmp_path, TF_CPP_MIN_LOG_LEVEL="0") == "chatter\nmy own words\n"
    assert standard_error(path=tmp_path) == "my own words\n"
