"""Cross-entropy with label smoothing and class weights that do not disturb each other."""

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
