"""What AlexNet, ZFNet and VGG end with: two dense layers with dropout, and a third for the classes.

Names are those of Caffe's files, whose readers count the weighted layers: fc6, fc7. The third is "logits".
"""

from __future__ import annotations

import keras

FEATURES_LAYER = "fc7_relu"
HEAD_LAYERS = ("drop7", "logits")


def dense_head(
    x: keras.KerasTensor, *, units: tuple[int, int] = (4096, 4096), num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """Logits from a map, or the second layer's vector if there are no classes.

    Args:
        x: The last map, of known size: its positions are flattened.
        units: Of fc6 and fc7.
        num_classes: Number of logits; None for features.
        dropout_rate: Share of fc6's and of fc7's numbers dropped while training.
    """
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(units[0], name="fc6")(x)
    x = keras.layers.ReLU(name="fc6_relu")(x)
    x = keras.layers.Dropout(dropout_rate, name="drop6")(x)
    x = keras.layers.Dense(units[1], dtype="float32", name="fc7")(x)
    x = keras.layers.ReLU(dtype="float32", name=FEATURES_LAYER)(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="drop7")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
