"""What Regress asks of a signature and of what it computes.

Source: TF Serving's servables/tensorflow/regressor.cc; the sentences are theirs.
"""

from __future__ import annotations

import numpy as np

from serving import proto_tensors
from serving.errors import InvalidArgument
from serving.messages import Signature

METHOD_NAME = "tensorflow/serving/regress"

_DT_FLOAT = 1


def check_method(signature: Signature) -> None:
    """Refuse a signature that was not exported to regress.

    Raises: InvalidArgument.
    """
    if signature.method_name != METHOD_NAME:
        raise InvalidArgument(
            f"Expected regression signature method_name to be {METHOD_NAME}. Was: {signature.method_name}"
        )


def tensors(signature: Signature) -> tuple[str, dict[str, str]]:
    """The tensor that takes the examples, and that of `outputs` by its name.

    Raises: InvalidArgument, if the signature does not regress.
    """
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise InvalidArgument("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise InvalidArgument(f"No regression inputs found in SignatureDef: {signature.debug_string}")
    if "outputs" not in signature.outputs:
        raise InvalidArgument(f"No regression outputs found in SignatureDef: {signature.debug_string}")
    return signature.inputs["inputs"].name, {"outputs": signature.outputs["outputs"].name}


def values(output: np.ndarray, num_examples: int) -> np.ndarray:
    """One float32 for each example, `[examples]`.

    Args:
        output: What was computed for `outputs`.
        num_examples: What the request held.
    Raises: InvalidArgument, if it is something else.
    """
    if not (output.ndim == 1 or (output.ndim == 2 and output.shape[1] == 1)):
        raise InvalidArgument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + proto_tensors.shape_text(output.shape)
        )
    if output.shape[0] != num_examples:
        raise InvalidArgument(f"Input batch size did not match output batch size: {num_examples} vs. {output.shape[0]}")
    if (dtype := proto_tensors.type_number(output)) != _DT_FLOAT:
        raise InvalidArgument(f"Expected output Tensor of DT_FLOAT.  Got: {proto_tensors.enum_name(dtype)}")
    return output.reshape(-1)
