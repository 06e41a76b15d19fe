"""Predict and GetModelMetadata on models of TF1: what is computed, what is shown, what is ignored."""

from __future__ import annotations

import json

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2


def spec(signature, model="odd"):
    return f"name: '{model}' signature_name: '{signature}'"


def predict_request(text, output_filter=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    text_format.Parse(text, request.model_spec)
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


def outputs(client, text, output_filter=(), **inputs):
    return client.prediction.Predict(predict_request(text, output_filter, **inputs), timeout=30).outputs


def test_tensor_content_is_for_predict_over_grpc_alone(strict_client):
    output = outputs(strict_client, "name: 'half_plus_two'", x=np.float32([[2], [4]]))["y"]
    assert output.tensor_content == np.float32([[3], [4]]).tobytes()
    assert not output.float_val
    assert [dim.size for dim in output.tensor_shape.dim] == [2, 1]
    strings = outputs(strict_client, spec("string", "echo"), x=np.array([b"ab", b"", b"c" * 200], object))
    assert strings["y"].tensor_content == b"\x02\x00\xc8\x01" + b"ab" + b"c" * 200
    # REST writes the same text as ever.
    body = '{\n    "predictions": [3.0, 4.0\n    ]\n}'
    assert strict_client.post("/v1/models/half_plus_two:predict", {"instances": [2.0, 4.0]}) == (200, body)


def test_only_what_is_wanted_is_computed(protocol_client):
    text = spec("good_and_bad")
    with pytest.raises(grpc.RpcError) as raised:
        outputs(protocol_client, text, x=[b"a"])
    assert raised.value.details().startswith("divided by zero : Tensor had Inf values\n\t [[{{node ")
    found = outputs(protocol_client, text, ["good"], x=[b"a"])
    assert {alias: list(proto.float_val) for alias, proto in found.items()} == {"good": [0.5]}


def test_two_outputs_may_be_one_tensor(protocol_client):
    found = outputs(protocol_client, spec("twice"), x=[b"a", b"b"])
    assert {alias: list(proto.float_val) for alias, proto in found.items()} == {"a": [0.5, 0.5], "b": [0.5, 0.5]}


def test_a_signature_without_inputs(protocol_client):
    assert list(outputs(protocol_client, spec("no_inputs_at_all"))["y"].float_val) == [1, 2]
    # JSON has no way to say nothing.
    assert protocol_client.error(
        "/v1/models/odd:predict", {"signature_name": "no_inputs_at_all", "instances": [1]}
    ) == (
        400,
        "Failed to get input map for signature: no_inputs_at_all",
    )


def test_rows_of_different_number_have_no_row_format(protocol_client):
    document = {"signature_name": "ragged", "instances": ["a", "b"]}
    assert protocol_client.error("/v1/models/odd:predict", document) == (
        400,
        "Tensor name: short has inconsistent batch size: 1 expecting: 2",
    )


def test_what_requests_carry_beside_it_is_ignored(protocol_client):
    request = predict_request("name: 'half_plus_two'", x=np.float32([2]))
    request.client_id = b"someone"
    text_format.Parse("predict_streamed_options { request_state: SPLIT }", request)
    request.request_options.SetInParent()
    # And a field that no version has, as a later client may send.
    data = request.SerializeToString() + b"\xfa\x7f\x03new"
    call = protocol_client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    assert list(predict_pb2.PredictResponse.FromString(call(data)).outputs["y"].float_val) == [3]


@pytest.mark.parametrize(
    "method",
    [
        "/tensorflow.serving.SessionService/SessionRun",
        "/tensorflow.serving.PredictionService/PredictStreamed",
        "/tensorflow.serving.ModelService/Nothing",
    ],
)
def test_what_upstream_does_not_register_is_unimplemented(protocol_client, method):
    with pytest.raises(grpc.RpcError) as raised:
        protocol_client.channel.unary_unary(method)(b"", timeout=30)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_shows_defaults_and_the_initialisation(client):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "defaults"
    answer = client.prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].defaults["b"].float_val) == [10]
    assert "__saved_model_init_op" in signatures.signature_def
    assert answer.model_spec.signature_name == ""
    document = json.loads(client.http("GET", "/v1/models/defaults/metadata")[1])
    shown = document["metadata"]["signature_def"]["signature_def"]
    assert shown["serving_default"]["defaults"]["b"]["float_val"] == [10.0]
    assert shown["text"]["defaults"] == {}
    assert document["model_spec"] == {"name": "defaults", "signature_name": "", "version": "1"}


def test_metadata_of_a_model_of_tf1(protocol_client):
    document = json.loads(protocol_client.http("GET", "/v1/models/half_plus_two/metadata")[1])
    shown = document["metadata"]["signature_def"]["signature_def"]
    assert shown["regress_x_to_y"] == {
        "inputs": {
            "inputs": {
                "dtype": "DT_STRING",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "tf_example:0",
            }
        },
        "outputs": {
            "outputs": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {
                    "dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}],
                    "unknown_rank": False,
                },
                "name": "y:0",
            }
        },
        "method_name": "tensorflow/serving/regress",
        "defaults": {},
    }


STATUSES = {
    "unknown model": ("no", None, "Could not find any versions of model no"),
    "unknown version": ("arithmetic", 4, "Could not find version 4 of model arithmetic"),
    "version of an unknown model": ("no", 4, "Could not find version 4 of model no"),
    "no name": ("", None, "Could not find any versions of model "),
}


@pytest.mark.parametrize("case", STATUSES)
def test_no_such_status(client, case):
    name, version, sentence = STATUSES[case]
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    with pytest.raises(grpc.RpcError) as raised:
        client.model.GetModelStatus(request, timeout=30)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, sentence)
    if name:
        path = f"/v1/models/{name}" + (f"/versions/{version}" if version is not None else "")
        assert client.http("GET", path) == (404, f'{{\n    "error": "{sentence}"\n}}')


def test_a_status_without_a_model_spec(client):
    with pytest.raises(grpc.RpcError) as raised:
        client.model.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(), timeout=30)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
