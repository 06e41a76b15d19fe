"""The four questions that an exported classifier answers, as TensorFlow functions.

serving_default   image_bytes → classes, scores     the best classes of encoded pictures
pixels            pixels      → scores, logits      every score, in the order of the labels
features          image_bytes → features            what the head of the network sees
classify          inputs      → classes, scores     tf.Examples, for TF Serving's Classify
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from garden.data import decoding
from garden.trained_model import TrainedModel

TOP_CLASSES = 5
UNKNOWN_CLASS = "unknown"
EXAMPLE_IMAGE_KEY = "image/encoded"

SERVING_DEFAULT = "serving_default"
PIXELS = "pixels"
FEATURES = "features"
CLASSIFY = "classify"

# Nothing here needs TensorFlow to rewrite Python's `if` and `while`, which only makes an export slower.
_graph = functools.partial(tf.function, autograph=False)

# Pictures of one request are decoded side by side, as far as the runtime has threads.
PARALLEL_DECODES = 16


class ExportedClassifier(tf.Module):
    """A trained network that takes pictures as they come and answers with names.

    Decoding, resizing, scaling, temperature, softmax and label names are inside the graph. The network runs in
    inference mode, and of Keras nothing remains but the variables.

    Args:
        trained: What answers.
        labels_file: The class names, one a line; becomes an asset of the SavedModel.
        answer_unknown: Whether the first class of `serving_default` and `classify` reads "unknown" where the
            best score is below `trained.unknown_threshold`. The scores stay as they are.
        freeze: Whether the network's weights become constants of the graph, which the runtime can prepare once
            for all requests, instead of variables beside it.
    Raises: ValueError, if `answer_unknown` is asked of a network without a threshold.
    """

    def __init__(
        self, trained: TrainedModel, labels_file: Path, *, answer_unknown: bool = False, freeze: bool = False
    ) -> None:
        super().__init__(name="exported_classifier")
        if answer_unknown and trained.unknown_threshold is None:
            raise ValueError(
                "`answer_unknown` needs a threshold. Received: answer_unknown=True with a TrainedModel whose "
                "`unknown_threshold` is None."
            )
        network = trained.network
        # Only the variables are tracked: the Keras objects would drag their own functions into the SavedModel.
        self.network_variables = [] if freeze else [variable.value for variable in network.weights]
        self.labels_asset = tf.saved_model.Asset(str(labels_file))
        self.functions = _make_functions(trained, answer_unknown=answer_unknown, freeze=freeze)


def _make_functions(
    trained: TrainedModel, *, answer_unknown: bool, freeze: bool
) -> dict[str, tf.types.experimental.GenericFunction]:
    spec = trained.image_spec
    feature_layer = trained.network.get_layer(trained.features_layer)
    network = keras.Model(trained.network.inputs, [feature_layer.output, trained.network.outputs[0]])
    top_classes = min(TOP_CLASSES, len(trained.labels))

    # A function of its own, so that the three signatures that decode share one graph for it.
    @_graph(input_signature=[tf.TensorSpec([], tf.string)])
    def prepare_one(image_bytes: tf.Tensor) -> tf.Tensor:
        return spec.prepare(decoding.decode_image(image_bytes))

    def prepare_each(image_bytes: tf.Tensor) -> tf.Tensor:
        # One by one, because every picture has its own size.
        return tf.map_fn(
            prepare_one,
            image_bytes,
            fn_output_signature=tf.TensorSpec(spec.input_shape, tf.float32),
            parallel_iterations=PARALLEL_DECODES,
        )

    # Read here: inside a graph a variable has no numbers.
    trainable = [variable.numpy() for variable in network.trainable_variables] if freeze else []
    other = [variable.numpy() for variable in network.non_trainable_variables] if freeze else []

    def run_frozen(prepared: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        constants = ([tf.constant(value) for value in values] for values in (trainable, other))
        outputs, _ = network.stateless_call(*constants, prepared, training=False)
        return outputs

    # Traced once for all signatures. What a signature does not need of the two falls out when it runs.
    @_graph(input_signature=[tf.TensorSpec([None, *spec.input_shape], tf.float32)])
    def run_network(prepared: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, logits = run_frozen(prepared) if freeze else network(prepared, training=False)
        return _as_vectors(features), tf.cast(logits, tf.float32)

    def features_of(prepared: tf.Tensor) -> tf.Tensor:
        return _for_any_batch(lambda batch: run_network(batch)[0], prepared)

    def logits_of(prepared: tf.Tensor) -> tf.Tensor:
        return _for_any_batch(lambda batch: run_network(batch)[1], prepared)

    def best(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        scores, indices = tf.math.top_k(trained.scores_of_logits(logits), k=top_classes)
        classes = tf.gather(tf.constant(trained.labels), indices)
        if answer_unknown:
            unknown = scores[:, :1] < tf.constant(trained.unknown_threshold, tf.float32)
            is_first = tf.range(top_classes)[tf.newaxis, :] == 0
            classes = tf.where(unknown & is_first, UNKNOWN_CLASS, classes)
        return {"classes": classes, "scores": scores}

    @_graph(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return best(logits_of(prepare_each(image_bytes)))

    @_graph(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")])
    def pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        # The second half of `prepare` stands with the network, so that who computes the network computes it, too.
        resized = _for_any_batch(spec.resize_pixels, pixels)
        logits = _for_any_batch(lambda batch: run_network(spec.normalize(batch))[1], resized)
        return {"scores": trained.scores_of_logits(logits), "logits": logits}

    @_graph(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def features(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"features": features_of(prepare_each(image_bytes))}

    # TF Serving's Classify feeds serialized tf.Examples to the one input, which must be called "inputs".
    @_graph(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        examples = tf.io.parse_example(inputs, {EXAMPLE_IMAGE_KEY: tf.io.FixedLenFeature([], tf.string)})
        return best(logits_of(prepare_each(examples[EXAMPLE_IMAGE_KEY])))

    return {SERVING_DEFAULT: serving_default, PIXELS: pixels, FEATURES: features, CLASSIFY: classify}


def _for_any_batch(function: Callable[[tf.Tensor], tf.Tensor], batch: tf.Tensor) -> tf.Tensor:
    """`function(batch)`, also where the batch is empty.

    Several kernels fail on zero images (TensorFlow 2.21: "Incompatible shapes: [4] vs. [0,24,32,3]" after a
    convolution), so an empty batch is answered by way of one black picture, which is cut off again.
    """
    size = tf.shape(batch)[0]
    sides = [1 if side is None else side for side in batch.shape[1:]]
    filled = tf.cond(size > 0, lambda: batch, lambda: tf.zeros([1, *sides], batch.dtype))
    filled = tf.ensure_shape(filled, batch.shape)
    return function(filled)[:size]


def _as_vectors(features: tf.Tensor) -> tf.Tensor:
    """Feature vectors as they are; feature maps averaged over all positions.

    Input shape: `(batch, depth)` or `(batch, …, depth)`.
    Output shape: `(batch, depth)`, float32.
    """
    features = tf.cast(features, tf.float32)
    positions = list(range(1, len(features.shape) - 1))
    return tf.reduce_mean(features, axis=positions) if positions else features
