"""Every sentence of the REST API, over the wire, with its HTTP status.

Source: section 2.8 of what was read in upstream's util/json_tensor.cc and http_rest_api_handler.cc.
"""

from __future__ import annotations

import json

import pytest

ADD, TEXT, SCALAR, INTEGERS = ("serving_default", "text", "scalar", "integers")
# Signatures of `arithmetic`: two floats a and b; one string; one float; one int32.


def body(signature, **document):
    return json.dumps({"signature_name": signature, **document}).encode()


def element(index, inner, key=None, code="INVALID_ARGUMENT"):
    named = f" key: {key}" if key else ""
    return f"Failed to process element: {index}{named} of 'instances' list. Error: {code}: {inner}"


ARITHMETIC = {
    "empty": (b"", "JSON Parse error: The document is empty"),
    "not an object": (b"[1]", "JSON Value: [1] Is not object"),
    "signature name": (
        b'{"signature_name": null}',
        'JSON Value: {\n    "signature_name": null\n} not formatted correctly. '
        "'signature_name' key must be a string value.",
    ),
    "unknown signature": (body("no"), 'Serving signature name: "no" not found in signature def'),
    "neither key": (b'{"input": 1}', "Missing 'inputs' or 'instances' key"),
    "both keys": (
        b'{"inputs": 1, "instances": 2}',
        'JSON Value: {\n    "inputs": 1,\n    "instances": 2\n} Not formatted correctly expecting only one of '
        "'inputs' or 'instances' keys to exist ",
    ),
    "instances are no list": (
        b'{"instances": {"a": 1}}',
        'JSON Value: {\n    "instances": {\n        "a": 1\n    }\n} Expecting \'instances\' to be an list/array',
    ),
    "no instances": (b'{"instances": []}', "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
    "plain instances": (
        body(ADD, instances=[1]),
        "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    "plain inputs": (
        body(ADD, inputs=[1]),
        "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
        "tensorinfo_map",
    ),
    "missing input": (body(ADD, inputs={"a": [1]}), "Missing named input: b in 'inputs' object."),
    "missing key": (
        body(ADD, instances=[{"a": 1}]),
        "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": 1\n} keys must be equal to: a,b",
    ),
    "unknown key": (
        body(ADD, instances=[{"a": 1, "b": 2}, {"a": 1, "c": 2}]),
        element(1, "JSON object: does not have named input: c", "c"),
    ),
    "a list among objects": (
        body(ADD, instances=[{"a": 1, "b": 2}, [1]]),
        "Expecting object but got list at item 1 of input list",
    ),
    "an object among values": (
        body(SCALAR, instances=[1, {"x": 1}]),
        "Expecting value/list but got object at item 1 of input list",
    ),
    "size of a row": (body(SCALAR, instances=[[1, 2], [1]]), element(1, "Expecting tensor size: 2 but got: 1")),
    "shape of a row": (
        body(SCALAR, instances=[[[1, 2]], [[1], [2]]]),
        element(1, "Expecting shape [1,2] but got: [2,1]"),
    ),
    "a named row": (
        body(ADD, instances=[{"a": 1, "b": "x"}]),
        element(0, 'JSON Value: "x" Type: String is not of expected type: float', "b"),
    ),
    "a column": (body(SCALAR, inputs=[True]), "JSON Value: true Type: True is not of expected type: float"),
    "a float for an integer": (
        body(INTEGERS, inputs=[[1, 2.0]]),
        "JSON Value: 2.0 Type: Number is not of expected type: int32",
    ),
    "level": (
        body(SCALAR, inputs=[[1], 2]),
        "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    "list too deep": (body(SCALAR, inputs=[1, [2]]), "Encountered list at unexpected level: 1 expected < 1"),
    "ragged": (
        body(SCALAR, inputs=[[1, 2], [3]]),
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "no base64": (
        body(TEXT, inputs={"text": [{"b64": 1}]}),
        'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data',
    ),
    "not base64": (body(TEXT, inputs=[{"b64": "*"}]), "Unable to base64 decode"),
    "scalar answer in rows": (body(SCALAR, instances=[1]), "Tensor name: total has no shape information "),
}


@pytest.mark.parametrize("case", ARITHMETIC)
def test_predict(client, case):
    data, sentence = ARITHMETIC[case]
    status, text = client.http("POST", "/v1/models/arithmetic:predict", data)
    assert (status, json.loads(text)) == (400, {"error": sentence})


@pytest.mark.parametrize("name", ["half", "bfloat16", "complex64", "uint16", "qint8", "float8_e5m2"])
def test_types_that_json_cannot_hold(protocol_client, name):
    signature = {"half": "float16"}.get(name, name)
    sentence = f"Conversion of JSON Value: 1 to type: {name}"
    path = "/v1/models/echo:predict"
    assert protocol_client.error(path, {"signature_name": signature, "inputs": [1]}) == (501, sentence)
    assert protocol_client.error(path, {"signature_name": signature, "instances": [1]}) == (
        400,
        element(0, sentence, code="UNIMPLEMENTED"),
    )


ECHOES = {
    "float32": "[0.5, -1.0]",
    "float64": "[0.1, 16777217.0]",
    "int32": "[-2147483648, 2147483647]",
    "uint8": "[0, 255]",
    "int16": "[-32768, 7]",
    "int8": "[-128, 7]",
    "string": '["a", "\u00e9"]',
    "int64": "[-9223372036854775808, 9223372036854775807]",
    "bool": "[true, false]",
    "uint32": "[0, 4294967295]",
    "uint64": "[0, 18446744073709551615]",
}


@pytest.mark.parametrize("name", ECHOES)
def test_types_that_json_can_hold_come_back_as_they_were(protocol_client, name):
    values = ECHOES[name]
    data = f'{{"signature_name": "{name}", "instances": {values}}}'.encode()
    status, text = protocol_client.http("POST", "/v1/models/echo:predict", data)
    assert (status, text) == (200, f'{{\n    "predictions": {values[:-1]}\n    ]\n}}')


EXAMPLES = {
    "no examples": (
        b'{"instances": []}',
        "JSON Value: {\n    \"instances\": []\n} When method is classify, key 'examples' is expected and was not found",
    ),
    "no list": (
        b'{"examples": 1}',
        "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array",
    ),
    "empty list": (b'{"examples": []}', "JSON Value: {\n    \"examples\": []\n} 'examples' value is an empty array"),
    "no object": (b'{"examples": ["x"]}', "Example must be JSON object but got JSON String"),
    "null": (b'{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
    "mixed": (b'{"examples": [{"x": [1, 2.0]}]}', "Unexpected element type in feature: x expecting type: int64"),
    "unsigned": (
        b'{"examples": [{"x": 9223372036854775808}]}',
        "Feature: x has uint64_t element. Only int64_t is supported.",
    ),
    "context": (b'{"context": [], "examples": [{}]}', "Example must be JSON object but got JSON Array"),
    "not base64": (b'{"examples": [{"x": {"b64": "*"}}]}', "Unable to base64 decode"),
    "syntax": (b"", "JSON Parse error: The document is empty"),
}


@pytest.mark.parametrize("verb", ["classify", "regress"])
@pytest.mark.parametrize("case", EXAMPLES)
def test_classify_and_regress(client, case, verb):
    data, sentence = EXAMPLES[case]
    # The body is read before the model is looked up.
    for model in ("arithmetic", "no"):
        status, text = client.http("POST", f"/v1/models/{model}:{verb}", data)
        assert (status, json.loads(text)) == (400, {"error": sentence})


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_examples_for_an_unknown_model(client, verb):
    assert client.error(f"/v1/models/no:{verb}", {"examples": [{}]}) == (
        404,
        "Servable not found for request: Latest(no)",
    )
