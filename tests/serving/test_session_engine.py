"""The session engine itself: what loads, what does not, and the sentences of the runtime."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import tensorflow as tf

from serving import session_engine
from serving.errors import ServingError, Unavailable
from serving.session_engine import SessionEngine, clean_runtime_message
from serving.status import Code


@pytest.fixture
def load():
    loaded = []

    def load(path, **options):
        loaded.append(SessionEngine(**options).load(path))
        return loaded[-1]

    yield load
    for servable in loaded:
        servable.unload()


A, B = "serving_default_a:0", "serving_default_b:0"
INPUTS = {A: np.float32([1, 2]), B: np.float32([10, 20])}


def outputs(servable):
    signature = servable.signatures["serving_default"]
    return [signature.outputs[alias].name for alias in ("sum", "difference")]


@pytest.mark.parametrize("timeout_seconds", [None, 10.0, 1e12])
def test_runs_in_the_order_asked_for(load, saved_models, timeout_seconds):
    servable = load(saved_models.arithmetic)
    total, difference = outputs(servable)
    results = servable.run(INPUTS, [difference, total, difference], timeout_seconds=timeout_seconds)
    assert [result.tolist() for result in results] == [[-9, -18], [11, 22], [-9, -18]]


def test_signatures_are_described(load, saved_models):
    servable = load(saved_models.defaults)
    signature = servable.signatures["serving_default"]
    assert list(signature.inputs) == ["a", "b"]
    assert signature.inputs["a"].name == A
    assert (signature.inputs["a"].dtype, signature.inputs["a"].shape) == (1, (-1,))
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.defaults["b"].tolist() == [10]


def test_without_the_thin_binding_answers_are_the_same(load, saved_models, monkeypatch, caplog):
    def missing(session, binding):
        raise AttributeError("TF_SessionRun_wrapper")

    monkeypatch.setattr(session_engine, "_thin_call", missing)
    servable = load(saved_models.arithmetic)
    assert caplog.messages == [
        "TensorFlow's thin session binding is not there (TF_SessionRun_wrapper); requests will be slower."
    ]
    assert servable.run(INPUTS, outputs(servable)[:1], timeout_seconds=5)[0].tolist() == [11, 22]
    with pytest.raises(ServingError) as raised:
        servable.run({A: np.ones(2, "f"), B: np.ones(3, "f")}, outputs(servable))
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message.startswith("Incompatible shapes: [2] vs. [3]")
    assert "Traceback" not in raised.value.message
    assert "File" not in raised.value.message


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({A: np.ones(2, "f"), B: np.ones(3, "f")}, Code.INVALID_ARGUMENT),
        ({A: np.ones(2, "f"), "no_such:0": np.ones(3, "f")}, Code.INVALID_ARGUMENT),
        ({A: np.ones(2, "f")}, Code.INVALID_ARGUMENT),
    ],
)
def test_wrong_inputs_are_the_clients_fault(load, saved_models, inputs, code):
    servable = load(saved_models.arithmetic)
    with pytest.raises(ServingError) as raised:
        servable.run(inputs, outputs(servable))
    assert raised.value.code is code


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0, 0.1])
def test_a_run_ends_with_its_time(load, saved_models, timeout_seconds):
    servable = load(saved_models.slow)
    done = servable.signatures["serving_default"].outputs["done"].name
    with pytest.raises(ServingError) as raised:
        servable.run({"serving_default_steps:0": np.int64(10**9)}, [done], timeout_seconds=timeout_seconds)
    assert raised.value.code is Code.DEADLINE_EXCEEDED
    assert raised.value.message == "Timed out waiting for notification"


def test_an_unloaded_version_answers_no_more(saved_models):
    servable = SessionEngine().load(saved_models.arithmetic)
    names = outputs(servable)
    servable.unload()
    with pytest.raises(Unavailable):
        servable.run(INPUTS, names)


def refusal(path, **options):
    with pytest.raises(ServingError) as raised:
        SessionEngine(**options).load(path)
    return raised.value.code, raised.value.message


def test_directories_that_hold_no_saved_model(tmp_path):
    assert refusal(tmp_path) == (
        Code.NOT_FOUND,
        "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
        f"`saved_model.pb`)\nSpecified file path: {tmp_path}",
    )
    (tmp_path / "export.meta").touch()
    assert refusal(tmp_path) == (Code.UNIMPLEMENTED, "Session Bundle is deprecated and removed.")


def test_tags_that_are_not_there(saved_models):
    code, message = refusal(saved_models.arithmetic, tags=("serve", "gpu"))
    assert code is Code.NOT_FOUND
    assert message.startswith("Could not find meta graph def matching supplied tags: { serve gpu }.")


def test_damaged_files(saved_models, tmp_path):
    shutil.copytree(saved_models.arithmetic, tmp_path / "m")
    (tmp_path / "m" / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    code, message = refusal(tmp_path / "m")
    assert code is Code.DATA_LOSS
    assert message.startswith(f"The SavedModel at {tmp_path}/m cannot be read: ")
    shutil.copy(saved_models.arithmetic / "saved_model.pb", tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "variables")
    assert refusal(tmp_path / "m") == (
        Code.DATA_LOSS,
        f"The SavedModel at {tmp_path}/m cannot be read: The passed save_path is not a valid checkpoint: "
        f"{tmp_path}/m/variables/variables",
    )


def test_assets_and_tables_are_initialised(load, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")

    class Lookup(tf.Module):
        def __init__(self):
            super().__init__()
            initializer = tf.lookup.TextFileInitializer(
                str(labels),
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
            )
            self.table = tf.lookup.StaticHashTable(initializer, "?")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "i")])
        def look(self, i):
            return {"label": self.table.lookup(i)}

    module = Lookup()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.look)
    labels.unlink()  # the SavedModel must bring its own
    servable = load(tmp_path / "m")
    name = servable.signatures["serving_default"].outputs["label"].name
    assert servable.run({"serving_default_i:0": np.int64([1, 0, 7])}, [name])[0].tolist() == [b"dog", b"cat", b"?"]


def test_loading_says_nothing_about_compat_v1(load, saved_models, caplog):
    with caplog.at_level(logging.WARNING, "tensorflow"):
        load(saved_models.arithmetic)
    assert "deprecated" not in caplog.text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Incompatible shapes: [2] vs. [3]", "Incompatible shapes: [2] vs. [3]"),
        ("bad\n\t [[{{node x}}]]", "bad\n\t [[{{node x}}]]"),
        ("bad [Op:__inference_signature_wrapper_123]", "bad"),
        ("bad\n\t [[{{node x}}]]\n\nOriginal stack trace for 'x':\n  File ...", "bad\n\t [[{{node x}}]]"),
        (
            "Graph execution error:\n\nDetected at node 'x' defined at (most recent call last):\n  File ...\n"
            "Node: 'x'\nbad\n\t [[{{node x}}]] [Op:__inference_f_1]",
            "bad\n\t [[{{node x}}]]",
        ),
    ],
)
def test_what_python_adds_to_the_runtimes_sentence_is_removed(raw, clean):
    assert clean_runtime_message(raw) == clean
