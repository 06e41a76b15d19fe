"""TensorFlow Lite files: converted here, served beside SavedModels over both transports."""

from __future__ import annotations

import json
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving.config import ModelConfig
from serving.errors import ServingError
from serving.session_engine import SessionEngine
from serving.status import Code
from serving.tflite_engine import TfLiteEngine


class Line(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def line(self, x):
        return {"y": 3.0 * x + 1.0, "total": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "number")])
    def double(self, number):
        return {"doubled": 2 * number}


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Two versions: one with signatures in the file, one as old converters wrote them, without."""
    root = tmp_path_factory.mktemp("tflite")
    module = Line()
    tf.saved_model.save(module, str(root / "1"), signatures={"serving_default": module.line, "double": module.double})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(root / "1"), signature_keys=["serving_default", "double"])
    (root / "1" / "model.tflite").write_bytes(converter.convert())
    (root / "2").mkdir()
    old = tf.lite.TFLiteConverter.from_concrete_functions([module.double.get_concrete_function()])
    # The converter of a plain function writes no signature.
    (root / "2" / "model.tflite").write_bytes(old.convert())
    return root


@pytest.fixture(scope="module")
def servable(versions):
    loaded = TfLiteEngine(num_interpreters=2).load(versions / "1")
    yield loaded
    loaded.unload()


def ask(servable, values, aliases, signature="serving_default", **options):
    known = servable.signatures[signature]
    (spec,) = known.inputs.values()
    return servable.run({spec.name: values}, [known.outputs[alias].name for alias in aliases], **options)


def test_it_answers_by_signature(servable):
    x = np.float32([[1, 2], [0, -1], [5, 5]])
    total, y = ask(servable, x, ["total", "y"])
    assert y.tolist() == (3 * x + 1).tolist()
    assert total.tolist() == [3, -1, 10]
    assert ask(servable, np.int32([4]), ["doubled"], "double")[0].tolist() == [8]


def test_signatures_are_described(servable):
    signature = servable.signatures["serving_default"]
    assert {alias: (spec.dtype, spec.shape) for alias, spec in signature.inputs.items()} == {"x": (1, (-1, 2))}
    assert {alias: spec.dtype for alias, spec in signature.outputs.items()} == {"total": 1, "y": 1}
    assert signature.method_name == "tensorflow/serving/predict"
    assert not servable.is_quick(1)


def test_threads_share_the_interpreters(servable):
    answers = {}

    def work(number):
        answers[number] = ask(servable, np.full((number + 1, 2), number, "f"), ["total"])[0].tolist()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [2.0 * number] * (number + 1) for number in range(12)}


def test_a_file_without_signatures_is_one_signature(versions):
    servable = TfLiteEngine(num_interpreters=1).load(versions / "2")
    signature = servable.signatures["serving_default"]
    (alias,) = signature.outputs
    assert ask(servable, np.int32([4, 5]), [alias])[0].tolist() == [8, 10]
    servable.unload()
    with pytest.raises(ServingError) as raised:
        ask(servable, np.int32([4, 5]), [alias])
    assert raised.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("values", "options", "code", "message"),
    [
        (np.int32([[1, 2]]), {}, Code.INVALID_ARGUMENT, "Expects input 'x' to be float32 but int32 is provided"),
        (
            np.array([b"a"], object),
            {},
            Code.INVALID_ARGUMENT,
            "Expects input 'x' to be float32 but string is provided",
        ),
    ],
    ids=["int32", "string"],
)
def test_wrong_inputs(servable, values, options, code, message):
    with pytest.raises(ServingError) as raised:
        ask(servable, values, ["y"], **options)
    assert (raised.value.code, raised.value.message) == (code, message)


def test_without_an_interpreter_in_time_there_is_no_answer(versions):
    servable = TfLiteEngine(num_interpreters=1).load(versions / "1")
    taken = servable._idle.get()
    with pytest.raises(ServingError) as raised:
        ask(servable, np.float32([[1, 2]]), ["y"], timeout_seconds=0.01)
    assert raised.value.code is Code.DEADLINE_EXCEEDED
    servable._idle.put(taken)
    assert ask(servable, np.float32([[1, 2]]), ["y"], timeout_seconds=5)[0].tolist() == [[4, 7]]
    servable.unload()


def test_directories_that_hold_no_such_file(tmp_path, saved_models):
    with pytest.raises(ServingError) as raised:
        TfLiteEngine(num_interpreters=1).load(tmp_path)
    assert (raised.value.code, raised.value.message) == (
        Code.NOT_FOUND,
        f"{tmp_path} has no model.tflite, which the engine tflite serves. Convert the SavedModel with "
        "tf.lite.TFLiteConverter, or use --engine=tensorflow for it.",
    )
    (tmp_path / "model.tflite").write_bytes(b"nothing of the kind")
    with pytest.raises(ServingError) as raised:
        TfLiteEngine(num_interpreters=1).load(tmp_path)
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message.startswith(f"{tmp_path}/model.tflite cannot be loaded: ")
    engine = TfLiteEngine(num_interpreters=1, otherwise=SessionEngine())
    engine.load(saved_models.arithmetic).unload()


def test_a_server_prefers_the_tflite_file_where_there_is_one(versions, saved_models, tmp_path, start_server, tools):
    tools.publish(versions / "1", tmp_path / "line" / "1")
    (tmp_path / "line" / "1" / "saved_model.pb").unlink()
    tools.publish(saved_models.arithmetic, tmp_path / "arithmetic" / "1")
    models = (ModelConfig("line", tmp_path / "line"), ModelConfig("arithmetic", tmp_path / "arithmetic"))
    client = start_server(models=models, prefer_tflite_model=True)
    status, body = client.post("/v1/models/line:predict", {"instances": [[1, 2], [3, 4]]})
    assert (status, json.loads(body)) == (
        200,
        {"predictions": [{"total": 3.0, "y": [4.0, 7.0]}, {"total": 7.0, "y": [10.0, 13.0]}]},
    )
    request = predict_pb2.PredictRequest(output_filter=["total"])
    request.model_spec.name = "line"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([[1, 2]])))
    answer = client.prediction.Predict(request, timeout=30)
    assert {alias: list(proto.float_val) for alias, proto in answer.outputs.items()} == {"total": [3.0]}
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.int32([[1, 2]])))
    with pytest.raises(grpc.RpcError) as raised:
        client.prediction.Predict(request, timeout=30)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status, body = client.post("/v1/models/arithmetic:predict", {"inputs": {"a": [1], "b": [2]}})
    assert (status, json.loads(body)["outputs"]["sum"]) == (200, [3.0])
