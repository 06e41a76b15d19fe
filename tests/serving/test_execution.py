"""How a borrowed version is run, with a version that does not do what it says, and with no time left."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving.errors import DeadlineExceeded, ServingError
from serving.execution import Execution
from serving.messages import InferenceTask, ModelSpec, PredictRequest, ServableId, Signature, TensorSpec
from serving.metrics import Metrics
from serving.status import Code

REGRESS = "tensorflow/serving/regress"


class ForgetfulServable:
    """Says that it has signatures, and computes one tensor less than it is asked for."""

    def __init__(self):
        examples, output = TensorSpec("examples:0", 7, (-1,)), TensorSpec("y:0", 1, (-1,))
        self.signatures = {
            "classify": Signature({"inputs": examples}, {"classes": output, "scores": output}),
            "regress": Signature({"inputs": examples}, {"outputs": output}),
        }

    def run(self, inputs, outputs, **options):
        return [np.float32([[0.5]])] * (len(outputs) - 1)


class Direct:
    """A runner that runs."""

    def run(self, servable, inputs, outputs, **options):
        return servable.run(inputs, outputs, **options)


def test_a_runtime_that_gives_too_few_tensors():
    execution, id, servable = Execution(Direct(), Metrics()), ServableId("m", 1), ForgetfulServable()

    def sentence(ask, *arguments):
        with pytest.raises(ServingError) as raised:
            ask(id, servable, *arguments)
        return raised.value.code, raised.value.message

    def read():
        return [b""]

    assert sentence(execution.classify, ModelSpec("m", signature_name="classify"), read) == (
        Code.INVALID_ARGUMENT,
        "Expected 2 output tensor(s).  Got: 1",
    )
    assert sentence(execution.regress, ModelSpec("m", signature_name="regress"), read) == (
        Code.INVALID_ARGUMENT,
        "Expected output_tensors and output_tensor_names to have the same size.",
    )
    task = InferenceTask(ModelSpec("m", signature_name="regress"), REGRESS)
    assert sentence(execution.multi_infer, [task], read) == (
        Code.INVALID_ARGUMENT,
        "Expected 1 output tensor(s).  Got: 0",
    )
    request = PredictRequest(ModelSpec("m", signature_name="regress"), {"inputs": np.array([b""], object)})
    assert sentence(execution.predict, request) == (Code.UNKNOWN, "Predict internal error")


def test_a_deadline_that_has_passed_ends_every_call(protocol_client):
    inference = protocol_client.server.inference
    spec = ModelSpec("half_plus_two", signature_name="regress_x_to_y")

    def read():
        return [tf.train.Example().SerializeToString()]

    classified = ModelSpec("half_plus_two", signature_name="classify_x_to_y")
    request = PredictRequest(ModelSpec("half_plus_two"), {"x": np.float32([1])})
    calls = [
        lambda: inference.regress(spec, read, timeout_seconds=0),
        lambda: inference.classify(classified, read, timeout_seconds=0),
        lambda: inference.multi_infer([InferenceTask(spec, REGRESS)], read, timeout_seconds=0),
        lambda: inference.predict(request, timeout_seconds=0),
    ]
    for call in calls:
        with pytest.raises(DeadlineExceeded) as raised:
            call()
        assert raised.value.message == "Timed out waiting for notification"


class OneColumnServable:
    """Its default signature classifies and regresses; each example gets 0.5."""

    signatures = {
        "serving_default": Signature({"inputs": TensorSpec("i:0", 7, (-1,))}, {"scores": TensorSpec("y:0", 1, (-1, 1))})
    }

    def run(self, inputs, outputs, **options):
        return [np.full((len(inputs["i:0"]), 1), 0.5, np.float32) for _ in outputs]


@pytest.mark.parametrize("asked", ["", "serving_default"])
@pytest.mark.parametrize("method", ["predict", "classify", "regress", "multi_infer"])
def test_answers_name_the_default_signature(method, asked):
    servable = OneColumnServable()
    if method == "regress":
        [signature] = servable.signatures.values()
        regression = Signature(signature.inputs, {"outputs": signature.outputs["scores"]})
        servable.signatures = {"serving_default": regression}
    spec = ModelSpec("m", signature_name=asked)
    execution, id = Execution(Direct(), Metrics()), ServableId("m", 1)
    arguments = {
        "predict": (PredictRequest(spec, {"inputs": np.array([b""], object)}),),
        "multi_infer": ([InferenceTask(spec, "tensorflow/serving/classify")], lambda: [b""]),
    }.get(method, (spec, lambda: [b""]))
    answer = getattr(execution, method)(id, servable, *arguments)
    [answer] = answer if isinstance(answer, list) else [answer]
    assert (answer.servable, answer.signature_name) == (id, "serving_default")
