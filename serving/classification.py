"""What Classify asks of a signature and of what it computes.

Source: TF Serving's servables/tensorflow/classifier.cc; the sentences are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from serving import proto_tensors
from serving.errors import InvalidArgument
from serving.messages import Signature

METHOD_NAME = "tensorflow/serving/classify"

_DT_FLOAT, _DT_STRING = 1, 7


def check_method(signature: Signature) -> None:
    """Refuse a signature that was not exported to classify.

    Raises: InvalidArgument.
    """
    if signature.method_name != METHOD_NAME:
        raise InvalidArgument(
            f"Expected classification signature method_name to be {METHOD_NAME}. Was: {signature.method_name}"
        )


def tensors(signature: Signature) -> tuple[str, dict[str, str]]:
    """The tensor that takes the examples, and those of `classes` and `scores`, whichever there are, by output name.

    Raises: InvalidArgument, if the signature does not classify.
    """
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise InvalidArgument(f"No classification inputs found in SignatureDef: {signature.debug_string}")
    names = {alias: signature.outputs[alias].name for alias in ("classes", "scores") if alias in signature.outputs}
    if not names:
        raise InvalidArgument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.debug_string}"
        )
    return signature.inputs["inputs"].name, names


def check_outputs(outputs: Mapping[str, np.ndarray], num_examples: int) -> None:
    """Refuse outputs that are not one row of labels and scores for each example.

    Args:
        outputs: `classes`, `scores` or both.
        num_examples: What the request held.
    Raises: InvalidArgument.
    """
    for alias, expected in (("classes", _DT_STRING), ("scores", _DT_FLOAT)):
        if alias not in outputs:
            continue
        array = outputs[alias]
        if array.ndim != 2:
            raise InvalidArgument(
                "Expected Tensor shape: [batch_size num_classes] but got " + proto_tensors.shape_text(array.shape)
            )
        if (dtype := proto_tensors.type_number(array)) != expected:
            raise InvalidArgument(
                f"Expected {alias} Tensor of {proto_tensors.enum_name(expected)}. Got: {proto_tensors.enum_name(dtype)}"
            )
        if array.shape[0] != num_examples:
            raise InvalidArgument(f"Expected {alias} output batch size of {num_examples}. Got: {array.shape[0]}")
    if len(outputs) == 2 and outputs["classes"].shape[1] != outputs["scores"].shape[1]:
        raise InvalidArgument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {outputs['classes'].shape[1]} vs. {outputs['scores'].shape[1]}"
        )
