"""The examples of docs/how-to/ask-a-model.md run as they are, but for the port."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "ask-a-model.md"
EXAMPLES = [code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)]
NAMES = ["one question", "an event loop", "patience", "several servers", "stock stubs"]


@pytest.fixture
def pets_port(serve_grpc: Any) -> int:
    """A server of one model, which knows one answer."""
    from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

    response = predict_pb2.PredictResponse()
    response.model_spec.name = "pets"
    response.model_spec.version.value = 3
    classes, scores = response.outputs["classes"], response.outputs["scores"]
    for tensor, dtype in ((classes, 7), (scores, 1)):
        tensor.dtype = dtype
        for size in (1, 2):
            tensor.tensor_shape.dim.add(size=size)
    classes.string_val.extend([b"cat", b"lynx"])
    scores.float_val.extend(np.array([0.75, 0.25], np.float32))
    status = get_model_status_pb2.GetModelStatusResponse()
    status.model_version_status.add(version=3, state=30)
    requests: list[bytes] = []

    def predict(request: bytes, context: Any) -> bytes:
        requests.append(request)
        assert predict_pb2.PredictRequest.FromString(request).inputs["image_bytes"].string_val == [b"picture"]
        return response.SerializeToString()

    server = serve_grpc({"Predict": predict, "GetModelStatus": lambda request, context: status.SerializeToString()})
    return int(server.port)


def test_every_example_has_a_name() -> None:
    assert len(EXAMPLES) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_example_runs(
    name: str,
    pets_port: int,
    tmp_path: Path,
    write_identity: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in ("cat.jpg", "photos/1.jpg", "photos/2.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"picture")
    write_identity(tmp_path, "me", write_identity(tmp_path, "ca", None, "ca"), "me")
    monkeypatch.chdir(tmp_path)
    code = EXAMPLES[NAMES.index(name)].replace("localhost:8500", f"localhost:{pets_port}")
    variables: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec"), variables)
    printed = {
        "one question": "3 [b'cat' b'lynx'] [0.75 0.25]\n",
        "an event loop": "cat\ncat\n",
        "patience": "",
        "several servers": "",
        "stock stubs": "[b'cat', b'lynx'] [0.75, 0.25]\n",
    }
    assert capsys.readouterr().out == printed[name]
    for closable in ("client", "channel"):
        if closable in variables and name != "one question":
            variables[closable].close()
