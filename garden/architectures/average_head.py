"""What most networks since GoogLeNet end with: the average of each channel over the map, and a dense layer."""

from __future__ import annotations

import keras

FEATURES_LAYER = "pool"
HEAD_LAYERS = ("dropout", "logits")


def average_head(x: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float) -> keras.KerasTensor:
    """Logits from a map, or the averages if there are no classes.

    Args:
        x: The last map.
        num_classes: Number of logits; None for the averages.
        dropout_rate: Share of the averages dropped while training.
    Output shape: `(batch, num_classes)`, or `(batch, channels)`; float32.
    """
    # From here on float32, also in mixed precision: sums over a map are too coarse in float16.
    x = keras.layers.GlobalAveragePooling2D(dtype="float32", name=FEATURES_LAYER)(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
