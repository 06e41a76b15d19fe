"""The SavedModel as a BentoML service: JSON over REST. Its gRPC server ended with version 1.3.

Source of the form: BentoML's pages "Create online API Services" and "Input and output types".
"""

from __future__ import annotations

from typing import Any

import bentoml
from engine import Engine, plain


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Served:
    def __init__(self) -> None:
        self._engine = Engine()

    @bentoml.api
    async def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
        arrays = {name: self._engine.array(name, values) for name, values in inputs.items()}
        return {name: plain(array) for name, array in self._engine.run(arrays).items()}
