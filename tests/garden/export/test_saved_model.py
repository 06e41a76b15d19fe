"""What `export` publishes, what it refuses, and that nothing is published then."""

from __future__ import annotations

import ctypes
import dataclasses
import glob
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import garden
from garden.data import decoding
from garden.errors import ExportError, ResourceError
from garden.export import export, golden, graph_rules, manifest, saved_model, verify_directory
from garden.export.saved_model_session import SavedModelSession


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_everything_lies_where_readers_look_for_it(exported_colours: Any) -> None:
    assert exported_colours.name == "colours"
    assert exported_colours.version == 1
    assert exported_colours.path.parts[-2:] == ("colours", "1")
    assert files(exported_colours.path) == [
        "assets.extra/garden.json",
        "assets.extra/golden/0.png",
        "assets.extra/golden/1.png",
        "assets.extra/golden/golden.json",
        "assets.extra/tf_serving_warmup_requests",
        "assets/labels.txt",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    ]
    assert (exported_colours.path / "assets" / "labels.txt").read_text() == "red\ngreen\nblue\nyellow\ncyan\nmagenta\n"
    assert [path.name for path in exported_colours.path.parent.iterdir()] == ["1"]


def test_manifest_tells_where_the_model_came_from(exported_colours: Any, colour_model: Any) -> None:
    told = manifest.read(exported_colours.path)
    assert told["name"] == "colours"
    assert told["versions"]["garden"] == garden.__version__
    assert told["versions"]["tensorflow"] == tf.__version__
    assert told["labels"] == list(colour_model.labels)
    assert told["image_spec"] == json.loads(json.dumps(colour_model.image_spec.to_json()))
    assert told["temperature"] == 2.0
    assert told["unknown_threshold"] == 0.5
    assert told["answers_unknown"] is False
    assert told["metrics"] == {"accuracy": 0.75}
    assert told["provenance"] == {"seed": 7}
    assert told["hashes"]["preprocessing"] == colour_model.image_spec.fingerprint()
    # sha256 of "red\ngreen\nblue\nyellow\ncyan\nmagenta", by sha256sum.
    assert told["hashes"]["labels"] == "9b65c24210c11a054e11a84444b6642dfba0dcdc078e03c27f4fcb48e545ce6a"


def test_tensorflow_version_stands_on_a_line_of_its_own(exported_colours: Any) -> None:
    # The container's shell script reads it with sed.
    lines = (exported_colours.path / manifest.MANIFEST_FILE).read_text().splitlines()
    assert f'    "tensorflow": "{tf.__version__}",' in lines


def test_warm_up_requests_are_those_that_tf_serving_replays(exported_colours: Any) -> None:
    records = tf.data.TFRecordDataset(str(exported_colours.path / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log", "predict_log"]
    asked = [log.predict_log.request for log in logs]
    assert [request.model_spec.name for request in asked] == ["colours", "colours"]
    assert [request.model_spec.signature_name for request in asked] == ["serving_default", "pixels"]
    [image_bytes] = tf.make_ndarray(asked[0].inputs["image_bytes"])
    assert decoding.decode_image(tf.constant(image_bytes)).shape == (48, 64, 3)
    pixels = tf.make_ndarray(asked[1].inputs["pixels"])
    assert (pixels.shape, pixels.dtype) == ((1, 8, 8, 3), np.uint8)


def test_session_gives_the_trained_networks_scores_for_the_same_bytes(
    convolutional_model: Any, tmp_path: Path, encode: Any
) -> None:
    chance = np.random.default_rng(0)
    sizes = [(24, 32), (90, 41), (33, 250), (7, 5)]
    pictures = [
        encode(chance.integers(0, 256, (height, width, 3)), encoding)
        for height, width in sizes
        for encoding in ("JPEG", "PNG")
    ]
    prepared = [convolutional_model.image_spec.prepare(decoding.decode_image(tf.constant(p))) for p in pictures]
    logits = convolutional_model.predict_logits(np.stack(prepared))
    # Softmax by hand, in double precision: the referee shares no code with the graph.
    powers = np.exp(logits.astype(np.float64) / convolutional_model.temperature)
    scores = powers / powers.sum(axis=1, keepdims=True)
    exported = export(convolutional_model, tmp_path, name="noise")
    with SavedModelSession(exported.path) as session:
        answer = session.run("serving_default", {"image_bytes": np.array(pictures, dtype=object)})
        for row, row_scores in enumerate(scores):
            order = np.argsort(-row_scores, kind="stable")
            assert [c.decode() for c in answer["classes"][row]] == [f"class {index}" for index in order]
            np.testing.assert_allclose(answer["scores"][row], row_scores[order], atol=1e-5)
        maps = convolutional_model.network.get_layer("maps")
        import keras

        expected = keras.Model(convolutional_model.network.inputs, maps.output).predict(np.stack(prepared), verbose=0)
        features = session.run("features", {"image_bytes": np.array(pictures, dtype=object)})["features"]
        np.testing.assert_allclose(features, expected.mean(axis=(1, 2)), atol=1e-5)


def test_tensorflow_c_plus_plus_loader_takes_it(exported_colours: Any, colour_scores: Any) -> None:
    """The loader that TF Serving links, by way of TensorFlow's C interface: no Python loads or runs anything."""
    library = load_c_library()
    status = library.TF_NewStatus()
    graph, options = library.TF_NewGraph(), library.TF_NewSessionOptions()
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = library.TF_LoadSessionFromSavedModel(
        options, None, os.fsencode(exported_colours.path), tags, 1, graph, None, status
    )
    assert library.TF_GetCode(status) == 0, library.TF_Message(status)
    definition = graph_rules.read_meta_graph(exported_colours.path).signature_def["pixels"]
    pixels = np.full((1, 12, 9, 3), (40, 80, 120), np.uint8)
    tensor = library.TF_AllocateTensor(tf.uint8.as_datatype_enum, (ctypes.c_int64 * 4)(*pixels.shape), 4, pixels.nbytes)
    ctypes.memmove(library.TF_TensorData(tensor), pixels.ctypes.data, pixels.nbytes)
    answers = (ctypes.c_void_p * 1)()
    library.TF_SessionRun(
        session,
        None,
        c_outputs(library, graph, definition.inputs["pixels"].name),
        (ctypes.c_void_p * 1)(tensor),
        1,
        c_outputs(library, graph, definition.outputs["scores"].name),
        answers,
        1,
        None,
        0,
        None,
        status,
    )
    assert library.TF_GetCode(status) == 0, library.TF_Message(status)
    scores = np.ctypeslib.as_array(
        ctypes.cast(library.TF_TensorData(answers[0]), ctypes.POINTER(ctypes.c_float)), (6,)
    ).copy()
    np.testing.assert_allclose(scores, colour_scores((40, 80, 120)), atol=1e-6)
    library.TF_CloseSession(session, status)
    library.TF_DeleteSession(session, status)
    library.TF_DeleteTensor(tensor)
    library.TF_DeleteTensor(answers[0])
    library.TF_DeleteGraph(graph)
    library.TF_DeleteSessionOptions(options)
    library.TF_DeleteStatus(status)


class COutput(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


def c_outputs(library: ctypes.CDLL, graph: Any, tensor_name: str) -> Any:
    operation, _, index = tensor_name.partition(":")
    found = library.TF_GraphOperationByName(graph, operation.encode())
    assert found, tensor_name
    return (COutput * 1)(COutput(found, int(index)))


def load_c_library() -> ctypes.CDLL:
    pattern = os.path.join(os.path.dirname(tf.__file__), "libtensorflow_cc.*")
    paths = glob.glob(pattern)
    if not paths:
        pytest.skip(f"This build of TensorFlow has no C library of its own ({pattern}).")
    library = ctypes.CDLL(paths[0])
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for name, result, arguments in [
        ("TF_NewStatus", pointer, []),
        ("TF_NewGraph", pointer, []),
        ("TF_NewSessionOptions", pointer, []),
        ("TF_GetCode", integer, [pointer]),
        ("TF_Message", text, [pointer]),
        (
            "TF_LoadSessionFromSavedModel",
            pointer,
            [pointer, pointer, text, ctypes.POINTER(text), integer, pointer, pointer, pointer],
        ),
        ("TF_GraphOperationByName", pointer, [pointer, text]),
        ("TF_AllocateTensor", pointer, [integer, ctypes.POINTER(ctypes.c_int64), integer, ctypes.c_size_t]),
        ("TF_TensorData", pointer, [pointer]),
        (
            "TF_SessionRun",
            None,
            [
                pointer,
                pointer,
                pointer,
                pointer,
                integer,
                pointer,
                pointer,
                integer,
                pointer,
                integer,
                pointer,
                pointer,
            ],
        ),
        ("TF_CloseSession", None, [pointer, pointer]),
        ("TF_DeleteSession", None, [pointer, pointer]),
        ("TF_DeleteTensor", None, [pointer]),
        ("TF_DeleteGraph", None, [pointer]),
        ("TF_DeleteSessionOptions", None, [pointer]),
        ("TF_DeleteStatus", None, [pointer]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def test_next_export_is_the_next_version_and_carries_the_card(colour_model: Any, tmp_path: Path) -> None:
    (tmp_path / "colours" / "6").mkdir(parents=True)
    exported = export(colour_model, tmp_path, name="colours", answer_unknown=True, model_card="# Colours\n")
    assert exported.version == 7
    card = (exported.path / "assets.extra" / "model_card.md").read_text()
    assert card.startswith('# Colours\n\n## The answer "unknown"\n\nExported with `--answer-unknown`')
    assert "below 0.5," in card
    assert manifest.read(exported.path)["answers_unknown"] is True
    assert golden.read(exported.path).unknown_threshold == 0.5
    # Drawn pictures stand in, and are verified with the rest.
    report = verify_directory(exported.path)
    assert len(report.comparisons) == 15
    assert report.problems == []


def test_exporters_at_once_publish_different_versions(colour_model: Any, tmp_path: Path) -> None:
    exported: list[Any] = []
    threads = [
        threading.Thread(target=lambda: exported.append(export(colour_model, tmp_path, name="colours")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(model.version for model in exported) == [1, 2]
    assert sorted(path.name for path in (tmp_path / "colours").iterdir()) == ["1", "2"]


def test_network_that_calls_python_is_refused(colour_model: Any, tmp_path: Path) -> None:
    import keras

    class CallsPython(keras.layers.Layer):
        def call(self, images: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(lambda x: x, [images], tf.float32), images.shape)

    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(CallsPython(name="python")(image))
    broken = dataclasses.replace(colour_model, network=keras.Model(image, keras.layers.Dense(6, name="logits")(x)))
    with pytest.raises(ExportError) as caught:
        export(broken, tmp_path / "models", name="colours")
    assert str(caught.value) == (
        "Stock TF Serving would not run this network: PyFunc calls Python, which a server does not have. "
        "Nothing was published. Build the network from standard layers, without grouped convolutions and Python "
        "functions."
    )
    assert not (tmp_path / "models").exists()


def test_network_that_must_be_compiled_is_refused(colour_model: Any, tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 1, name="widen")(image)
    # Keras compiles grouped convolutions with XLA on the TensorFlow backend.
    x = keras.layers.Conv2D(4, 1, groups=2, name="grouped")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    broken = dataclasses.replace(colour_model, network=keras.Model(image, keras.layers.Dense(6, name="logits")(x)))
    with pytest.raises(ExportError, match=r"must be compiled by XLA, which a stock server does not do\. Nothing was"):
        export(broken, tmp_path / "models", name="colours")
    assert not (tmp_path / "models").exists()


def test_graph_that_answers_otherwise_is_not_published(
    colour_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = golden.record

    def record_others(trained: Any, images: Any, *, answer_unknown: bool) -> Any:
        hotter = dataclasses.replace(trained, temperature=trained.temperature + 1e-3)
        return record(hotter, images, answer_unknown=answer_unknown)

    monkeypatch.setattr(saved_model.golden, "record", record_others)
    with pytest.raises(ExportError, match="does not answer as the trained network does: The scores of 'serving_def"):
        export(colour_model, tmp_path / "models", name="colours")
    assert not (tmp_path / "models").exists()


def test_full_disk_is_a_sentence_and_leaves_nothing(
    colour_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(_: object, directory: str, **__: object) -> None:
        (Path(directory) / "variables").mkdir()
        raise tf.errors.ResourceExhaustedError(None, None, f"{directory}/variables/x; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(ResourceError) as caught:
        export(colour_model, tmp_path / "models", name="colours")
    assert str(caught.value) == (
        f"The disk of {tmp_path}/models is full, or memory ran out, so nothing was exported. "
        "Free some space, and export again."
    )
    assert not (tmp_path / "models").exists()


def test_unknown_needs_a_threshold(colour_model: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(dataclasses.replace(colour_model, unknown_threshold=None), tmp_path, name="c", answer_unknown=True)
    assert str(caught.value) == (
        'The run has no threshold below which an answer is "unknown". '
        "Fine-tune it with --unknown-precision, or export without --answer-unknown."
    )


def test_labels_and_logits_must_agree(colour_model: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export(dataclasses.replace(colour_model, labels=("red", "green")), tmp_path, name="c")
    assert str(caught.value) == (
        "The network answers with 6 numbers, but the run names 2 classes; they must be as many. Fine-tune again."
    )


def test_label_with_a_line_break_is_refused(colour_model: Any, tmp_path: Path) -> None:
    labels = (*colour_model.labels[:5], "two\nlines")
    with pytest.raises(ExportError) as caught:
        export(dataclasses.replace(colour_model, labels=labels), tmp_path, name="c")
    assert str(caught.value) == (
        "The class name 'two\\nlines' has a line break, but labels.txt holds one name a line. "
        "Rename the class folder and fine-tune again."
    )
