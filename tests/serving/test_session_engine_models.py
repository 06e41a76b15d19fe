"""SavedModels that were written otherwise: by TensorFlow 1's builder, with initialisation and assets."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving.errors import ServingError
from serving.session_engine import SessionEngine
from serving.status import Code

v1 = tf.compat.v1


def build(directory, *, initialisation, labels):
    """A TF1 SavedModel: y = x · weights, and the name of the larger y from a vocabulary file."""
    builder = v1.saved_model.Builder(str(directory))
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        weights = v1.get_variable("weights", initializer=np.float32([[1, 2], [3, 4]]), use_resource=False)
        late = v1.get_variable("late", initializer=np.float32(0), collections=["not_saved"], use_resource=True)
        y = tf.identity(x @ weights + late, "y")
        vocabulary = tf.constant(str(labels), name="vocabulary")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, vocabulary)
        table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(vocabulary, tf.string, 0, tf.int64, -1), 1
        )
        names = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(vocabulary, tf.int64, -1, tf.string, 0), "?")
        largest = names.lookup(tf.argmax(y, axis=1))
        number = table.lookup(largest)
        session.run([v1.global_variables_initializer(), late.initializer, v1.tables_initializer()])
        start = tf.group(v1.tables_initializer(), late.assign(100.0), name="start")
        outputs = {"y": y, "largest": largest, "number": number}
        signature = v1.saved_model.build_signature_def(
            {"x": v1.saved_model.build_tensor_info(x)},
            {alias: v1.saved_model.build_tensor_info(tensor) for alias, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )
        options = {initialisation: start} if initialisation == "main_op" else {}
        if initialisation == "legacy_init_op":
            v1.add_to_collection(v1.saved_model.constants.LEGACY_INIT_OP_KEY, start)
        saver = v1.train.Saver([weights])
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, saver=saver,
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS), **options,
        )  # fmt: skip
        # It finds the initialisation where the first one left it.
        builder.add_meta_graph(["serve", "twice"], {"serving_default": signature}, saver=saver)
    builder.save()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("initialisation", ["main_op", "legacy_init_op"])
def test_a_model_of_tensorflow_1_is_initialised_and_brings_its_assets(tmp_path, initialisation):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    build(tmp_path / "1", initialisation=initialisation, labels=labels)
    labels.unlink()
    servable = SessionEngine().load(tmp_path / "1")
    signature = servable.signatures["serving_default"]
    assert {alias: spec.shape for alias, spec in signature.inputs.items()} == {"x": (-1, 2)}
    names = [signature.outputs[alias].name for alias in ("y", "largest", "number")]
    y, largest, number = servable.run({"x:0": np.float32([[1, 1], [0, -1]])}, names)
    # Only the initialisation sets the variable that is not saved.
    assert y.tolist() == [[104, 106], [97, 96]]
    assert largest.tolist() == [b"dog", b"cat"]
    assert number.tolist() == [1, 0]
    servable.unload()


def test_the_tags_choose_among_the_graphs_of_a_model(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    build(tmp_path / "1", initialisation="main_op", labels=labels)
    SessionEngine(tags=("twice", "serve")).load(tmp_path / "1").unload()
    with pytest.raises(ServingError) as raised:
        SessionEngine(tags=("twice",)).load(tmp_path / "1")
    assert raised.value.code is Code.NOT_FOUND
    assert raised.value.message.startswith("Could not find meta graph def matching supplied tags: { twice }.")


@pytest.mark.parametrize("value", [np.zeros((8, 8), "f"), np.zeros((1, 8, 8), "f"), np.float32(1)])
def test_an_input_of_a_wrong_rank_does_not_end_the_process(tmp_path, value):
    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, "pixels")])
        def call(self, pixels):
            return {"maps": tf.nn.conv2d(pixels, tf.ones([1, 1, 1, 2]), 1, "SAME")}

    network = Network()
    tf.saved_model.save(network, str(tmp_path / "1"), signatures=network.call)
    servable = SessionEngine().load(tmp_path / "1")
    names = [servable.signatures["serving_default"].outputs["maps"].name]
    with pytest.raises(ServingError) as raised:
        servable.run({"serving_default_pixels:0": value}, names)
    sizes = ",".join(str(size) for size in value.shape)
    assert (raised.value.code, raised.value.message) == (
        Code.INVALID_ARGUMENT,
        f"input must be 4-dimensional[{sizes}]",
    )
    servable.unload()
