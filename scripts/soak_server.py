"""What the soak does to a server: models whose answer is their own version, a process that is killed and started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

PROJECT_ROOT = Path(__file__).resolve().parents[1]
# The variable with this value is the one that becomes the version's number.
_PLACEHOLDER = np.float32(123456.75)


def save_model(directory: Path) -> Path:
    """A SavedModel `x` → `y`, which is its own version for every row, once it is published."""
    import tensorflow as tf

    module = tf.Module()
    module.version = tf.Variable(_PLACEHOLDER)
    # Some weight, so that a version that is never given back shows.
    module.weight = tf.Variable(tf.zeros([64, 64]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def answer(x: Any) -> dict[str, Any]:
        return {"y": x * module.weight[0, 0] + module.version}

    tf.saved_model.save(module, str(directory), signatures={"serving_default": answer})
    return directory


def publish(saved: Path, directory: Path, version: int) -> None:
    """Copy the SavedModel, with its number in the weights, and rename it into place."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = directory.parent / f".{directory.name}.partial"
    shutil.copytree(saved, aside)
    _write_variables(aside, version)
    aside.rename(directory)


def _write_variables(directory: Path, version: int) -> None:
    """The checkpoint anew: a number changed in its bytes alone would fail its checksum."""
    import tensorflow as tf

    prefix = str(directory / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    names = sorted(reader.get_variable_to_shape_map())
    values = {name: reader.get_tensor(name) for name in names}
    for name, value in values.items():
        if np.array_equal(value, _PLACEHOLDER):
            values[name] = np.float32(version)
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
                      tensors=[tf.constant(values[name]) for name in names])  # fmt: skip


def resident_megabytes(process_id: int) -> float:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_for(condition: Callable[[], Any], *, seconds: float) -> Any:
    """The first true answer of a condition; None if there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.1)
    return None


class ServerProcess:
    """`python -m serving` on two ports that stay the same when it is started again."""

    def __init__(self, config: Path, *, variables: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._variables = dict(variables or {})
        self.grpc_port, self.rest_port = _free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")
        self._stub = model_service_pb2_grpc.ModelServiceStub(self._channel)

    @property
    def process_id(self) -> int:
        """Of the process that runs."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait for its ports.

        Raises: TimeoutError, with the end of its log.
        """
        command = [
            sys.executable, "-m", "serving", f"--port={self.grpc_port}", f"--rest_api_port={self.rest_port}",
            f"--model_config_file={self._config}", "--model_config_file_poll_wait_seconds=1",
            "--allow_version_labels_for_unavailable_models", "--max_num_load_retries=0",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env={**os.environ, **self._variables}, stdout=self._log, stderr=self._log
        )

        def is_up() -> bool:
            return _is_open(self.grpc_port) and _is_open(self.rest_port)

        def is_over() -> bool:
            return self._process is not None and self._process.poll() is not None

        if not wait_for(lambda: is_up() or is_over(), seconds=60) or is_over():
            raise TimeoutError(f"The server did not start:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-15:])

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process is None:
            raise RuntimeError("The server is not running.")
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def state(self, model: str, version: int) -> str:
        """A version's state, such as "AVAILABLE"; "" if the server does not know it."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        request.model_spec.version.value = version
        try:
            (status,) = self._stub.GetModelStatus(request, timeout=10).model_version_status
        except grpc.RpcError as error:
            return "" if error.code() is grpc.StatusCode.NOT_FOUND else error.code().name
        return str(get_model_status_pb2.ModelVersionStatus.State.Name(status.state))

    def wait_for_state(self, model: str, version: int, state: str) -> str:
        """The state that a version has as soon as it is the one waited for, or after 30 s."""
        wait_for(lambda: self.state(model, version) == state, seconds=30)
        return self.state(model, version)

    def reload(self, config_text: str) -> None:
        """HandleReloadConfigRequest."""
        config = text_format.Parse(config_text, model_server_config_pb2.ModelServerConfig())
        response = self._stub.HandleReloadConfigRequest(
            model_management_pb2.ReloadConfigRequest(config=config), timeout=60
        )
        if response.status.error_code:
            raise RuntimeError(response.status.error_message)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
