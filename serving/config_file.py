"""Looks into the model configuration file again and again (`--model_config_file_poll_wait_seconds`)."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from serving import model_configs
from serving.errors import ServingError
from serving.reload import Configuration

_log = logging.getLogger(__name__)

_STOP_SECONDS = 1.0


class ConfigFilePoller:
    """Reads the model configuration file again and again, and puts in force what it says."""

    def __init__(self, path: Path, configuration: Configuration, *, poll_wait_seconds: float) -> None:
        """
        Args:
            path: The file.
            configuration: Told of what it says, whether it changed or not.
            poll_wait_seconds: Time between looks.
        """
        self._path = path
        self._configuration = configuration
        self._poll_wait_seconds = poll_wait_seconds
        self._latest_error = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll_until_stopped, name="config-file", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, but wait for no file system that hangs."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS)

    def poll(self) -> None:
        """Read the file once. What is wrong is only logged, and only when it is news."""
        try:
            self._configuration.update(model_configs.read_message(self._path))
            error = ""
        except ServingError as failure:
            error = str(failure)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            _log.exception("Reading %s failed", self._path)
        if error and error != self._latest_error:
            _log.error("Reloading %s failed; the models stay as they are: %s", self._path, error)
        self._latest_error = error

    def _poll_until_stopped(self) -> None:
        while not self._stopped.wait(self._poll_wait_seconds):
            self.poll()
