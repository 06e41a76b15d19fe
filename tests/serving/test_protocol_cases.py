"""The inference protocol in tables: every rule over each of the ways there are to ask, with the stock stubs.

Source of the rules and sentences: sections 1.3, 1.6, 2.2 and 2.4 of what was read in TF Serving's sources.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.status import HTTP_STATUS, Code

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def example(**features):
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                name: tf.train.Feature(float_list=tf.train.FloatList(value=[value])) for name, value in features.items()
            }
        )
    )


def model_spec(text):
    return text_format.Parse(text, predict_pb2.PredictRequest().model_spec)


def spec(signature, model="odd"):
    return f"name: '{model}' signature_name: '{signature}'"


@dataclass(frozen=True)
class Outcome:
    """How a request ended: OK with an answer, or another code with a sentence."""

    code: Code
    answer: object


def over_grpc(call, request):
    try:
        return Outcome(Code.OK, call(request, timeout=30))
    except grpc.RpcError as error:
        return Outcome(Code(error.code().value[0]), error.details())


def predict(client, text, **inputs):
    request = predict_pb2.PredictRequest(model_spec=model_spec(text))
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return over_grpc(client.prediction.Predict, request)


def classify(client, text, *examples):
    request = classification_pb2.ClassificationRequest(model_spec=model_spec(text))
    request.input.example_list.examples.extend(examples)
    return over_grpc(client.prediction.Classify, request)


def regress(client, text, *examples):
    request = regression_pb2.RegressionRequest(model_spec=model_spec(text))
    request.input.example_list.examples.extend(examples)
    return over_grpc(client.prediction.Regress, request)


def multi_infer(client, tasks, *examples):
    request = inference_pb2.MultiInferenceRequest()
    for text, method in tasks:
        request.tasks.add(model_spec=model_spec(text) if text is not None else None, method_name=method)
    request.input.example_list.examples.extend(examples)
    return over_grpc(client.prediction.MultiInference, request)


def multi_classify(client, text, *examples):
    return multi_infer(client, [(text, CLASSIFY)], *examples)


def multi_regress(client, text, *examples):
    return multi_infer(client, [(text, REGRESS)], *examples)


def over_rest(client, verb, text, examples):
    parsed = model_spec(text)
    path = f"/v1/models/{parsed.name}"
    choice = parsed.WhichOneof("version_choice")
    path += f"/versions/{parsed.version.value}" if choice == "version" else ""
    path += f"/labels/{parsed.version_label}" if choice == "version_label" else ""
    features = [{name: f.float_list.value[0] for name, f in e.features.feature.items()} for e in examples]
    status, body = client.post(f"{path}:{verb}", {"signature_name": parsed.signature_name, "examples": features})
    document = json.loads(body)
    if status == 200:
        return Outcome(Code.OK, document)
    assert list(document) == ["error"]
    codes = [code for code, http_status in HTTP_STATUS.items() if http_status == status]
    return Outcome(codes, document["error"])


def rest_classify(client, text, *examples):
    return over_rest(client, "classify", text, examples)


def rest_regress(client, text, *examples):
    return over_rest(client, "regress", text, examples)


# All the ways to ask for a classification, and for a regression.
CLASSIFY_WAYS = {"grpc": classify, "multi": multi_classify, "rest": rest_classify}
REGRESS_WAYS = {"grpc": regress, "multi": multi_regress, "rest": rest_regress}


def check(outcome, code, sentence):
    """Compare; a sentence that ends in an ellipsis goes on with the text of a SignatureDef."""
    assert outcome.code == code or code in outcome.code
    if sentence.endswith("…"):
        assert outcome.answer.startswith(sentence[:-1])
        assert 'inputs {\n  key: "' in outcome.answer or 'outputs {\n  key: "' in outcome.answer
        assert 'method_name: "tensorflow/serving/' in outcome.answer
    else:
        assert outcome.answer == sentence


NO_INPUTS = 'No {} inputs found in SignatureDef: inputs {{\n  key: "examples"\n  value {{\n    name: "examples:0"…'
NEITHER = (
    'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: '
    'inputs {\n  key: "inputs"\n  value {\n    name: "examples:0"…'
)
# What is asked of a signature and of its outputs; each request holds three examples.
CLASSIFY_CASES = {
    "two_inputs": "Expected one input Tensor.",
    "no_outputs": "Expected one or two output Tensors, found 0",
    "three_outputs": "Expected one or two output Tensors, found 3",
    "no_inputs": NO_INPUTS.format("classification"),
    "neither": NEITHER,
    "integer_classes": "Expected classes Tensor of DT_STRING. Got: DT_INT32",
    "double_scores": "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE",
    "flat_classes": "Expected Tensor shape: [batch_size num_classes] but got [3]",
    "deep_scores": "Expected Tensor shape: [batch_size num_classes] but got [3,2,3]",
    "scalar_scores": "Expected Tensor shape: [batch_size num_classes] but got []",
    "short_classes": "Expected classes output batch size of 3. Got: 1",
    "short_scores": "Expected scores output batch size of 3. Got: 1",
    # Labels are looked at before scores.
    "all_wrong": "Expected Tensor shape: [batch_size num_classes] but got [3]",
    "two_of_three": "Tensors class and score should match in dim_size(1). Got 2 vs. 3",
}
REGRESS_CASES = {
    "regress_two_inputs": "Expected one input Tensor.",
    "regress_two_outputs": "Expected one output Tensor.",
    "regress_no_inputs": NO_INPUTS.format("regression"),
    "regress_no_outputs": 'No regression outputs found in SignatureDef: inputs {\n  key: "inputs"\n  value {\n    na…',
    "regress_no_columns": "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [3,0]",
    "regress_wide": "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [3,2]",
    "regress_scalar": "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got []",
    "regress_short": "Input batch size did not match output batch size: 3 vs. 1",
    "regress_integers": "Expected output Tensor of DT_FLOAT.  Got: DT_INT32",
}
THREE = (example(x=1), example(x=2), example(x=3))


@pytest.mark.parametrize("way", CLASSIFY_WAYS)
@pytest.mark.parametrize("case", CLASSIFY_CASES)
def test_a_signature_that_does_not_classify_is_refused(protocol_client, case, way):
    outcome = CLASSIFY_WAYS[way](protocol_client, spec(case), *THREE)
    check(outcome, Code.INVALID_ARGUMENT, CLASSIFY_CASES[case])


@pytest.mark.parametrize("way", REGRESS_WAYS)
@pytest.mark.parametrize("case", REGRESS_CASES)
def test_a_signature_that_does_not_regress_is_refused(protocol_client, case, way):
    outcome = REGRESS_WAYS[way](protocol_client, spec(case), *THREE)
    check(outcome, Code.INVALID_ARGUMENT, REGRESS_CASES[case])


# Which model a request is for; the same over every way, and for Predict.
SELECTION_CASES = {
    "no name": ("signature_name: 'x'", Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
    "unknown model": ("name: 'no'", Code.NOT_FOUND, "Servable not found for request: Latest(no)"),
    "unknown version": (
        "name: 'arithmetic' version { value: 4 }",
        Code.NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 4)",
    ),
    "version zero": (
        "name: 'arithmetic' version { }",
        Code.NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 0)",
    ),
    "negative version": (
        "name: 'arithmetic' version { value: -1 }",
        Code.NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, -1)",
    ),
    "unknown label": (
        "name: 'arithmetic' version_label: 'x'",
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: x",
    ),
    "label of an unknown model": (
        "name: 'no' version_label: 'stable'",
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    ),
    "label of a version that is not there": (
        "name: 'arithmetic' version_label: 'gone'",
        Code.NOT_FOUND,
        "Servable not found for request: Specific(arithmetic, 99)",
    ),
}
NOT_IN_A_PATH = ("no name", "negative version")
PREDICT_WAYS = {"predict": predict, "predict over rest": lambda client, text: over_rest(client, "predict", text, ())}
ALL_WAYS = {
    **PREDICT_WAYS,
    **{f"{name} {way}": ask for name, ways in (("classify", CLASSIFY_WAYS), ("regress", REGRESS_WAYS))
       for way, ask in ways.items()},
}  # fmt: skip


def metadata(client, text):
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=model_spec(text))
    request.metadata_field.append("signature_def")
    return over_grpc(client.prediction.GetModelMetadata, request)


@pytest.mark.parametrize("way", [*ALL_WAYS, "metadata"])
@pytest.mark.parametrize("case", SELECTION_CASES)
def test_which_model_is_the_same_over_every_way(client, case, way):
    if "rest" in way and case in NOT_IN_A_PATH:
        return  # such a path is malformed; the routes' tests have it
    text, code, sentence = SELECTION_CASES[case]
    if way == "metadata":
        check(metadata(client, text), code, sentence)
    elif way in PREDICT_WAYS:
        check(ALL_WAYS[way](client, text), code, sentence)
    else:
        check(ALL_WAYS[way](client, text, example(x=0.25)), code, sentence)


@pytest.mark.parametrize("choice", ["", "version { value: 3 }", "version { value: 7 }", "version_label: 'stable'"])
def test_the_version_that_answers_is_echoed_and_its_label_never(client, choice):
    text = f"name: 'arithmetic' {choice} signature_name: 'classify'"
    version = 3 if "3" in choice or "stable" in choice else 7
    echoed = f'name: "arithmetic"\nversion {{\n  value: {version}\n}}\nsignature_name: "classify"\n'
    assert text_format.MessageToString(classify(client, text, example(x=0.25)).answer.model_spec) == echoed
    (result,) = multi_classify(client, text, example(x=0.25)).answer.results
    assert text_format.MessageToString(result.model_spec) == echoed


@pytest.mark.parametrize("way", ["classify", "regress", "multi"])
def test_the_default_signature_is_echoed_by_its_name(protocol_client, way):
    # It takes floats, so it is the checks that name it.
    text = "name: 'odd'"
    sentences = {
        "classify": "No signature was found with the name: serving_default",
        "regress": "No signature was found with the name: serving_default",
        "multi": "Requested signature not found in model graph: serving_default",
    }
    ask = {"classify": classify, "regress": regress, "multi": multi_classify}[way]
    check(ask(protocol_client, text, *THREE), Code.INVALID_ARGUMENT, sentences[way])


def test_no_model_spec_at_all(client):
    for call, request in (
        (client.prediction.Predict, predict_pb2.PredictRequest()),
        (client.prediction.Classify, classification_pb2.ClassificationRequest()),
        (client.prediction.Regress, regression_pb2.RegressionRequest()),
        (client.prediction.GetModelMetadata, get_model_metadata_pb2.GetModelMetadataRequest()),
    ):
        check(over_grpc(call, request), Code.INVALID_ARGUMENT, "Missing ModelSpec")


UNKNOWN_SIGNATURE = {
    "predict": (Code.FAILED_PRECONDITION, 'Serving signature key "no" not found.'),
    "predict over rest": (Code.INVALID_ARGUMENT, 'Serving signature name: "no" not found in signature def'),
    "classify grpc": (Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
    "classify multi": (Code.INVALID_ARGUMENT, "Requested signature not found in model graph: no"),
    "classify rest": (Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
    "regress grpc": (Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
    "regress multi": (Code.INVALID_ARGUMENT, "Requested signature not found in model graph: no"),
    "regress rest": (Code.INVALID_ARGUMENT, "No signature was found with the name: no"),
}


@pytest.mark.parametrize("way", ALL_WAYS)
def test_an_unknown_signature_has_four_sentences(protocol_client, way):
    code, sentence = UNKNOWN_SIGNATURE[way]
    examples = () if way in PREDICT_WAYS else THREE
    check(ALL_WAYS[way](protocol_client, spec("no"), *examples), code, sentence)


@pytest.mark.parametrize("way", [classify, regress, multi_classify, multi_regress])
def test_no_examples(protocol_client, way):
    signature = "classify_x_to_y" if way in (classify, multi_classify) else "regress_x_to_y"
    check(way(protocol_client, spec(signature, "half_plus_two")), Code.INVALID_ARGUMENT, "Input is empty.")


def half_plus_two(signature):
    return spec(signature, "half_plus_two")


def rows(result):
    return [[(entry.label, entry.score) for entry in row.classes] for row in result.classifications]


CLASSIFICATIONS = {
    "classify_x_to_y": [[("", 42.0)], [("", 3.0)]],
    "classify_x_to_label": [[("large", 0.0)], [("small", 0.0)]],
    "classify_x_to_both": [[("large", 42.0)], [("small", 3.0)]],
}
EIGHTY_AND_TWO = (example(x=80), example(x=2))


@pytest.mark.parametrize("signature", CLASSIFICATIONS)
def test_classifications(protocol_client, signature):
    expected = CLASSIFICATIONS[signature]
    answer = classify(protocol_client, half_plus_two(signature), *EIGHTY_AND_TWO).answer
    assert rows(answer.result) == expected
    (result,) = multi_classify(protocol_client, half_plus_two(signature), *EIGHTY_AND_TWO).answer.results
    assert rows(result.classification_result) == expected
    answer = rest_classify(protocol_client, half_plus_two(signature), *EIGHTY_AND_TWO).answer
    assert answer == {"results": [[list(pair) for pair in row] for row in expected]}


@pytest.mark.parametrize("signature", ["regress_x_to_y", "regress_flat"])
def test_regressions(protocol_client, signature):
    answer = regress(protocol_client, half_plus_two(signature), *EIGHTY_AND_TWO).answer
    assert [regression.value for regression in answer.result.regressions] == [42, 3]
    echoed = f'name: "half_plus_two"\nversion {{\n  value: 123\n}}\nsignature_name: "{signature}"\n'
    assert text_format.MessageToString(answer.model_spec) == echoed
    (result,) = multi_regress(protocol_client, half_plus_two(signature), *EIGHTY_AND_TWO).answer.results
    assert [regression.value for regression in result.regression_result.regressions] == [42, 3]
    answer = rest_regress(protocol_client, half_plus_two(signature), *EIGHTY_AND_TWO).answer
    assert answer == {"results": [42.0, 3.0]}


def test_a_context_is_merged_under_each_example(protocol_client):
    request = regression_pb2.RegressionRequest(model_spec=model_spec(half_plus_two("regress_x_to_y")))
    request.input.example_list_with_context.examples.extend([tf.train.Example(), example(x=2)])
    request.input.example_list_with_context.context.CopyFrom(example(x=80))
    answer = protocol_client.prediction.Regress(request)
    assert [regression.value for regression in answer.result.regressions] == [42, 3]
    document = {"signature_name": "regress_x_to_y", "context": {"x": 80.0}, "examples": [{}, {"x": 2.0}]}
    assert protocol_client.post("/v1/models/half_plus_two:regress", document) == (
        200,
        '{\n    "results": [42.0, 3.0]\n}',
    )


def test_a_broken_example_is_the_operations_own_sentence(protocol_client):
    request = regression_pb2.RegressionRequest(model_spec=model_spec(half_plus_two("regress_x_to_y")))
    request.input.example_list.examples.add()  # without x
    outcome = over_grpc(protocol_client.prediction.Regress, request)
    assert outcome.code == Code.INVALID_ARGUMENT
    assert outcome.answer.splitlines()[0].startswith("Name: <unknown>, Feature: x (data type: float) is required but")
    assert "Original stack trace" not in outcome.answer
    status, body = protocol_client.post(
        "/v1/models/half_plus_two:regress", {"signature_name": "regress_x_to_y", "examples": [{"x": "text"}]}
    )
    assert status == 400
    assert "Data types don't match" in json.loads(body)["error"]


METHOD_CASES = {
    "classify": (
        classify,
        "own_method",
        "Expected classification signature method_name to be tensorflow/serving/classify. Was: some/method",
    ),
    "classify over rest": (
        rest_classify,
        "predict_method",
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict",
    ),
    "classify in multi": (
        multi_classify,
        "no_method",
        "Expected classification signature method_name to be tensorflow/serving/classify. Was: ",
    ),
    "regress": (
        regress,
        "own_method",
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: some/method",
    ),
    "regress over rest": (
        rest_regress,
        "predict_method",
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict",
    ),
    "regress in multi": (
        multi_regress,
        "short_scores",
        "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/classify",
    ),
}
PREDICT_METHODS = "{tensorflow/serving/predict, tensorflow/serving/classify, tensorflow/serving/regress}"


@pytest.mark.parametrize("case", METHOD_CASES)
def test_methods_are_checked_on_demand(strict_client, protocol_client, case):
    ask, signature, sentence = METHOD_CASES[case]
    check(ask(strict_client, spec(signature), *THREE), Code.INVALID_ARGUMENT, sentence)
    # Without the flag only the tensors count, so a signature that Keras exported classifies too.
    assert "method_name to be" not in str(ask(protocol_client, spec(signature), *THREE).answer)


@pytest.mark.parametrize("signature", ["own_method", "no_method"])
def test_predict_takes_any_of_the_three_methods(strict_client, protocol_client, signature):
    method = {"own_method": "some/method", "no_method": ""}[signature]
    sentence = f"Expected prediction signature method_name to be one of {PREDICT_METHODS}. Was: {method}"
    check(predict(strict_client, spec(signature), inputs=[b""]), Code.INTERNAL, sentence)
    document = {"signature_name": signature, "inputs": ["a"]}
    assert strict_client.error("/v1/models/odd:predict", document) == (500, sentence)
    assert predict(protocol_client, spec(signature), inputs=[b""]).code is Code.OK
    for allowed in ("predict_method", "short_scores", "regress_short"):
        assert predict(strict_client, spec(allowed), inputs=[b""]).code is Code.OK


def test_matching_methods_answer(strict_client):
    assert classify(strict_client, half_plus_two("classify_x_to_y"), *THREE).code is Code.OK
    assert rest_regress(strict_client, half_plus_two("regress_x_to_y"), *THREE).code is Code.OK
    tasks = [(half_plus_two("regress_x_to_y"), REGRESS), (half_plus_two("classify_x_to_y"), CLASSIFY)]
    assert multi_infer(strict_client, tasks, *THREE).code is Code.OK


def test_labels_that_are_not_utf8_do_not_make_the_answer_unreadable(protocol_client):
    answer = classify(protocol_client, spec("not_utf8"), THREE[0]).answer
    assert rows(answer.result) == [[('\N{REPLACEMENT CHARACTER}"\n', 0.0)]]
    assert protocol_client.post("/v1/models/odd:classify", {"signature_name": "not_utf8", "examples": [{}]}) == (
        200,
        '{\n    "results": [[["\N{REPLACEMENT CHARACTER}\\"\\n", 0.0]]\n    ]\n}',
    )


def test_rest_layout_of_special_numbers_and_empty_rows(protocol_client):
    def post(verb, signature, number):
        document = {"signature_name": signature, "examples": [{}] * number}
        return protocol_client.post(f"/v1/models/odd:{verb}", document)

    specials = '{\n    "results": [0.1, NaN, Infinity, -Infinity]\n}'
    assert post("regress", "regress_specials", 4) == (200, specials)
    assert post("classify", "no_columns", 2) == (200, '{\n    "results": [[], []\n    ]\n}')


def test_sentences_are_cut_over_grpc_and_whole_over_rest(protocol_client):
    name = "n" * 1200
    whole = f"No signature was found with the name: {name}"
    for ask in (classify, regress):
        outcome = ask(protocol_client, half_plus_two(name), *THREE)
        assert outcome.answer == whole[:1024] + "...TRUNCATED"
    check(rest_regress(protocol_client, half_plus_two(name), *THREE), Code.INVALID_ARGUMENT, whole)
