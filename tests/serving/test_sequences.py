"""Sequences: state that stays on the server, over both transports, and its rules."""

from __future__ import annotations

import dataclasses
import json
import threading

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from serving import proto_tensors, sequences
from serving.config import BatchingConfig, ModelConfig
from serving.errors import ServingError
from serving.inference import Inference
from serving.messages import ModelSpec, ServableId, Signature, TensorSpec
from serving.status import Code

START, END = 1, 2


@pytest.fixture(scope="module")
def stateful(tmp_path_factory, start_server):
    """`serving_default`: x → total of all x so far; `convolve`: a causal convolution, one step; batching is on."""
    import tensorflow as tf

    class Model(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([1], tf.float32, "state_total")]
        )
        def total(self, x, state_total):
            # Of a matrix there is no such list, so it fails while it runs.
            total = state_total + tf.reduce_sum(tf.concat([x, tf.zeros([1])], 0))
            return {"total": tf.identity(total), "state_total": total}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, "x"),
                tf.TensorSpec([None, 4, 2], tf.float32, "state_past"),
            ]
        )
        def convolve(self, x, state_past):
            window = tf.concat([state_past, x[:, None]], 1)
            # Kernel of three taps, two steps apart: it reads steps t - 4, t - 2 and t.
            y = tf.einsum("btc,tco->bo", window[:, ::2], tf.constant(KERNEL))
            return {"y": y, "state_past": window[:, 1:]}

    root = tmp_path_factory.mktemp("stateful")
    model = Model()
    tf.saved_model.save(
        model, str(root / "m" / "1"), signatures={"serving_default": model.total, "convolve": model.convolve}
    )
    return start_server(models=(ModelConfig("m", root / "m"),), batching=BatchingConfig(batch_timeout_micros=50_000))


KERNEL = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)


def step(client, x, number=None, control=None, *, signature="", output_filter=(), id_type=np.uint64, **more):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.output_filter.extend(output_filter)
    arrays = {"x": np.float32(x), **more}
    if number is not None:
        arrays["sequence_id"] = np.array([number], id_type)
    if control is not None:
        arrays["sequence_control_input"] = np.uint32([control])
    for alias, array in arrays.items():
        request.inputs[alias].ParseFromString(proto_tensors.encode_tensor(array))
    response = client.prediction.Predict(request, timeout=30)
    return {alias: proto_tensors.decode_tensor(proto, alias) for alias, proto in response.outputs.items()}


def refusal(*arguments, **options):
    with pytest.raises(grpc.RpcError) as raised:
        step(*arguments, **options)
    return raised.value.code().name, raised.value.details()


def test_a_running_sum_remembers(stateful):
    first = step(stateful, [1, 2], 7, START)
    assert sorted(first) == ["sequence_id", "total"]
    assert (first["sequence_id"].dtype, first["sequence_id"].tolist()) == (np.uint64, [7])
    assert first["total"].tolist() == [3]
    assert step(stateful, [10], 7)["total"].tolist() == [13]
    assert step(stateful, [100], 7, 0, id_type=np.int64)["total"].tolist() == [113]
    assert step(stateful, [1000], 7, END)["total"].tolist() == [1113]
    assert refusal(stateful, [1], 7) == (
        "NOT_FOUND",
        "Sequence 7 of model m version 1 is not open: it was not started, has ended, or was idle for too long.",
    )
    assert step(stateful, [1], 7, START)["total"].tolist() == [1]
    step(stateful, [1], 7, END)


def test_steps_of_a_convolution_are_the_convolution(stateful):
    signal = np.random.default_rng(1).normal(size=(2, 9, 2)).astype(np.float32)
    padded = np.concatenate([np.zeros((2, 4, 2), np.float32), signal], 1)
    expected = np.stack([np.einsum("btc,tco->bo", padded[:, t : t + 5 : 2], KERNEL) for t in range(9)], 1)
    steps = [step(stateful, signal[:, t], 5, {0: START, 8: END}.get(t), signature="convolve")["y"] for t in range(9)]
    np.testing.assert_allclose(np.stack(steps, 1), expected, rtol=1e-5, atol=1e-6)


def test_the_server_chooses_a_number(stateful):
    one, other = (int(step(stateful, [value], control=START)["sequence_id"][0]) for value in (1, 2))
    assert 0 < one < 2**63
    assert one != other
    assert step(stateful, [10], one, END)["total"].tolist() == [11]
    assert step(stateful, [10], other, END)["total"].tolist() == [12]


def test_without_a_number_nothing_is_remembered(stateful):
    answer = step(stateful, [1], state_total=np.float32([5]))
    assert {alias: value.tolist() for alias, value in answer.items()} == {"total": [6], "state_total": [6]}
    code, sentence = refusal(stateful, [1])
    assert (code, sentence.startswith("input size does not match signature: 1!=2")) == ("INVALID_ARGUMENT", True)


def test_wrong_steps_are_refused_and_change_nothing(stateful):
    step(stateful, [1], 9, START)
    assert refusal(stateful, [1], 9, START) == (
        "ALREADY_EXISTS",
        "Sequence 9 of model m version 1 has started already; end it first, or start another.",
    )
    assert refusal(stateful, [1], 9, 3) == (
        "INVALID_ARGUMENT",
        "sequence_control_input is 3; it must be 0 (none), 1 (start) or 2 (end).",
    )
    assert refusal(stateful, [1], 0, END) == (
        "INVALID_ARGUMENT",
        "sequence_id is 0; only a start may leave the choice to the server with 0.",
    )
    assert refusal(stateful, [1], 9, id_type=np.float32) == (
        "INVALID_ARGUMENT",
        "sequence_id must be one integer; was float32 of shape [1].",
    )
    assert refusal(stateful, [1], 9, state_total=np.float32([0])) == (
        "INVALID_ARGUMENT",
        "The state of a sequence is the server's; leave out state_total.",
    )
    assert refusal(stateful, [1], 9, output_filter=["no"])[0] == "INVALID_ARGUMENT"
    assert refusal(stateful, [[1]], 9)[0] == "INVALID_ARGUMENT"  # fails in the model
    assert step(stateful, [1], 9, END)["total"].tolist() == [2]


def test_a_start_that_fails_did_not_start(stateful):
    assert refusal(stateful, [[1]], 11, START)[0] == "INVALID_ARGUMENT"
    assert refusal(stateful, [1], 11)[0] == "NOT_FOUND"
    step(stateful, [1], 11, START)
    step(stateful, [1], 11, END)


def test_an_output_filter_may_ask_for_the_state(stateful):
    answer = step(stateful, [4], 12, START, output_filter=["state_total"])
    assert {alias: value.tolist() for alias, value in answer.items()} == {"sequence_id": [12], "state_total": [4]}
    step(stateful, [1], 12, END)


def test_over_rest(stateful):
    def post(document):
        status, body = stateful.post("/v1/models/m:predict", document)
        return status, json.loads(body)

    start = {"x": [1], "sequence_id": [3], "sequence_control_input": [START]}
    assert post({"inputs": start}) == (200, {"outputs": {"sequence_id": [3], "total": [1.0]}})
    assert post({"instances": [{"x": 5, "sequence_id": 3}]}) == (
        200,
        {"predictions": [{"sequence_id": 3, "total": 6.0}]},
    )
    assert post({"inputs": start})[0] == 409
    assert post({"inputs": {"x": [1], "sequence_id": [3], "sequence_control_input": [END]}})[0] == 200
    assert post({"inputs": {"x": [1], "sequence_id": [3]}})[0] == 404
    assert post({"inputs": {"x": [1], "state_total": [2]}}) == (
        200,
        {"outputs": {"state_total": [3.0], "total": [3.0]}},
    )


def test_sequences_do_not_meet_in_a_batch_and_steps_of_one_do_not_overtake(stateful):
    numbers = range(100, 108)
    for number in numbers:
        step(stateful, [number], number, START)
    totals = {}

    def walk(number):
        for _ in range(10):
            totals[number] = step(stateful, [1], number)["total"].tolist()

    threads = [threading.Thread(target=walk, args=(number,)) for number in numbers for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in numbers:
        assert step(stateful, [0], number, END)["total"].tolist() == [number + 20]


def test_signatures_without_state_are_not_touched(client):
    document = {"inputs": {"a": [1], "b": [2], "sequence_id": [3]}}
    assert client.post("/v1/models/arithmetic:predict", document)[0] == 200  # REST ignores other names, as ever
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "arithmetic"
    for alias in ("a", "b", "sequence_id"):
        request.inputs[alias].ParseFromString(proto_tensors.encode_tensor(np.float32([1])))
    with pytest.raises(grpc.RpcError) as raised:
        client.prediction.Predict(request, timeout=30)
    assert raised.value.details().startswith("input size does not match signature: 3!=2")


ID = ServableId("m", 1)
SUM = Signature(
    inputs={"state_s": TensorSpec("s:0", 1, (1,)), "x": TensorSpec("x:0", 1, (-1,))},
    outputs={"state_s": TensorSpec("t:0", 1, (1,)), "y": TensorSpec("y:0", 1, (1,))},
)


def add(inputs, names, timeout_seconds):
    total = inputs["state_s"] + inputs["x"].sum()
    return [total for _ in names]


class Loaded:
    """What a manager and a runner know of one model that takes next to no time."""

    def __init__(self, signature):
        self.signatures = {"serving_default": signature}

    def peek(self, name, version):
        return self

    def is_quick(self, request_bytes):
        return True

    def runs_at_once(self, servable):
        return True


@pytest.mark.parametrize("has_state", [True, False], ids=["with state", "without"])
def test_a_step_waits_for_others_and_is_never_answered_where_it_arrived(has_state):
    signature = SUM if has_state else dataclasses.replace(SUM, outputs={"y": SUM.outputs["y"]})
    loaded = Loaded(signature)
    inference = Inference(loaded, loaded)
    # Asked twice: the answer is remembered.
    assert [inference.is_quick(ModelSpec("m"), 10) for _ in range(2)] == [not has_state] * 2


def ask(memory, number, control=0, x=1.0, *, run=add, timeout=5.0, signature=SUM, id=ID):
    inputs = {"x": np.float32([x]), "sequence_id": np.uint64([number]), "sequence_control_input": np.uint32([control])}
    return memory.step(id, "s", signature, inputs, (), run, timeout)["y"].tolist()


def test_a_limit_and_an_age():
    now = [0.0]
    memory = sequences.Sequences(max_sequences=2, idle_seconds=10, clock=lambda: now[0])
    ask(memory, 1, START)
    now[0] = 6
    ask(memory, 2, START)
    with pytest.raises(ServingError) as raised:
        ask(memory, 3, START)
    assert (raised.value.code, raised.value.message) == (
        Code.RESOURCE_EXHAUSTED,
        "2 sequences are open, which is as many as --max_sequences allows; end some.",
    )
    now[0] = 11  # the first is forgotten, the second is not
    ask(memory, 3, START)
    assert ask(memory, 2) == [2]
    with pytest.raises(ServingError) as raised:
        ask(memory, 1)
    assert raised.value.code is Code.NOT_FOUND


def test_a_sequence_stays_with_its_version():
    memory = sequences.Sequences()
    ask(memory, 1, START)
    with pytest.raises(ServingError) as raised:
        ask(memory, 1, id=ServableId("m", 2))
    assert raised.value.message.startswith("Sequence 1 of model m version 2 is not open")
    assert ask(memory, 1) == [2]


def test_steps_wait_their_turn_within_their_deadline():
    memory = sequences.Sequences()
    ask(memory, 1, START)
    running, go_on = threading.Event(), threading.Event()

    def slow(*arguments):
        running.set()
        go_on.wait(30)
        return add(*arguments)

    thread = threading.Thread(target=ask, args=(memory, 1), kwargs={"run": slow})
    thread.start()
    running.wait(30)
    with pytest.raises(ServingError) as raised:
        ask(memory, 1, timeout=0.01)
    assert (raised.value.code, raised.value.message) == (Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
    ask(memory, 2, START)  # others do not wait
    go_on.set()
    thread.join()
    assert ask(memory, 1, END) == [3]


@pytest.mark.parametrize(
    ("shape", "shown"), [((2, -1), "[2, -1]"), (None, "of any rank")], ids=["open size", "open rank"]
)
def test_state_without_sizes_needs_a_default(shape, shown):
    spec = TensorSpec("s:0", 1, shape)
    signature = Signature(inputs={"state_s": spec, "x": SUM.inputs["x"]}, outputs={"state_s": spec, "y": spec})
    memory = sequences.Sequences()
    with pytest.raises(ServingError) as raised:
        ask(memory, 1, START, signature=signature)
    assert (raised.value.code, raised.value.message) == (
        Code.FAILED_PRECONDITION,
        f"State state_s has shape {shown}, so that zeros cannot be made; export it with fixed sizes, or with a "
        "default in the signature.",
    )
    with_default = Signature(signature.inputs, signature.outputs, defaults={"state_s": np.float32([5])})
    assert ask(memory, 1, START, signature=with_default) == [6]
