"""The OpenVINO engine: what it computes, what it leaves to TensorFlow, and that nobody sees the difference."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from serving import engine_comparison, engines
from serving.config import ModelConfig
from serving.engines import EngineOptions
from serving.errors import ServingError
from serving.session_engine import SessionEngine
from serving.status import Code

if "CI" not in os.environ:
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

from serving import openvino_network  # noqa: E402
from serving.openvino_engine import OpenVinoEngine, OpenVinoServable  # noqa: E402
from serving.openvino_network import Network  # noqa: E402

RANDOM = np.random.default_rng(7)
KERNEL = RANDOM.normal(size=(3, 3, 3, 4)).astype(np.float32)
DENSE = RANDOM.normal(size=(4, 3)).astype(np.float32)
LABELS = ["cat", "dog", "emu"]


class Classifier(tf.Module):
    """A photo classifier as exporters write it: strings in front, a network with variables, names behind."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(KERNEL)
        self.dense = tf.Variable(DENSE)
        self.bias = tf.Variable([0.5, 0.0, -0.5])
        self.scale = tf.Variable(255.0)
        table = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), LABELS)
        self.table = tf.lookup.StaticHashTable(table, "?")

    def network(self, pixels):
        size = tf.shape(pixels)[0]
        pixels = tf.cond(size > 0, lambda: pixels, lambda: tf.zeros([1, 8, 8, 3]))
        maps = tf.nn.relu(tf.nn.conv2d(pixels / self.scale, self.kernel, 1, "SAME"))
        return (tf.reduce_mean(maps, [1, 2]) @ self.dense + self.bias)[:size]

    def decode(self, image_bytes):
        def one(image):
            return tf.ensure_shape(tf.cast(tf.io.decode_png(image, 3), tf.float32), [8, 8, 3])

        return tf.map_fn(one, image_bytes, fn_output_signature=tf.TensorSpec([8, 8, 3], tf.float32))

    def answer(self, logits):
        scores, indices = tf.math.top_k(tf.nn.softmax(logits), 2)
        return {"classes": self.table.lookup(tf.cast(indices, tf.int64)), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serving_default(self, image_bytes):
        return self.answer(self.network(self.decode(image_bytes)))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        features = {"image": tf.io.FixedLenFeature([], tf.string)}
        return self.answer(self.network(self.decode(tf.io.parse_example(inputs, features)["image"])))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, "pixels")])
    def pixels(self, pixels):
        logits = self.network(pixels)
        return {"logits": logits, "best": tf.argmax(logits, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def scaled(self, x):
        return {"y": x * self.scale}


class Counter(tf.Module):
    """A network whose bias grows with every call: not a thing to freeze."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(DENSE)
        self.calls = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def count(self, x):
        return {"y": x @ self.weights + self.calls.assign_add(1.0)}


class Precise(tf.Module):
    """A network of 64-bit floats."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float64, "x")])
    def call(self, x):
        return {"y": x @ tf.constant(DENSE, tf.float64)}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("openvino")
    module = Classifier()
    names = ("serving_default", "classify", "pixels", "scaled")
    tf.saved_model.save(module, str(root / "photos"), signatures={name: getattr(module, name) for name in names})
    counter = Counter()
    tf.saved_model.save(counter, str(root / "counter"), signatures=counter.count)
    precise = Precise()
    tf.saved_model.save(precise, str(root / "precise"), signatures=precise.call)
    return root


@pytest.fixture(scope="module")
def reference(models):
    servable = SessionEngine().load(models / "photos")
    yield servable
    servable.unload()


def engine(**options):
    return OpenVinoEngine(SessionEngine(), num_threads=2, **options)


@pytest.fixture(scope="module")
def candidate(models):
    servable = engine().load(models / "photos")
    yield servable
    servable.unload()


def png(seed):
    return tf.io.encode_png(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).numpy()


def example(image):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    return tf.train.Example(features=tf.train.Features(feature={"image": feature})).SerializeToString()


def strings(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def ask(servable, signature_name, value, aliases=None, **options):
    signature = servable.signatures[signature_name]
    (spec,) = signature.inputs.values()
    aliases = aliases or list(signature.outputs)
    return servable.run({spec.name: value}, [signature.outputs[alias].name for alias in aliases], **options)


@pytest.mark.parametrize("timeout_seconds", [None, 30.0])
@pytest.mark.parametrize("rows", [1, 3, 0])
@pytest.mark.parametrize(
    ("signature", "make", "aliases"),
    [
        ("serving_default", lambda rows: strings([png(row) for row in range(rows)]), ["classes", "scores"]),
        ("serving_default", lambda rows: strings([png(row) for row in range(rows)]), ["classes"]),
        ("classify", lambda rows: strings([example(png(row)) for row in range(rows)]), ["scores", "classes"]),
        ("pixels", lambda rows: RANDOM.uniform(0, 255, (rows, 8, 8, 3)).astype("f"), ["logits", "best"]),
        ("pixels", lambda rows: RANDOM.uniform(0, 255, (rows, 8, 8, 3)).astype("f"), ["best", "best"]),
        ("scaled", lambda rows: np.float32(rows), ["y"]),
    ],
)
def test_answers_are_those_of_tensorflow(candidate, reference, signature, make, aliases, rows, timeout_seconds):
    value = make(rows)
    expected = ask(reference, signature, value, aliases)
    answered = ask(candidate, signature, value, aliases, timeout_seconds=timeout_seconds)
    for one, other in zip(expected, answered, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if one.dtype.kind == "f":
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
        else:
            assert other.tolist() == one.tolist()


def test_the_networks_are_openvinos(candidate, monkeypatch):
    runs = []
    run = Network.run
    monkeypatch.setattr(
        Network, "run", lambda self, *args, **options: (runs.append(self), run(self, *args, **options))[1]
    )
    ask(candidate, "pixels", np.zeros((1, 8, 8, 3), "f"))
    ask(candidate, "serving_default", strings([png(1)]))
    ask(candidate, "classify", strings([example(png(1))]))
    ask(candidate, "scaled", np.float32(2))
    assert len(runs) == 3
    # Two signatures that differ only in what TensorFlow does share a network and its weights.
    assert runs[1] is runs[2]


def compiled_networks(monkeypatch):
    """What OpenVINO compiles from now on, in order."""
    found = []
    create = openvino_network._Compiled.__init__
    monkeypatch.setattr(
        openvino_network._Compiled,
        "__init__",
        lambda self, compiled, *args: (found.append(compiled), create(self, compiled, *args))[1],
    )
    return found


def test_threads_go_where_there_is_room(models, monkeypatch):
    found = compiled_networks(monkeypatch)
    engine().load(models / "photos").unload()
    assert {compiled.get_property("ENABLE_CPU_PINNING") for compiled in found} == {False}


def test_a_small_network_is_compiled_for_one_row_too(models, monkeypatch, reference):
    found = compiled_networks(monkeypatch)
    servable = engine().load(models / "photos")
    # Of the three signatures two share a network.
    assert [compiled.inputs[0].get_partial_shape().is_dynamic for compiled in found] == [True, False, True, False]
    runs = []
    run = openvino_network._Compiled.run
    monkeypatch.setattr(
        openvino_network._Compiled, "run", lambda self, *args: (runs.append(self._compiled), run(self, *args))[1]
    )
    for rows, place in ((1, 3), (2, 2), (1, 3)):
        pixels = RANDOM.uniform(0, 255, (rows, 8, 8, 3)).astype("f")
        answered, expected = (ask(one, "pixels", pixels, ["logits"])[0] for one in (servable, reference))
        np.testing.assert_allclose(answered, expected, rtol=1e-4, atol=1e-5)
        assert runs.pop() is found[place]
    servable.unload()


def test_a_large_network_is_compiled_once(models, monkeypatch):
    monkeypatch.setattr(openvino_network, "_MOST_BYTES_FOR_ONE_ROW", 100)
    found = compiled_networks(monkeypatch)
    engine().load(models / "photos").unload()
    assert [compiled.inputs[0].get_partial_shape().is_dynamic for compiled in found] == [True, True]


@pytest.mark.parametrize("wrong", [0, 1])
def test_both_ways_to_answer_are_compared(models, monkeypatch, wrong):
    """What is compiled for any number of rows is asked one row too, where warm-up requests have no more."""
    monkeypatch.setattr(engine_comparison, "_MADE_UP_ROWS", (1,))
    run = openvino_network._Compiled.run

    def off(self, *args):
        is_wrong = self._compiled.inputs[0].get_partial_shape().is_dynamic == bool(wrong)
        return [1.01 * array if is_wrong else array for array in run(self, *args)]

    monkeypatch.setattr(openvino_network._Compiled, "run", off)
    assert refusal(models / "photos")[0] is Code.FAILED_PRECONDITION


def test_it_describes_itself_as_tensorflow_does(candidate, reference):
    assert candidate.signature_def_map == reference.signature_def_map
    assert candidate.signatures == reference.signatures
    assert not candidate.is_quick(1)


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("pixels", np.zeros((1, 8, 8, 3), np.int32)),
        ("pixels", strings([b"x"])),
        ("pixels", np.zeros((1, 8, 8, 4), "f")),
        ("pixels", np.zeros((8, 8), "f")),
        ("serving_default", strings([b"no picture"])),
        ("serving_default", np.float32([1])),
        ("classify", strings([b"no example"])),
    ],
)
def test_wrong_requests_get_tensorflows_sentence(candidate, reference, signature, value):
    with pytest.raises(ServingError) as expected:
        ask(reference, signature, value)
    with pytest.raises(ServingError) as raised:
        ask(candidate, signature, value)
    assert raised.value.code is expected.value.code is Code.INVALID_ARGUMENT
    assert raised.value.message == expected.value.message


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0])
def test_no_time_is_no_answer(candidate, timeout_seconds):
    with pytest.raises(ServingError) as raised:
        ask(candidate, "pixels", np.zeros((1, 8, 8, 3), "f"), timeout_seconds=timeout_seconds)
    assert (raised.value.code, raised.value.message) == (
        Code.DEADLINE_EXCEEDED,
        "Timed out waiting for notification",
    )


def test_a_run_ends_with_its_time_and_the_next_one_answers(candidate):
    # About a second of work, which must not be waited for.
    value = np.zeros((60_000, 8, 8, 3), "f")
    ask(candidate, "pixels", value[:1])
    started = time.monotonic()
    with pytest.raises(ServingError) as raised:
        ask(candidate, "pixels", value, timeout_seconds=0.005)
    assert raised.value.code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 5
    assert ask(candidate, "pixels", np.ones((2, 8, 8, 3), "f"))[0].shape == (2,)


def test_the_heavy_variables_are_given_back_and_read_again_when_needed(models, caplog):
    with caplog.at_level(logging.INFO):
        servable = engine().load(models / "photos")
    (line,) = [message for message in caplog.messages if message.startswith("OpenVINO computes")]
    # The kernel, the dense weights and the bias; `scaled` still needs the scale.
    assert "3 variables given back" in line
    assert line.startswith("OpenVINO computes classify, pixels, serving_default of ")
    session = servable._session
    with pytest.raises(ServingError, match="not found|does not exist|Could not find variable"):
        ask(session, "pixels", np.zeros((1, 8, 8, 3), "f"))
    assert ask(servable, "scaled", np.float32(2))[0] == 510
    assert ask(servable, "pixels", np.zeros((0, 8, 8, 3), "f"))[1].shape == (0, 3)
    servable.unload()
    for signature, value in (("pixels", np.zeros((1, 8, 8, 3), "f")), ("scaled", np.float32(1))):
        with pytest.raises(ServingError) as raised:
            ask(servable, signature, value)
        assert raised.value.code is Code.UNAVAILABLE


def refusal(path, **options):
    with pytest.raises(ServingError) as raised:
        engine(**options).load(path)
    return raised.value.code, raised.value.message


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("counter", "its graphs change variables or tables"),
        ("arithmetic", "its graphs have no such part"),
        # OpenVINO would compute it in 32 bits.
        ("precise", "its graphs have no such part"),
    ],
)
def test_models_without_a_network_are_refused(models, saved_models, model, why):
    path = saved_models.arithmetic if model == "arithmetic" else models / model
    assert refusal(path) == (
        Code.FAILED_PRECONDITION,
        f"OpenVINO can compute no signature of the model in {path}: {why}. The engine openvino needs a numeric part "
        "with a convolution or a matrix product. Use --engine=tensorflow for it.",
    )


def test_a_network_that_answers_otherwise_is_refused(models, monkeypatch):
    run = Network.run
    monkeypatch.setattr(Network, "run", lambda *args, **options: [1.01 * array for array in run(*args, **options)])
    code, message = refusal(models / "photos")
    assert code is Code.FAILED_PRECONDITION
    assert message == (
        "The engine openvino answers signature 'pixels' otherwise than TensorFlow: output 'best' differs by more than "
        "rounding. Types, shapes, NaNs, whole numbers and strings whose scores do not tie must be equal. "
        "Use --engine=tensorflow."
    )


def has_bfloat16():
    file = Path("/proc/cpuinfo")
    flags = set(file.read_text(encoding="utf-8").split()) if file.is_file() else set()
    return not flags.isdisjoint({"avx512_bf16", "amx_bf16"})


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
def test_mixed_precision_computes_in_sixteen_bits_where_the_tolerance_allows_it(models, reference):
    def load(tolerance):
        options = EngineOptions("openvino", 2, mixed_precision="bfloat16", engine_tolerance=tolerance)
        return engines.make(options).load(models / "photos")

    with pytest.raises(ServingError) as raised:
        load(1e-3)
    assert re.fullmatch(
        r"The engine openvino answers signature 'pixels' otherwise than TensorFlow: output 'logits' differs by "
        r"0\.00\d+ of its largest value, and --engine_tolerance=0\.001 allows less\. Raise the tolerance or use "
        r"--engine=tensorflow\. Sixteen bits round to two or three digits: leave --mixed_precision=bfloat16 out, or "
        r"give --engine_tolerance=0\.05 with it\.",
        raised.value.message,
    )
    servable = load(0.05)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("f")
    expected, answered = (ask(one, "pixels", pixels, ["logits"])[0] for one in (reference, servable))
    # OpenVINO's 32 bits would differ by a ten-thousandth of this.
    assert 1e-4 < np.abs(answered - expected).max() / np.abs(expected).max() < 0.05
    assert answered.dtype == expected.dtype
    servable.unload()


def test_a_server_computes_each_model_with_its_engine(models, saved_models, tmp_path, start_server, tools, reference):
    tools.publish(models / "photos", tmp_path / "photos" / "1")
    tools.publish(saved_models.arithmetic, tmp_path / "arithmetic" / "1")
    served = tuple(ModelConfig(name, tmp_path / name) for name in ("photos", "arithmetic"))
    client = start_server(models=served, engine="photos=openvino")
    with client.server._manager.lend("photos") as (_, photos), client.server._manager.lend("arithmetic") as (_, other):
        assert isinstance(photos, OpenVinoServable)
        assert not isinstance(other, OpenVinoServable)
    picture = png(5)
    classes, scores = ask(reference, "serving_default", strings([picture]))
    encoded = base64.b64encode(picture).decode()
    status, body = client.post("/v1/models/photos:predict", {"instances": [{"b64": encoded}]})
    (prediction,) = json.loads(body)["predictions"]
    assert (status, prediction["classes"]) == (200, [name.decode() for name in classes[0]])
    assert prediction["scores"] == pytest.approx(scores[0].tolist(), rel=1e-4)
    request = predict_pb2.PredictRequest(output_filter=["classes"])
    request.model_spec.name = "photos"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([picture]))
    answer = client.prediction.Predict(request, timeout=30)
    assert list(answer.outputs["classes"].string_val) == classes[0].tolist()
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([b"no picture"]))
    with pytest.raises(grpc.RpcError) as raised:
        client.prediction.Predict(request, timeout=30)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.slow
# The weights of the first are constants of its export, those of the second variables.
@pytest.mark.parametrize("architecture", ["mobilenet_v2_035", "resnet18"])
def test_all_signatures_of_an_exported_classifier_are_computed(tmp_path, architecture):
    import garden
    from garden.architectures import get
    from garden.export import export
    from garden.trained_model import TrainedModel

    entry = get(architecture)
    labels = tuple(f"class {index}" for index in range(13))
    trained = TrainedModel(
        network=garden.build(architecture, num_classes=len(labels)),
        labels=labels,
        image_spec=entry.image_spec,
        features_layer=entry.features_layer,
    )
    path = export(trained, tmp_path, name="photos").path
    servable = engine().load(path)
    expected = SessionEngine().load(path)
    pictures = [tf.io.encode_png(RANDOM.integers(0, 256, (60, 90, 3), np.uint8)).numpy() for _ in range(2)]
    feature = "image/encoded"
    examples = []
    for picture in pictures:
        value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))
        examples.append(tf.train.Example(features=tf.train.Features(feature={feature: value})).SerializeToString())
    values = {
        "serving_default": strings(pictures),
        "features": strings(pictures),
        "classify": strings(examples),
        "pixels": RANDOM.integers(0, 256, (3, 50, 70, 3), np.uint8),
    }
    computed = {name for plan in servable._plans.values() for name in plan.split.sources}
    for name, value in values.items():
        assert computed.issuperset(spec.name for spec in expected.signatures[name].outputs.values())
        for one, other in zip(ask(expected, name, value), ask(servable, name, value), strict=True):
            if one.dtype.kind == "f":
                assert np.abs(one - other).max() <= 1e-3 * np.abs(one).max()
            else:
                assert other.tolist() == one.tolist()
    servable.unload()
    expected.unload()


def test_operations_that_openvino_does_not_know_stay_in_tensorflow(tmp_path):
    class Odd(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def call(self, x):
            x = tf.math.betainc(x, x, x)
            y = x @ tf.constant(DENSE)
            return {"y": tf.math.betainc(tf.sigmoid(y), tf.sigmoid(y), tf.sigmoid(y))}

    odd = Odd()
    tf.saved_model.save(odd, str(tmp_path / "m"), signatures=odd.call)
    servable = engine().load(tmp_path / "m")
    x = RANDOM.uniform(0.1, 0.9, (5, 4)).astype("f")
    sigmoid = tf.sigmoid(tf.math.betainc(x, x, x) @ DENSE)
    expected = tf.math.betainc(sigmoid, sigmoid, sigmoid).numpy()
    np.testing.assert_allclose(ask(servable, "serving_default", x)[0], expected, rtol=1e-4)
    servable.unload()


class Answers:
    """An engine that answers what it was told."""

    def __init__(self, **outputs):
        self.outputs = outputs

    def run(self, inputs, outputs):
        return [np.asarray(self.outputs[name]) for name in outputs]


CLOSE = np.float32([[0.5, 0.3, 0.2]])


@pytest.mark.parametrize(
    ("expected", "answered", "difference"),
    [
        ({"y": CLOSE}, {"y": CLOSE}, None),
        ({"y": CLOSE}, {"y": CLOSE + np.float32(0.00049)}, None),
        ({"y": CLOSE}, {"y": CLOSE + np.float32(0.00051)}, "0.00102"),
        ({"y": 1000 * CLOSE}, {"y": 1000 * CLOSE + 0.4}, None),
        ({"y": np.float32([np.nan, 1])}, {"y": np.float32([np.nan, 1])}, None),
        ({"y": np.float32([np.nan, 1])}, {"y": np.float32([0, 1])}, "inf"),
        ({"y": np.float32([np.inf, 1])}, {"y": np.float32([1, 1])}, "inf"),
        ({"y": CLOSE}, {"y": CLOSE.astype(np.float64)}, "inf"),
        ({"y": CLOSE}, {"y": CLOSE[0]}, "inf"),
        ({"y": np.int64([3])}, {"y": np.int64([3])}, None),
        ({"y": np.int64([10_000])}, {"y": np.int64([10_001])}, "inf"),
        ({"y": strings([b"a"])}, {"y": strings([b"a"])}, None),
        ({"y": strings([b"a"])}, {"y": strings([b"b"])}, "inf"),
    ],
)
def test_what_counts_as_a_difference(tmp_path, saved_models, reference, expected, answered, difference):
    signature = reference.signatures["scaled"]
    outputs = {signature.outputs["y"].name: "y"}

    def compare():
        engine_comparison.compare(
            Answers(**{name: expected[alias] for name, alias in outputs.items()}),
            [Answers(**{name: answered[alias] for name, alias in outputs.items()})],
            {"scaled": signature},
            tmp_path,
            engine="other",
            tolerance=1e-3,
        )

    if difference is None:
        compare()
        return
    with pytest.raises(ServingError) as raised:
        compare()
    rule = (
        "output 'y' differs by more than rounding. Types, shapes, NaNs, whole numbers and strings whose scores do not "
        "tie must be equal. Use --engine=tensorflow."
        if difference == "inf"
        else f"output 'y' differs by {difference} of its largest value, and --engine_tolerance=0.001 allows less. "
        "Raise the tolerance or use --engine=tensorflow."
    )
    assert raised.value.message == f"The engine other answers signature 'scaled' otherwise than TensorFlow: {rule}"


@pytest.mark.parametrize(
    ("names", "scores", "agrees"),
    [
        # The reference says a b c with these scores.
        (["b", "a", "c"], [0.4, 0.4, 0.2], True),
        (["b", "a", "c"], [0.5, 0.3, 0.2], False),
        (["a", "b", "d"], [0.5, 0.3, 0.2], True),
        (["a", "d", "b"], [0.5, 0.3, 0.2], False),
        (["d", "b", "c"], [0.5, 0.3, 0.2], False),
    ],
)
def test_names_may_change_places_where_scores_tie(tmp_path, candidate, names, scores, agrees):
    signature = candidate.signatures["serving_default"]
    classes, score = (signature.outputs[alias].name for alias in ("classes", "scores"))
    scores = np.float32([scores])
    expected = Answers(**{classes: np.array([[b"a", b"b", b"c"]], object), score: scores})
    answered = Answers(**{classes: np.array([[name.encode() for name in names]], object), score: scores})

    def compare():
        return engine_comparison.compare(
            expected, [answered], {"serving_default": signature}, tmp_path, engine="other", tolerance=1e-3
        )

    if agrees:
        # Two rows are made up, and one.
        assert compare() == 2
    else:
        with pytest.raises(ServingError, match="signature 'serving_default' .* output 'classes' differs by more"):
            compare()
