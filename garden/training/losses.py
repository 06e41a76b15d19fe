"""Losses: cross-entropy with label smoothing and class weights that do not disturb each other; the margin loss."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def cross_entropy(
    targets: tf.Tensor, logits: tf.Tensor, *, label_smoothing: float, class_weights: tf.Tensor
) -> tf.Tensor:
    """Mean over the batch of `(1 - s) · Σ_k w_k t_k (-log p_k)  +  s · mean_k (-log p_k)`.

    Keras' own combination scales the smoothed part by the weight of the true class as well, so that rare classes
    push all others up; here a class weight counts only where the class is the target.

    Args:
        targets: Shares of each class; one-hot, or mixed. Shape `(batch, classes)`, rows sum to 1.
        logits: Shape `(batch, classes)`.
        label_smoothing: `s` above, in 0..1.
        class_weights: `w` above, shape `(classes,)`; ones for none.
    Returns: a scalar.
    """
    negative_log = -tf.nn.log_softmax(tf.cast(logits, tf.float32))
    hard = tf.reduce_sum(targets * class_weights * negative_log, axis=-1)
    smooth = tf.reduce_mean(negative_log, axis=-1)
    return tf.reduce_mean((1.0 - label_smoothing) * hard + label_smoothing * smooth)


def balanced_class_weights(class_indices: np.ndarray, num_classes: int) -> np.ndarray:
    """`images / (classes · images of the class)`: each class then counts alike, and the mean over images is 1.

    Args:
        class_indices: Class of each training image, shape `(images,)`.
        num_classes: Number of classes; each must occur.
    Output shape: `(num_classes,)`, float32.
    """
    counts = np.bincount(class_indices, minlength=num_classes)
    return (len(class_indices) / (num_classes * np.maximum(counts, 1))).astype(np.float32)


def margin_loss(
    targets: tf.Tensor,
    logits: tf.Tensor,
    *,
    present_length: float = 0.9,
    absent_length: float = 0.1,
    absent_weight: float = 0.5,
) -> tf.Tensor:
    """How far capsules are from being long where their class is there and short where it is not.

    `Σ_k t_k · max(0, present - l_k)²  +  absent_weight · (1 - t_k) · max(0, l_k - absent)²`, equation 4 of Sabour et
    al., "Dynamic routing between capsules", 2017. The lengths `l` are the sigmoid of the logits, as a CapsNet of
    the catalogue answers them. Keras takes the function as a loss: `network.compile(loss=losses.margin_loss)`.

    Args:
        targets: Which classes are there: 0 or 1 each, several may be. Shape `(batch, classes)`.
        logits: Log-odds of the lengths, `log(l / (1 - l))`. Shape `(batch, classes)`.
        present_length: Length that suffices where the class is there.
        absent_length: Length that is forgiven where it is not.
        absent_weight: Weight of the classes that are not there; below 1, so that at first not all shrink.
    Output shape: `(batch,)`.
    """
    lengths = tf.sigmoid(tf.cast(logits, tf.float32))
    targets = tf.cast(targets, tf.float32)
    present = tf.square(tf.maximum(0.0, present_length - lengths))
    absent = tf.square(tf.maximum(0.0, lengths - absent_length))
    return tf.reduce_sum(targets * present + absent_weight * (1.0 - targets) * absent, axis=-1)
