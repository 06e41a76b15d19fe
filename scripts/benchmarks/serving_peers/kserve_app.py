"""The SavedModel as a custom model of KServe's Python server: V2 over gRPC, V1 (cheaper for it) over REST.

Source of the form: KServe's page "Custom Python Serving Runtime".
"""

from __future__ import annotations

import argparse
from typing import Any

import kserve
from engine import Engine, plain
from kserve import InferOutput, InferRequest, InferResponse
from kserve.model_server import parser
from kserve.utils.utils import from_np_dtype, generate_uuid


class Served(kserve.Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self._engine = Engine()
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        if isinstance(payload, InferRequest):
            outputs = []
            for name, array in self._engine.run({one.name: one.as_numpy() for one in payload.inputs}).items():
                output = InferOutput(name, list(array.shape), from_np_dtype(array.dtype))
                output.set_data_from_numpy(array)
                outputs.append(output)
            return InferResponse(generate_uuid(), self.name, outputs)
        rows = payload["instances"]
        arrays = self._engine.run({
            name: self._engine.array(name, [row[name] for row in rows]) for name in self._engine.input_types
        })  # fmt: skip
        columns = {name: plain(array) for name, array in arrays.items()}
        return {"predictions": [{name: column[row] for name, column in columns.items()} for row in range(len(rows))]}


if __name__ == "__main__":
    arguments, _ = argparse.ArgumentParser(parents=[parser]).parse_known_args()
    kserve.ModelServer().start([Served(arguments.model_name)])
