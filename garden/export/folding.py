"""A network for answering only: batch normalization becomes part of the layer before it.

In inference a batch normalization multiplies each channel by one number and adds another. Where it follows a
convolution or a dense layer directly, the first can be multiplied into the kernel once, before anybody asks.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Layer → axis of its kernel's output channels. A depthwise kernel has two: channel and multiplier.
_OUTPUT_AXES: dict[type, tuple[str, tuple[int, ...]]] = {
    keras.layers.Dense: ("kernel", (-1,)),
    keras.layers.Conv1D: ("kernel", (-1,)),
    keras.layers.Conv2D: ("kernel", (-1,)),
    keras.layers.Conv3D: ("kernel", (-1,)),
    keras.layers.Conv1DTranspose: ("kernel", (-2,)),
    keras.layers.Conv2DTranspose: ("kernel", (-2,)),
    keras.layers.Conv3DTranspose: ("kernel", (-2,)),
    keras.layers.DepthwiseConv1D: ("kernel", (-2, -1)),
    keras.layers.DepthwiseConv2D: ("kernel", (-2, -1)),
    keras.layers.SeparableConv1D: ("pointwise_kernel", (-1,)),
    keras.layers.SeparableConv2D: ("pointwise_kernel", (-1,)),
}


class AddBias(keras.layers.Layer):
    """What remains of a folded batch normalization: one number added to each channel.

    TensorFlow fuses its `BiasAdd` with the convolution before and the ReLU after it into one operation.

    Input shape: `(batch, …, channels)`.
    Output shape: as the input.
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        self.bias = self.add_weight((input_shape[-1],), "zeros", name="bias")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        # The call of a batch normalization is repeated with its arguments, which mean nothing here.
        return tf.nn.bias_add(inputs, tf.convert_to_tensor(self.bias))


def fold_batch_normalization(network: keras.Model) -> keras.Model:
    """A copy of `network` that answers the same with fewer operations; for inference, not for training.

    Every batch normalization that alone reads a linear convolution or dense layer becomes an `AddBias` of its name;
    the convolution loses its own bias to it. All other layers, all names and all shapes stay.

    Args:
        network: A flat functional model. It is not changed.
    """
    partners = _foldable(network)
    normalizations = {id(normalization): layer for layer, normalization in partners}
    without_bias = {id(layer) for layer, _ in partners}

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if id(layer) in normalizations:
            return AddBias(name=layer.name, dtype=layer.dtype_policy)
        config = layer.get_config()
        if id(layer) in without_bias:
            config["use_bias"] = False
        return type(layer).from_config(config)

    folded = keras.models.clone_model(network, clone_function=clone)
    for layer in network.layers:
        if layer.weights and id(layer) not in normalizations and id(layer) not in without_bias:
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    for layer, normalization in partners:
        weights, bias = _multiplied(layer, normalization)
        folded.get_layer(layer.name).set_weights(weights)
        folded.get_layer(normalization.name).set_weights([bias])
    return folded


def _foldable(network: keras.Model) -> list[tuple[Any, Any]]:
    """`(layer, batch normalization that alone reads it)`, for all that can be folded."""
    nodes = [node for depth in network._nodes_by_depth.values() for node in depth]
    places = Counter(id(node.operation) for node in nodes)
    readers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    readers.update(id(tensor) for tensor in network.outputs)
    makers = {id(tensor): node.operation for node in nodes for tensor in node.output_tensors}
    found = []
    for node in nodes:
        normalization = node.operation
        if not isinstance(normalization, keras.layers.BatchNormalization) or len(node.input_tensors) != 1:
            continue
        tensor = node.input_tensors[0]
        layer = makers[id(tensor)]
        if (
            _axes_of(layer) is not None
            and getattr(layer, "activation", None) in (None, keras.activations.linear)
            and normalization.axis in (-1, len(tensor.shape) - 1)
            and readers[id(tensor)] == places[id(layer)] == places[id(normalization)] == 1
        ):
            found.append((layer, normalization))
    return found


def _axes_of(layer: Any) -> tuple[str, tuple[int, ...]] | None:
    """The kernel and its axes of output channels; None for a layer of another kind.

    A subclass counts only where it computes with its kernel as its parent does, which a grouped convolution does.
    """
    kind = type(layer)
    if kind.__name__ == "GroupedConv2D":
        kind = keras.layers.Conv2D
    return _OUTPUT_AXES.get(kind)


def _multiplied(layer: Any, normalization: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """The layer's weights without bias, times the normalization's factors; and all that is added."""
    mean, variance = (np.asarray(v, np.float64) for v in (normalization.moving_mean, normalization.moving_variance))
    factor = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        factor = factor * np.asarray(normalization.gamma, np.float64)
    bias = -mean * factor
    if layer.use_bias:
        bias = bias + np.asarray(layer.bias, np.float64) * factor
    if normalization.center:
        bias = bias + np.asarray(normalization.beta, np.float64)
    name, axes = _axes_of(layer) or ("", ())
    weights = []
    for weight in layer.weights:
        if weight is getattr(layer, "bias", None):
            continue
        numbers = np.asarray(weight, np.float64)
        if weight.name == name:
            shape = [1] * numbers.ndim
            for axis in axes:
                shape[axis] = numbers.shape[axis]
            numbers = numbers * factor.reshape(shape)
        weights.append(numbers.astype(np.float32))
    return weights, bias.astype(np.float32)
