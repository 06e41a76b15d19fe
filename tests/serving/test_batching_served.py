"""Batching over both transports: what clients see of parameters, padding, splitting and wrong requests."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from serving.config import BatchingConfig, ModelConfig, ServerConfig
from serving.errors import ServingError
from serving.server import Server


@pytest.fixture(scope="module")
def rows_model(tmp_path_factory):
    """x float [?, ?], weights float [?, 2] → sums of rows, and of their weights."""
    import tensorflow as tf

    class Rows(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None], tf.float32, "x"),
                tf.TensorSpec([None, 2], tf.float32, "weights"),
            ]
        )
        def sums(self, x, weights):
            return {"sum": tf.reduce_sum(x, 1), "weight": tf.reduce_sum(weights, 1)}

    module = Rows()
    path = tmp_path_factory.mktemp("rows")
    tf.saved_model.save(module, str(path / "rows"), signatures={"serving_default": module.sums})
    return path / "rows"


@pytest.fixture(scope="module")
def served(rows_model, saved_models, start_server, tmp_path_factory, tools):
    """A server whose models bring their own parameters: `padded`, `split`, and `plain`, which brings none."""
    root = tmp_path_factory.mktemp("batched")
    parameters = {
        "padded": """max_batch_size { value: 2 } batch_timeout_micros { value: 60000000 }
            pad_variable_length_inputs { value: true }""",
        "split": """max_batch_size { value: 8 } enable_large_batch_splitting { value: true }
            max_execution_batch_size { value: 2 }  allowed_batch_sizes: 2  max_enqueued_batches { value: 100 }""",
        "plain": "",
    }
    for name, text in parameters.items():
        tools.publish(rows_model, root / name / "1")
        if text:
            (root / name / "1" / "batching_params.pbtxt").write_text(text)
    tools.publish(saved_models.slow, root / "slow" / "1")
    (root / "slow" / "1" / "batching_params.pbtxt").write_text("")
    return start_server(
        models=tuple(ModelConfig(name, root / name) for name in (*parameters, "slow")),
        batching=BatchingConfig(num_batch_threads=2),
        enable_per_model_batching_parameters=True,
        monitoring_path="/metrics",
    )


def ask_grpc(client, model, inputs, timeout=20):
    import tensorflow as tf

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    for name, value in inputs.items():
        dtype = None if name == "steps" else tf.float32
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype))
    try:
        response = client.prediction.Predict(request, timeout=timeout)
    except grpc.RpcError as error:
        return error.code().value[0], error.details()
    return {name: list(tensor.float_val) for name, tensor in response.outputs.items()}


def ask_rest(client, model, inputs):
    status, body = client.post(f"/v1/models/{model}:predict", {"inputs": inputs})
    document = json.loads(body)
    if status != 200:
        return {400: 3, 503: 14, 504: 4, 429: 8}[status], document["error"]
    return document["outputs"]


TRANSPORTS = pytest.mark.parametrize("ask", [ask_grpc, ask_rest], ids=["grpc", "rest"])


def inputs_of(*rows):
    return {"x": [list(row) for row in rows], "weights": [[1, 2]] * len(rows)}


@TRANSPORTS
def test_requests_of_different_length_meet_when_padding_is_on(served, ask):
    # The batch runs when it is full: alone, either would wait for a minute.
    with ThreadPoolExecutor(2) as pool:
        short = pool.submit(ask, served, "padded", inputs_of([5]))
        long = pool.submit(ask, served, "padded", inputs_of([1, 2, 3]))
        # The short one was filled with its own first value; that is what was asked for, and what upstream does.
        assert short.result() == {"sum": [15.0], "weight": [3.0]}
        assert long.result() == {"sum": [6.0], "weight": [3.0]}


@TRANSPORTS
def test_a_request_of_more_rows_than_an_execution_takes(served, ask):
    rows = [[number, 1] for number in range(7)]
    assert ask(served, "split", inputs_of(*rows)) == {
        "sum": [number + 1.0 for number in range(7)],
        "weight": [3.0] * 7,
    }
    name = ":tensorflow:serving:batching_session:processed_batch_size_bucket"
    page = served.http("GET", "/metrics")[1].splitlines()
    # All executions so far were of at most two rows.
    counts = {line.split('le="')[1].split('"')[0]: line.split()[-1] for line in page if line.startswith(name)}
    assert counts["4"] == counts["+Inf"] != "0"


CASES = [
    (
        "split",
        inputs_of(*[[1]] * 9),
        "Task size 9 is larger than maximum input batch size 8",
    ),
    (
        "split",
        {"x": [[1]], "weights": [[1, 2], [3, 4]]},
        "Batching Run() input tensors must have equal 0th-dimension size",
    ),
    ("split", {"x": 1, "weights": [[1, 2]]}, "Batching Run() input tensors must have at least one dimension"),
    ("slow", {"steps": 1}, "Batching Run() input tensors must have at least one dimension"),
]


@TRANSPORTS
@pytest.mark.parametrize(
    ("model", "inputs", "sentence"), CASES, ids=["too large", "unequal", "scalar", "scalar signature"]
)
def test_requests_that_cannot_be_batched(served, ask, model, inputs, sentence):
    assert ask(served, model, inputs) == (3, sentence)


@TRANSPORTS
def test_a_model_without_parameters_of_its_own_is_not_batched(served, ask):
    # Nothing of batching is asked of it: neither equal first dimensions nor a largest size.
    assert ask(served, "plain", {"x": [[1, 2]], "weights": [[1, 2], [3, 4]]}) == {"sum": [3.0], "weight": [3.0, 7.0]}


@TRANSPORTS
def test_a_dimension_that_the_signature_fixes_is_not_padded(served, ask):
    wrong = {"x": [[1, 1]] * 2, "weights": [[1, 2, 3]] * 2}
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(ask, served, "padded", inputs) for inputs in (inputs_of([1]), wrong, inputs_of([2, 2]))]
        assert answers[0].result()["weight"] == answers[2].result()["weight"] == [3.0]
        answer = answers[1].result()
    # This graph does not mind the width and sums what it gets; padded to it, the others would have got another weight.
    assert answer == {"sum": [2.0, 2.0], "weight": [6.0, 6.0]}


@pytest.mark.parametrize("is_per_model", [False, True], ids=["global", "per model"])
def test_parameters_that_contradict_each_other_end_the_version(rows_model, tmp_path, tools, is_per_model):
    tools.publish(rows_model, tmp_path / "bad" / "1")
    (tmp_path / "bad" / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2")
    server = Server(
        ServerConfig(
            models=(ModelConfig("bad", tmp_path / "bad"),),
            port=0,
            host="127.0.0.1",
            batching=BatchingConfig() if is_per_model else BatchingConfig(max_batch_size=4, allowed_batch_sizes=(2,)),
            enable_per_model_batching_parameters=is_per_model,
            max_num_load_retries=0,
        )
    )
    try:
        with pytest.raises(ServingError) as raised:
            server.start()
    finally:
        server.stop()
    assert raised.value.message.startswith("1 servable(s) did not become available: ")
    assert raised.value.message.endswith(
        "{name: bad version: 1} due to error: INVALID_ARGUMENT: Last entry in allowed_batch_sizes must match "
        "max_batch_size; last entry was 2; expected 4}, }"
    )


def test_a_bad_version_is_listed_with_its_sentence_while_the_one_before_answers(served, rows_model, tools):
    root = next(model.base_path for model in served.server.config.models if model.name == "split")
    version = root.parent / "unfinished"
    tools.publish(rows_model, version)
    (version / "batching_params.pbtxt").write_text("max_batch_size { value: 4 } allowed_batch_sizes: 2")
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "split"
    manager = served.server._manager
    retries, manager._max_num_load_retries = manager._max_num_load_retries, 0
    try:
        version.rename(root / "2")
        status = tools.wait_for(
            lambda: next(
                (
                    s
                    for s in served.model.GetModelStatus(request).model_version_status
                    if s.version == 2 and s.state == 50
                ),
                None,
            )
        )
    finally:
        manager._max_num_load_retries = retries
    assert (status.status.error_code, status.status.error_message) == (
        3,
        "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 2; expected 4",
    )
    assert ask_grpc(served, "split", inputs_of([1]))["sum"] == [1.0]
