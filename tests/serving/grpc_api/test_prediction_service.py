"""Predict, Classify and GetModelMetadata over the wire, asked with the stock stubs."""

from __future__ import annotations

import re

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, predict_pb2

from serving.grpc_api.call import truncate

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
FAILED = grpc.StatusCode.FAILED_PRECONDITION


def predict_request(spec="name: 'arithmetic'", output_filter=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    text_format.Parse(spec, request.model_spec)
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
        request.inputs[alias].CopyFrom(proto)
    return request


A_AND_B = {"a": np.float32([1, 2]), "b": np.float32([10, 20])}


def outcome(call, request, **options):
    with pytest.raises(grpc.RpcError) as raised:
        call(request, **options)
    return raised.value.code(), raised.value.details()


def test_latest_version_answers_and_is_echoed(client):
    response = client.prediction.Predict(predict_request(**A_AND_B))
    assert list(response.outputs["sum"].float_val) == [111, 122]
    assert list(response.outputs["difference"].float_val) == [-9, -18]
    assert not response.outputs["sum"].tensor_content
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.name == "arithmetic"


@pytest.mark.parametrize(
    ("choice", "version", "total"),
    [
        ("version { value: 3 }", 3, 11),
        ("version { value: 7 }", 7, 111),
        ("version_label: 'stable'", 3, 11),
        ("version_label: 'canary'", 7, 111),
    ],
)
def test_versions_and_labels_are_obeyed(client, choice, version, total):
    response = client.prediction.Predict(predict_request(f"name: 'arithmetic' {choice}", **A_AND_B))
    assert response.outputs["sum"].float_val[0] == total
    assert response.model_spec.version.value == version
    assert response.model_spec.WhichOneof("version_choice") == "version"


def test_output_filter_limits_what_comes_back(client):
    response = client.prediction.Predict(predict_request(output_filter=["sum"], **A_AND_B))
    assert set(response.outputs) == {"sum"}


def test_strings_go_in_and_out(client):
    request = predict_request("name: 'arithmetic' signature_name: 'text'", text=[b"abc", b"\xff\x00"])
    response = client.prediction.Predict(request)
    assert list(response.outputs["reversed_bytes"].string_val) == [b"cba", b"\x00\xff"]
    assert list(response.outputs["length"].int_val) == [3, 2]
    assert response.model_spec.signature_name == "text"


def test_signature_defaults_fill_what_is_missing(client):
    response = client.prediction.Predict(predict_request("name: 'defaults'", a=np.float32([1])))
    assert list(response.outputs["sum"].float_val) == [11]


BAD_TENSOR = text_format.Parse("dtype: DT_FLOAT tensor_shape { dim { size: -3 } }", tensor_pb2.TensorProto())
NO_TYPE = text_format.Parse("tensor_shape { dim { size: 1 } } float_val: 1", tensor_pb2.TensorProto())
HUGE = text_format.Parse("dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } }", tensor_pb2.TensorProto())
SHORT = text_format.Parse(
    "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: 'abc'", tensor_pb2.TensorProto()
)

SENTENCES = {
    "no spec": (predict_pb2.PredictRequest(), INVALID, "Missing ModelSpec"),
    "no name": (predict_request("signature_name: 'x'"), INVALID, "ModelSpec has no name specified."),
    "unknown model": (predict_request("name: 'no'"), NOT_FOUND, "Servable not found for request: Latest(no)"),
    "unknown version": (
        predict_request("name: 'arithmetic' version { value: 4 }"),
        NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 4)",
    ),
    "empty version is zero": (
        predict_request("name: 'arithmetic' version { }"),
        NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 0)",
    ),
    "unknown label": (
        predict_request("name: 'arithmetic' version_label: 'x'"),
        INVALID,
        "Unrecognized servable version label: x",
    ),
    "label of an unknown model": (
        predict_request("name: 'no' version_label: 'x'"),
        INVALID,
        "Unrecognized servable version label: x",
    ),
    "label of an unloaded version": (
        predict_request("name: 'arithmetic' version_label: 'gone'"),
        NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 99)",
    ),
    "unknown signature": (
        predict_request("name: 'arithmetic' signature_name: 'no'", **A_AND_B),
        FAILED,
        'Serving signature key "no" not found.',
    ),
    "too few inputs": (
        predict_request(a=A_AND_B["a"]),
        INVALID,
        "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. Missing but required: {b}.",
    ),
    "too many inputs": (
        predict_request(c=A_AND_B["a"], **A_AND_B),
        INVALID,
        "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. "
        "Missing but required: {}.",
    ),
    "wrong name": (
        predict_request(a=A_AND_B["a"], c=A_AND_B["b"]),
        INVALID,
        "Signature input alias: b(feed name: serving_default_b:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {a,c}, or default input alias set: ",
    ),
    "wrong name beside a default": (
        predict_request("name: 'defaults'", a=A_AND_B["a"], c=A_AND_B["b"]),
        INVALID,
        "Inputs contains invalid name. Used request inputs: a, request input: a,c",
    ),
    "default cannot replace the other input": (
        predict_request("name: 'defaults'", b=A_AND_B["b"]),
        INVALID,
        "Signature input alias: a(feed name: serving_default_a:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {b}, or default input alias set: b",
    ),
    "too many beside a default": (
        predict_request("name: 'defaults'", c=A_AND_B["a"], d=A_AND_B["a"], a=A_AND_B["a"]),
        INVALID,
        "input size does not match signature: 3!=2 len({a,c,d}) != len({a,b}). Sent extra: {c,d}. "
        "Missing but required: {b}.",
    ),
    "unknown output": (
        predict_request(output_filter=["no"], **A_AND_B),
        INVALID,
        "output tensor alias not found in signature: no Outputs expected to be in the set {difference,sum}.",
    ),
    "repeated output": (
        predict_request(output_filter=["sum", "sum"], **A_AND_B),
        INVALID,
        "duplicate output tensor alias: sum",
    ),
    "negative size": (predict_request(a=BAD_TENSOR, b=A_AND_B["b"]), INVALID, "tensor parsing error: a"),
    "no dtype": (predict_request(a=A_AND_B["a"], b=NO_TYPE), INVALID, "tensor parsing error: b"),
    "terabytes promised, none sent": (predict_request(a=HUGE, b=A_AND_B["b"]), INVALID, "tensor parsing error: a"),
    "content of the wrong size": (predict_request(a=SHORT, b=A_AND_B["b"]), INVALID, "tensor parsing error: a"),
    "wrong type": (
        predict_request(a=[b"x"], b=A_AND_B["b"]),
        INVALID,
        "Expects arg[0] to be float but string is provided",
    ),
    "wrong type of the second": (
        predict_request(a=A_AND_B["a"], b=np.int64([1])),
        INVALID,
        "Expects arg[1] to be float but int64 is provided",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_predict_sentences(client, case):
    request, code, sentence = SENTENCES[case]
    assert outcome(client.prediction.Predict, request) == (code, sentence)


def test_shape_mismatch_is_the_operations_own_sentence_without_a_stack_trace(client):
    code, sentence = outcome(client.prediction.Predict, predict_request(a=np.ones(2, "f"), b=np.ones(3, "f")))
    assert code == INVALID
    node = r"(\{\{function_node \w+\}\})?\{\{node [\w/]+\}\}"
    assert re.fullmatch(r"Incompatible shapes: \[2\] vs\. \[3\]\n\t \[\[" + node + r"\]\]", sentence)


def test_long_sentences_are_cut(client):
    name = "n" * 3000
    code, sentence = outcome(client.prediction.Predict, predict_request(f"name: '{name}'"))
    assert code == NOT_FOUND
    assert sentence == f"Servable not found for request: Latest({name}"[:1024] + "...TRUNCATED"


def test_deadline_ends_a_run(client):
    request = predict_request("name: 'slow'", steps=np.int64(10**9))
    assert outcome(client.prediction.Predict, request, timeout=0.3)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    # The computation itself was stopped too: the server's two turns are free again.
    for _ in range(3):
        assert client.prediction.Predict(predict_request("name: 'slow'", steps=np.int64(1)), timeout=10)


def example(x):
    return tf.train.Example(features=tf.train.Features(feature={"x": _floats(x)}))


def _floats(x):
    return tf.train.Feature(float_list=tf.train.FloatList(value=[x]))


def classify_request(*examples, spec="name: 'arithmetic' signature_name: 'classify'"):
    request = classification_pb2.ClassificationRequest()
    text_format.Parse(spec, request.model_spec)
    request.input.example_list.examples.extend(examples)
    return request


def test_classify_gives_labels_and_scores(client):
    response = client.prediction.Classify(classify_request(example(0.25), example(0.75)))
    rows = [[(c.label, c.score) for c in row.classes] for row in response.result.classifications]
    assert rows == [[("small", 0.75), ("large", 0.25)], [("small", 0.25), ("large", 0.75)]]
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "classify"


def test_context_is_merged_under_each_example(client):
    request = classify_request()
    request.input.example_list_with_context.examples.extend([tf.train.Example(), example(0.75)])
    request.input.example_list_with_context.context.CopyFrom(example(0.25))
    response = client.prediction.Classify(request)
    scores = [row.classes[1].score for row in response.result.classifications]
    assert scores == [0.25, 0.75]  # the context fills in; the example's own value wins


CLASSIFY_SENTENCES = {
    "no spec": (classification_pb2.ClassificationRequest(), INVALID, "Missing ModelSpec"),
    "no input": (classify_request(), INVALID, "Input is empty."),
    "unknown model": (classify_request(spec="name: 'no'"), NOT_FOUND, "Servable not found for request: Latest(no)"),
    "unknown signature": (
        classify_request(spec="name: 'arithmetic' signature_name: 'no'"),
        INVALID,
        "No signature was found with the name: no",
    ),
    "two inputs": (classify_request(example(1), spec="name: 'arithmetic'"), INVALID, "Expected one input Tensor."),
}


@pytest.mark.parametrize("case", CLASSIFY_SENTENCES)
def test_classify_sentences(client, case):
    request, code, sentence = CLASSIFY_SENTENCES[case]
    assert outcome(client.prediction.Classify, request) == (code, sentence)


def test_classify_refuses_a_signature_that_does_not_classify(client):
    request = classify_request(example(1), spec="name: 'arithmetic' signature_name: 'text'")
    code, sentence = outcome(client.prediction.Classify, request)
    assert code == INVALID
    assert sentence.startswith('No classification inputs found in SignatureDef: inputs {\n  key: "text"')


def metadata_request(spec="name: 'arithmetic'", *metadata_fields):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=metadata_fields)
    if spec:
        text_format.Parse(spec, request.model_spec)
    return request


def test_metadata_lists_all_signatures(client):
    request = metadata_request("name: 'arithmetic' version { value: 3 }", "signature_def")
    response = client.prediction.GetModelMetadata(request)
    assert text_format.MessageToString(response.model_spec) == 'name: "arithmetic"\nversion {\n  value: 3\n}\n'
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {
        "__saved_model_init_op", "serving_default", "text", "classify", "scalar", "integers",
    }  # fmt: skip
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert default.inputs["a"].name == "serving_default_a:0"


METADATA_SENTENCES = {
    "no spec": (metadata_request(None, "signature_def"), INVALID, "Missing ModelSpec"),
    "no field": (
        metadata_request(),
        INVALID,
        "GetModelMetadataRequest must specify at least one metadata_field",
    ),
    "unknown field": (
        metadata_request("name: 'no'", "signature_def", "x"),
        INVALID,
        "Metadata field x is not supported",
    ),
    "unknown model": (
        metadata_request("name: 'no'", "signature_def"),
        NOT_FOUND,
        "Servable not found for request: Latest(no)",
    ),
}


@pytest.mark.parametrize("case", METADATA_SENTENCES)
def test_metadata_sentences(client, case):
    request, code, sentence = METADATA_SENTENCES[case]
    assert outcome(client.prediction.GetModelMetadata, request) == (code, sentence)


@pytest.mark.parametrize("garbage", [b"\xff", b"\x0a\x7f", b"\x0b" * 20])
def test_garbage_is_refused_and_the_server_lives_on(client, garbage):
    call = client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert outcome(call, garbage) == (grpc.StatusCode.INTERNAL, "Exception deserializing request!")
    assert client.prediction.Predict(predict_request(**A_AND_B))


def counted(client, model):
    """The counts of a model's requests by status."""
    _, page = client.http("GET", "/monitoring/prometheus/metrics")
    pattern = rf'^:tensorflow:serving:request_count\{{model_name="{model}",status="(\w+)"\}} (\d+)$'
    return {status: int(count) for status, count in re.findall(pattern, page, re.MULTILINE)}


@pytest.mark.parametrize(
    ("timeout", "steps", "code", "status"),
    [(0.3, 10**9, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), (None, 60_000, None, "OK")],
    ids=["past its deadline", "cancelled"],
)
def test_a_call_that_its_client_left_is_counted_as_it_ends(client, tools, timeout, steps, code, status):
    # What another test's client left may still run.
    tools.wait_for(lambda: client.server.inference._in_flight == 0)
    before = counted(client, "slow").get(status, 0)
    request = predict_request("name: 'slow'", steps=np.int64(steps))
    call = client.prediction.Predict.future(request, timeout=timeout)
    if code is None:
        # It has begun when it is among those in flight.
        tools.wait_for(lambda: client.server.inference._in_flight >= 2)
        assert call.cancel()
    else:
        assert call.code() is code
    tools.wait_for(lambda: counted(client, "slow").get(status, 0) > before)


def test_what_is_no_message_is_refused_by_grpc_and_not_counted(client):
    before = counted(client, "")
    call = client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert outcome(call, b"\xff") == (grpc.StatusCode.INTERNAL, "Exception deserializing request!")
    assert counted(client, "") == before


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("x" * 1024, "x" * 1024),
        ("x" * 1025, "x" * 1024 + "...TRUNCATED"),
        ("x" * 1023 + "é", "x" * 1023 + "...TRUNCATED"),
    ],
    ids=["as long as it may be", "longer by one", "cut within a character"],
)
def test_a_sentence_has_1024_bytes_at_most(message, sent):
    assert truncate(message) == sent
