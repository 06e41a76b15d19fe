"""Several classifications and regressions of one model on the same examples, in one run.

Source: TF Serving's servables/tensorflow/multi_inference.cc; the sentences are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving import classification, regression
from serving.errors import InvalidArgument, Unimplemented
from serving.messages import DEFAULT_SIGNATURE, Classification, InferenceTask, Regression, ServableId, Signature


@dataclass(frozen=True)
class PlannedTask:
    """One task, with the tensors that it needs.

    Attributes:
        signature_name: The signature that is used, default filled in.
        method_name: Classify's or Regress's.
        input_name: The tensor that takes the examples.
        output_names: Tensors by output name.
    """

    signature_name: str
    method_name: str
    input_name: str
    output_names: Mapping[str, str]

    def result(
        self, id: ServableId, arrays: Mapping[str, np.ndarray], num_examples: int
    ) -> Classification | Regression:
        """The task's answer.

        Args:
            id: The version that answered.
            arrays: By tensor name; more than this task's.
            num_examples: What the request held.
        Raises: InvalidArgument, if the outputs are not as the method wants them.
        """
        outputs = {alias: arrays[name] for alias, name in self.output_names.items()}
        if self.method_name == regression.METHOD_NAME:
            return Regression(id, self.signature_name, regression.values(outputs["outputs"], num_examples))
        classification.check_outputs(outputs, num_examples)
        return Classification(id, self.signature_name, outputs.get("classes"), outputs.get("scores"))


def plan(
    tasks: Sequence[InferenceTask], signatures: Mapping[str, Signature], *, are_methods_checked: bool
) -> list[PlannedTask]:
    """The tasks with their tensors, checked one after the other.

    Args:
        tasks: As asked for.
        signatures: What the model has.
        are_methods_checked: Whether a signature must have been exported for the method that is asked of it.
    Raises: InvalidArgument; Unimplemented, for a method that is neither Classify's nor Regress's.
    """
    planned: list[PlannedTask] = []
    for task in tasks:
        if not task.model.name:
            raise InvalidArgument("Found ModelSpec with an empty model name.")
        if task.model.name != tasks[0].model.name:
            raise InvalidArgument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model.signature_name or DEFAULT_SIGNATURE
        if any(other.signature_name == name for other in planned):
            raise InvalidArgument(f"Duplicate evaluation of signature: {name}")
        signature = signatures.get(name)
        if signature is None:
            raise InvalidArgument(f"Requested signature not found in model graph: {name}")
        planned.append(_plan_one(task.method_name, name, signature, is_method_checked=are_methods_checked))
    return planned


def _plan_one(method_name: str, signature_name: str, signature: Signature, *, is_method_checked: bool) -> PlannedTask:
    for method in (classification, regression):
        if method_name == method.METHOD_NAME:
            if is_method_checked:
                method.check_method(signature)
            return PlannedTask(signature_name, method_name, *method.tensors(signature))
    raise Unimplemented(f"Unsupported signature method_name: {method_name}")
