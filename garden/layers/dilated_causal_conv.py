"""DilatedCausalConv1D."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from garden.layers import arguments

# What keras.layers.Conv1D could do else, and this cannot.
FIXED = {"strides": (1, (1,)), "padding": ("causal",), "groups": (1,), "data_format": (None, "channels_last")}


@keras.saving.register_keras_serializable(package="garden")
class DilatedCausalConv1D(keras.layers.Conv1D):
    """1D convolution whose output at step `t` reads inputs `t`, `t - d`, `t - 2d`, …, for whole sequences or one step.

    Called with a sequence, it is `keras.layers.Conv1D(padding="causal")`, with the same weights: before the first
    step it reads zeros. To continue a sequence one step at a time, as a generator of sound or a server of streams
    does, the past is an explicit state, the last `d · (kernel_size - 1)` inputs, so that a step costs
    `kernel_size` taps however long the past is:

        state = layer.initial_state(batch_size)
        for inputs in steps:                              # each (batch, channels)
            outputs, state = layer.step(inputs, state)    # each (batch, filters)

    Source: van den Oord et al., "WaveNet", 2016, section 2.1, https://arxiv.org/abs/1609.03499

    Args:
        filters: Number of output channels.
        kernel_size: Number of taps.
        dilation_rate: Steps between taps; `d` above.
        The others: as in `keras.layers.Conv1D`, but for strides, padding, groups and data_format.
    Input shape: `(batch, steps, channels)`.
    Output shape: `(batch, steps, filters)`; the number of steps is unchanged.
    Raises: ValueError, if an argument is not a positive integer, or is one that the layer does not have.
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple[int], dilation_rate: int | tuple[int] = 1, **kwargs: Any
    ) -> None:
        for name, allowed in FIXED.items():
            value = kwargs.pop(name, allowed[0])
            if (tuple(value) if isinstance(value, list) else value) not in allowed:
                raise ValueError(f"`{name}` must be {allowed[-1]!r} in a causal layer. Received: {name}={value!r}.")
        arguments.positive_integer("filters", filters)
        single = [value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value
                  for value in (kernel_size, dilation_rate)]  # fmt: skip
        arguments.positive_integer("kernel_size", single[0])
        arguments.positive_integer("dilation_rate", single[1])
        super().__init__(
            filters,
            single[0],
            padding="causal",
            dilation_rate=single[1],
            data_format="channels_last",
            **kwargs,
        )

    @property
    def state_steps(self) -> int:
        """How many past inputs a state holds: `dilation_rate · (kernel_size - 1)`."""
        return int(self.dilation_rate[0] * (self.kernel_size[0] - 1))

    def initial_state(self, batch_size: Any) -> Any:
        """The state before the first step: zeros.

        Args:
            batch_size: How many sequences, an int or a scalar tensor.
        Returns: `(batch_size, state_steps, channels)`.
        Raises: ValueError, if the layer has not seen an input yet, and thus not its channels.
        """
        if not self.built:
            raise ValueError(f"Layer {self.name!r} must be built before it has a state: its channels are unknown.")
        return tf.zeros((batch_size, self.state_steps, self.kernel.shape[1]), self.compute_dtype)

    def step(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """One step of the sequences.

        Args:
            inputs: `(batch, channels)`.
            state: As `initial_state` or the step before returned it.
        Returns: `(outputs, state)`: `(batch, filters)`, and the state for the next step.
        Raises: ValueError, if the state is of another length, such as that of a layer with another dilation.
        """
        if state.shape[1] not in (None, self.state_steps):
            raise ValueError(
                f"`state` must hold {self.state_steps} steps, as `initial_state` makes it for layer {self.name!r}. "
                f"Received: a state of shape {tuple(state.shape)!r}."
            )
        inputs = tf.cast(inputs, self.compute_dtype)[:, None]
        state = tf.cast(state, self.compute_dtype)
        # The oldest input is the first tap's; every d-th of the state belongs to a tap.
        taps = tf.concat([state[:, :: self.dilation_rate[0]], inputs], axis=1)
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), self.compute_dtype)
        taps_and_channels = kernel.shape[0] * kernel.shape[1]
        outputs = tf.matmul(tf.reshape(taps, (-1, taps_and_channels)), tf.reshape(kernel, (taps_and_channels, -1)))
        if self.use_bias:
            outputs += tf.cast(tf.convert_to_tensor(self.bias), self.compute_dtype)
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs, tf.concat([state, inputs], axis=1)[:, 1:]

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name not in FIXED}
