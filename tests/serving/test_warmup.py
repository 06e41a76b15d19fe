"""Warm-up records: which are replayed, how often, and what a wrong one says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2

from serving import warmup
from serving.errors import ServingError
from serving.execution import Execution
from serving.messages import ServableId
from serving.metrics import Metrics
from serving.session_engine import SessionEngine


@pytest.fixture(scope="module")
def servable(classic_models):
    loaded = SessionEngine().load(classic_models.half_plus_two)
    yield loaded
    loaded.unload()


@dataclasses.dataclass
class CountingRunner:
    """Runs, and remembers what."""

    runs: list

    def run(self, servable, inputs, outputs, **options):
        self.runs.append((sorted(inputs), sorted(outputs)))
        return servable.run(inputs, outputs)


def write(directory, records):
    path = directory / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())
    return path


def replay(servable, directory, **options):
    """The number of records, and what was run."""
    runner = CountingRunner([])
    count = warmup.replay(Execution(runner, Metrics()), ServableId("m", 1), servable, directory, **options)
    return count, runner.runs


EXAMPLE = "input { example_list { examples { features { feature { key: 'x' value { float_list { value: 2 } } } } } } }"
TENSOR = "inputs { key: 'x' value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2 } }"
LOGS = {
    "predict": f"predict_log {{ request {{ {TENSOR} }} }}",
    "of another model": f"predict_log {{ request {{ model_spec {{ name: 'x' version {{ value: 9 }} }} {TENSOR} }} }}",
    "classify": f"classify_log {{ request {{ model_spec {{ signature_name: 'classify_x_to_y' }} {EXAMPLE} }} }}",
    "regress": f"regress_log {{ request {{ model_spec {{ signature_name: 'regress_x_to_y2' }} {EXAMPLE} }} }}",
    "multi": "multi_inference_log { request { tasks { model_spec { name: 'a' signature_name: 'regress_x_to_y' } "
    "method_name: 'tensorflow/serving/regress' } tasks { model_spec { name: 'a' signature_name: 'classify_x_to_y' } "
    f"method_name: 'tensorflow/serving/classify' }} {EXAMPLE} }} }}",
    "nothing": "log_metadata { model_spec { name: 'm' } }",
}
RUNS = {
    "predict": [(["x:0"], ["y:0"])],
    "of another model": [(["x:0"], ["y:0"])],
    "classify": [(["tf_example:0"], ["y:0"])],
    "regress": [(["tf_example:0"], ["y2:0"])],
    "multi": [(["tf_example:0"], ["y:0"])],
    "nothing": [],
}


def log(text):
    return text_format.Parse(text, prediction_log_pb2.PredictionLog())


@pytest.mark.parametrize("case", LOGS)
def test_what_is_replayed(servable, tmp_path, case):
    write(tmp_path, [log(LOGS[case])])
    assert replay(servable, tmp_path) == (1, RUNS[case])


def test_records_run_in_their_order_each_as_often_as_asked(servable, tmp_path):
    write(tmp_path, [log(LOGS["predict"]), log(LOGS["regress"])])
    assert replay(servable, tmp_path, iterations=3) == (2, RUNS["predict"] * 3 + RUNS["regress"] * 3)


def test_a_model_without_records(servable, tmp_path):
    assert replay(servable, tmp_path) == (0, [])
    write(tmp_path, [])
    assert replay(servable, tmp_path) == (0, [])


SENTENCES = {
    "session run": ("session_run_log { }", "UNIMPLEMENTED: Unsupported log_type for warmup: 5"),
    "streamed": ("predict_streamed_log { }", "UNIMPLEMENTED: Unsupported log_type for warmup: 7"),
    "no examples": (
        "regress_log { request { model_spec { signature_name: 'regress_x_to_y' } } }",
        "INVALID_ARGUMENT: Input is empty.",
    ),
    "no such signature": (
        "classify_log { request { model_spec { signature_name: 'no' } } }",
        "INVALID_ARGUMENT: No signature was found with the name: no",
    ),
    "tasks need their model's name": (
        "multi_inference_log { request { tasks { method_name: 'tensorflow/serving/regress' } } }",
        "INVALID_ARGUMENT: Found ModelSpec with an empty model name.",
    ),
    "wrong type": (
        "predict_log { request { inputs { key: 'x' value { dtype: DT_INT32 tensor_shape { } int_val: 1 } } } }",
        "INVALID_ARGUMENT: Expects arg[0] to be float but int32 is provided",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_failing_record_fails_the_load(servable, tmp_path, case):
    text, sentence = SENTENCES[case]
    write(tmp_path, [log(LOGS["predict"]), log(text), log(LOGS["predict"])])
    with pytest.raises(ServingError) as raised:
        replay(servable, tmp_path)
    assert str(raised.value) == sentence


class Nothing:
    """A servable that computes at once."""

    def __init__(self, signatures):
        self.signatures = signatures
        self.count = 0

    def run(self, inputs, outputs, **options):
        self.count += 1
        return [np.float32([1])] * len(outputs)


def test_a_thousand_records_are_the_most_and_the_next_one_still_runs(servable, tmp_path):
    quick = Nothing(servable.signatures)
    (tmp_path / "full").mkdir()
    write(tmp_path / "full", [log(LOGS["predict"])] * 1000)
    assert replay(quick, tmp_path / "full")[0] == quick.count == 1000
    path = write(tmp_path, [log(LOGS["predict"])] * 1003)
    with pytest.raises(ServingError) as raised:
        replay(quick, tmp_path)
    assert str(raised.value) == f"INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at {path}"
    assert quick.count == 2001


def test_a_record_that_is_no_log(servable, tmp_path):
    path = write(tmp_path, [b"\xff\xffx"])
    with pytest.raises(ServingError) as raised:
        replay(servable, tmp_path)
    assert str(raised.value) == f"INVALID_ARGUMENT: Failed to parse warmup record: ÿÿx from {path}"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda data: b"this is no file of records", "corrupted record at 0 (Is this even a TFRecord file?)"),
        (lambda data: data[:-1], "truncated record at {second}' failed with Read less bytes than requested"),
        (lambda data: data[:-6] + b"\x7f" + data[-5:], "corrupted record at {payload}"),
    ],
    ids=["no TFRecord file", "cut off", "one byte changed"],
)
def test_a_damaged_file(servable, tmp_path, damage, sentence):
    record = log(LOGS["predict"])
    path = write(tmp_path, [record, record])
    path.write_bytes(damage(path.read_bytes()))
    second = 16 + record.ByteSize()  # eight bytes of length and two checksums of four
    with pytest.raises(ServingError) as raised:
        replay(servable, tmp_path)
    sentence = sentence.format(second=second, payload=second + 12)
    assert str(raised.value) == f"DATA_LOSS: {sentence}. Please verify your warmup data is in TFRecord format."
