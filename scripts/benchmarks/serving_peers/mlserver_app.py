"""The SavedModel as a custom runtime of MLServer: V2 over gRPC and REST.

Source of the form: MLServer's page "Custom Inference Runtimes".
"""

from __future__ import annotations

import numpy as np
from engine import Engine
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Served(MLModel):
    async def load(self) -> bool:
        self._engine = Engine()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {}
        for tensor in payload.inputs:
            if tensor.datatype == "BYTES":
                inputs[tensor.name] = np.array(self.decode(tensor), object)
            else:
                inputs[tensor.name] = NumpyCodec.decode_input(tensor)
        outputs = []
        for name, array in self._engine.run(inputs).items():
            if array.dtype == object:
                output = StringCodec.encode_output(name, [value.decode() for value in array.reshape(-1)])
                output.shape = list(array.shape)
            else:
                output = NumpyCodec.encode_output(name, array)
            outputs.append(output)
        return InferenceResponse(model_name=self.name, outputs=outputs)
