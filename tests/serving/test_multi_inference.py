"""MultiInference: several signatures on the same examples, in one run."""

from __future__ import annotations

import re

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import inference_pb2, predict_pb2, regression_pb2

from serving import multi_inference
from serving.errors import InvalidArgument
from serving.messages import InferenceTask, ModelSpec, Signature, TensorSpec

INVALID = grpc.StatusCode.INVALID_ARGUMENT
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def half_plus_two(signature):
    return f"name: 'half_plus_two' signature_name: '{signature}'"


def model_spec(text):
    return text_format.Parse(text, predict_pb2.PredictRequest().model_spec)


def fill_examples(request, *numbers):
    for number in numbers:
        values = request.input.example_list.examples.add().features.feature["x"].float_list.value
        values.append(number)
    return request


def multi_infer(client, tasks):
    """The answer for x = 80 and x = 2, or code and sentence."""
    request = fill_examples(inference_pb2.MultiInferenceRequest(), 80, 2)
    for text, method in tasks:
        request.tasks.add(model_spec=model_spec(text) if text is not None else None, method_name=method)
    try:
        return client.prediction.MultiInference(request, timeout=30)
    except grpc.RpcError as error:
        return error.code(), error.details()


def test_several_signatures_in_one_run(protocol_client, monkeypatch):
    manager = protocol_client.server._manager
    servable = manager.peek("half_plus_two", None)
    runs = []
    run = type(servable).run

    def count(self, inputs, outputs, **options):
        runs.append(sorted(outputs))
        return run(self, inputs, outputs, **options)

    monkeypatch.setattr(type(servable), "run", count)
    tasks = [("regress_x_to_y", REGRESS), ("classify_x_to_both", CLASSIFY), ("regress_x_to_y2", REGRESS)]
    answer = multi_infer(protocol_client, [(half_plus_two(name), method) for name, method in tasks])
    first, second, third = answer.results
    assert [entry.value for entry in first.regression_result.regressions] == [42, 3]
    assert [
        [(entry.label, entry.score) for entry in row.classes] for row in second.classification_result.classifications
    ] == [[("large", 42.0)], [("small", 3.0)]]
    assert [entry.value for entry in third.regression_result.regressions] == [43, 4]
    assert [result.model_spec.signature_name for result in answer.results] == [name for name, _ in tasks]
    assert {result.model_spec.version.value for result in answer.results} == {123}
    # y is wanted by two of them and computed once.
    assert runs == [["labels:0", "y2:0", "y:0"]]


Y = half_plus_two("regress_x_to_y")
MULTI_CASES = {
    "no tasks": ([], INVALID, "ModelSpec has no name specified."),
    "no spec": ([(None, REGRESS)], INVALID, "ModelSpec has no name specified."),
    "second without a name": (
        [(Y, REGRESS), ("signature_name: 'regress_x_to_y2'", REGRESS)],
        INVALID,
        "Found ModelSpec with an empty model name.",
    ),
    "two models": (
        [(Y, REGRESS), ("name: 'odd' signature_name: 'regress_flat'", REGRESS)],
        INVALID,
        "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
    ),
    "twice the same": (
        [(Y, REGRESS), (Y, CLASSIFY)],
        INVALID,
        "Duplicate evaluation of signature: regress_x_to_y",
    ),
    "the default twice": (
        [("name: 'half_plus_two'", REGRESS), (half_plus_two("serving_default"), REGRESS)],
        INVALID,
        "No regression inputs found in SignatureDef: …",
    ),
    "unknown signature": (
        [(Y, REGRESS), (half_plus_two("no"), REGRESS)],
        INVALID,
        "Requested signature not found in model graph: no",
    ),
    "predict is no method for it": (
        [(Y, REGRESS), (half_plus_two("serving_default"), "tensorflow/serving/predict")],
        grpc.StatusCode.UNIMPLEMENTED,
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "no method": ([(Y, "")], grpc.StatusCode.UNIMPLEMENTED, "Unsupported signature method_name: "),
}


@pytest.mark.parametrize("case", MULTI_CASES)
def test_multi_inference_sentences(protocol_client, case):
    tasks, code, sentence = MULTI_CASES[case]
    found_code, found = multi_infer(protocol_client, tasks)
    assert found_code is code
    # A sentence that ends in an ellipsis goes on with the text of a SignatureDef.
    assert found == sentence or (sentence[-1] == "…" and found.startswith(sentence[:-1]))


def test_multi_inference_counts_its_examples_and_is_no_counted_request(protocol_client):
    def page():
        return protocol_client.http("GET", "/monitoring/prometheus/metrics")[1].splitlines()

    def value(name):
        return next((float(line.rpartition(" ")[2]) for line in page() if line.startswith(name + "{")), 0.0)

    def counted():
        name = ":tensorflow:serving:request_example_count"
        requests = sum(
            float(line.rpartition(" ")[2]) for line in page() if ":request_count{" in line and "half" in line
        )
        return value(f"{name}_total"), value(f"{name}s_count"), requests

    total, histogram, requests = counted()
    tasks = [(Y, REGRESS), (half_plus_two("classify_x_to_y"), CLASSIFY), (half_plus_two("regress_x_to_y2"), REGRESS)]
    multi_infer(protocol_client, tasks)
    # Two examples, however many tasks.
    assert counted() == (total + 2, histogram + 1, requests)
    request = regression_pb2.RegressionRequest(model_spec=model_spec(Y))
    protocol_client.prediction.Regress(fill_examples(request, 80, 2))
    assert counted() == (total + 2, histogram + 1, requests + 1)


def run_times(client):
    """How many runs of the model were timed, by the API that they are counted under."""
    _, page = client.http("GET", "/monitoring/prometheus/metrics")
    pattern = (
        r'^:tensorflow:serving:runtime_latency_count\{model_name="half_plus_two",API="(\w*)",runtime="TF1"\} (\d+)$'
    )
    return {api: int(count) for api, count in re.findall(pattern, page, re.MULTILINE)}


def test_a_run_is_timed_under_what_was_asked_for(protocol_client):
    def ask(verb, document):
        status, body = protocol_client.post(f"/v1/models/half_plus_two:{verb}", document)
        assert status == 200, body

    examples = [{"x": 2.0}]
    asked = {
        "Predict": lambda: ask("predict", {"instances": [2.0]}),
        "Classify": lambda: ask("classify", {"signature_name": "classify_x_to_y", "examples": examples}),
        "Regress": lambda: ask("regress", {"signature_name": "regress_x_to_y", "examples": examples}),
        "": lambda: multi_infer(protocol_client, [(Y, REGRESS)]),  # MultiInference is not
    }
    for api, call in asked.items():
        before = run_times(protocol_client)
        call()
        assert run_times(protocol_client) == ({**before, api: before.get(api, 0) + 1} if api else before)


@pytest.mark.parametrize("names", [("", "serving_default"), ("serving_default", ""), ("", "")], ids=str)
def test_the_default_signature_is_the_same_by_its_name_and_without(names):
    of_examples = Signature({"inputs": TensorSpec("i:0", 7, (-1,))}, {"outputs": TensorSpec("o:0", 1, (-1,))})
    tasks = [InferenceTask(ModelSpec("m", signature_name=name), REGRESS) for name in names]
    with pytest.raises(InvalidArgument) as raised:
        multi_inference.plan(tasks, {"serving_default": of_examples}, are_methods_checked=False)
    assert raised.value.message == "Duplicate evaluation of signature: serving_default"
