"""The client is light: no TensorFlow, no server, half a second at most."""

from __future__ import annotations

import subprocess
import sys
from typing import Any


def test_a_prediction_needs_no_tensorflow(client: Any) -> None:
    code = f"""
import sys
from serving.client import GrpcClient, RestClient
for kind, port in ((GrpcClient, {client.server.grpc_port}), (RestClient, {client.server.rest_port})):
    with kind(f"127.0.0.1:{{port}}") as client:
        assert client.predict("arithmetic", {{"a": [1.0], "b": [2.0]}}, version=3)["sum"].tolist() == [3.0]
heavy = ("tensorflow", "tensorflow_serving", "aiohttp", "serving.server", "serving.inference")
print(*(name for name in heavy if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
