"""`--rest_strict_format` over the wire: upstream's bytes, where by default only the values are upstream's."""

from __future__ import annotations

import json

from serving.config import ModelConfig

DOCUMENT = {"instances": [{"a": 8e6, "b": 1e6}, {"a": 1, "b": 1 / 3 - 1}]}
STRICT = (
    '{\n    "predictions": [\n        {\n            "difference": 7e+06,\n            "sum": 9e+06\n        },\n'
    '        {\n            "difference": 1.66666675,\n            "sum": 0.333333313\n        }\n    ]\n}'
)


def test_floats_are_written_as_upstream_writes_them(saved_models, start_server, client, tools, tmp_path):
    tools.publish(saved_models.arithmetic, tmp_path / "arithmetic" / "3")
    strict = start_server(models=(ModelConfig("arithmetic", tmp_path / "arithmetic"),), rest_strict_format=True)
    path = "/v1/models/arithmetic/versions/3:predict"
    assert strict.post(path, DOCUMENT) == (200, STRICT)
    status, body = client.post(path, DOCUMENT)
    assert status == 200
    assert body == (
        STRICT.replace("7e+06", "7000000.0")
        .replace("9e+06", "9000000.0")
        .replace("1.66666675", "1.6666667")
        .replace("0.333333313", "0.3333333")
    )
    assert json.loads(body)["predictions"][0] == json.loads(STRICT)["predictions"][0]
