"""What a finished run shows in TensorBoard besides its curves."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from garden.data.image_folder import LabelledFile
from garden.evaluation.classification import Evaluation
from garden.reports.tensorboard_writer import RunWriter
from garden.trained_model import TrainedModel
from garden.training.config import NOT_DECISIVE, TrainingConfig
from garden.training.phase import Images

PROJECTOR_IMAGES = 2000
BATCH_SIZE = 64


def write_outcome(
    writer: RunWriter,
    trained: TrainedModel,
    final: Evaluation,
    *,
    config: TrainingConfig,
    card: str,
    step: int,
) -> None:
    """Write the evaluation, the model card, the graphs and the row of the hparams table.

    Args:
        writer: The run's writer.
        trained: The finished network.
        final: Its evaluation on test images, or on validation images where there is no test split.
        config: The run's settings.
        card: The model card, Markdown.
        step: Number of epochs that were trained.
    """
    writer.evaluation(final, step=step)
    writer.text("model card", card)
    writer.network(trained.network)
    writer.hparams(
        {name: value for name, value in config.to_json().items() if value is not None and name not in NOT_DECISIVE},
        {"accuracy": trained.metrics["accuracy"], "macro_recall": trained.metrics["macro_recall"]},
    )


def write_projector(
    writer: RunWriter,
    *,
    network: keras.Model,
    boundary: str,
    features_layer: str,
    images: Sequence[Images],
    files: Sequence[LabelledFile],
) -> None:
    """Write each image's features as the trained network sees it, with its label and prediction.

    Args:
        writer: The run's writer.
        network: The trained network.
        boundary: Layer whose activations are at hand.
        features_layer: Layer whose output is shown; a map is averaged over its positions.
        images: The images of each side.
        files: Their files, in the same order.
    """
    to_features = keras.Model(
        network.get_layer(boundary).output, [network.get_layer(features_layer).output, network.output]
    )

    @tf.function(reduce_retracing=True)
    def features_and_scores(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, logits = to_features(rows, training=False)
        if len(features.shape) == 4:
            features = tf.reduce_mean(features, axis=[1, 2])
        return tf.cast(features, tf.float32), tf.nn.softmax(tf.cast(logits, tf.float32))

    indices = np.concatenate([side.indices for side in images])[:PROJECTOR_IMAGES].tolist()
    activations = images[0].activations
    features, scores, thumbnails = [], [], []
    for start in range(0, len(indices), BATCH_SIZE):
        chosen = indices[start : start + BATCH_SIZE]
        plain = [0] * len(chosen)
        some_features, some_scores = features_and_scores(activations.rows(chosen, plain, "boundary"))
        features.append(some_features.numpy())
        scores.append(some_scores.numpy())
        thumbnails.append(activations.rows(chosen, plain, "thumbnail"))
    all_scores = np.concatenate(scores)
    writer.projector(
        features=np.concatenate(features),
        true_indices=np.array([file.label_index for file in files[: len(indices)]]),
        predicted_indices=all_scores.argmax(axis=1),
        scores=all_scores.max(axis=1),
        thumbnails=np.concatenate(thumbnails),
        paths=[file.path for file in files[: len(indices)]],
    )
