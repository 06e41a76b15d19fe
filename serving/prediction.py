"""What Predict asks of a signature: which arrays are fed, which tensors are fetched.

Source: TF Serving's servables/tensorflow/predict_util.cc and TensorFlow's cc/saved_model/util.cc; the sentences are
theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from serving import classification, regression
from serving.errors import Internal, InvalidArgument
from serving.messages import Signature

METHOD_NAME = "tensorflow/serving/predict"
_METHOD_NAMES = (METHOD_NAME, classification.METHOD_NAME, regression.METHOD_NAME)


def check_method(signature: Signature) -> None:
    """Refuse a signature that was not exported for any of the three methods.

    Raises: Internal.
    """
    if signature.method_name not in _METHOD_NAMES:
        raise Internal(
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHOD_NAMES)}}}. "
            f"Was: {signature.method_name}"
        )


def feeds(signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by tensor name, from the request or the defaults, in TF Serving's order of checks.

    Raises: InvalidArgument.
    """
    expected = signature.inputs
    if len(inputs) > len(expected) or (len(inputs) < len(expected) and not signature.defaults):
        raise InvalidArgument(
            f"input size does not match signature: {len(inputs)}!={len(expected)} "
            f"len({{{_names(inputs)}}}) != len({{{_names(expected)}}}). "
            f"Sent extra: {{{_names(set(inputs) - set(expected))}}}. "
            f"Missing but required: {{{_names(set(expected) - set(inputs))}}}."
        )
    fed = {}
    for alias, spec in expected.items():
        if alias in inputs:
            fed[spec.name] = inputs[alias]
        elif alias in signature.defaults:
            fed[spec.name] = signature.defaults[alias]
        else:
            # What is "expected to be in the request" is, in TensorFlow's words, what was in it.
            raise InvalidArgument(
                f"Signature input alias: {alias}(feed name: {spec.name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {{{_names(inputs)}}}, or default input "
                f"alias set: {_names(signature.defaults)}"
            )
    if set(inputs) - set(expected):
        raise InvalidArgument(
            f"Inputs contains invalid name. Used request inputs: {_names(set(inputs) & set(expected))}, "
            f"request input: {_names(inputs)}"
        )
    return fed


def wanted_outputs(signature: Signature, output_filter: Sequence[str]) -> list[str]:
    """The outputs to compute: those of the filter, or all.

    Raises: InvalidArgument, for one that is not there or wanted twice.
    """
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{{{_names(signature.outputs)}}}."
            )
        if alias in wanted:
            raise InvalidArgument(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted or list(signature.outputs)


def _names(names: Iterable[str]) -> str:
    """Names as TF Serving prints a set of them: sorted, no blanks."""
    return ",".join(sorted(names))
