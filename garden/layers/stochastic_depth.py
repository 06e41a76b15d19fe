"""StochasticDepth."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class StochasticDepth(keras.layers.Layer):
    """Drops a residual branch in training, for each image on its own, so that the network is shallower by chance.

    A branch that survives is divided by the probability of that, so that its expectation is what inference adds:
    the branch as it is. (The paper drops a branch for the whole batch and multiplies by the probability in inference.)

    Source: Huang et al., "Deep networks with stochastic depth", 2016, section 3, https://arxiv.org/abs/1603.09382

    Args:
        drop_rate: Probability that a branch is dropped; the paper has it grow from 0 at the input to 0.5.
        seed: Of the chance.
    Input shape: `(batch, ...)`, the branch before it is added.
    Output shape: as the input.
    Raises: ValueError, if `drop_rate` is not at least 0 and below 1.
    """

    def __init__(self, drop_rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop_rate = arguments.fraction("drop_rate", drop_rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.drop_rate == 0:
            return inputs
        shape = (keras.ops.shape(inputs)[0], *(1,) * (len(inputs.shape) - 1))
        survives = keras.random.uniform(shape, seed=self.seed_generator) >= self.drop_rate
        return inputs * (keras.ops.cast(survives, inputs.dtype) / (1 - self.drop_rate))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "drop_rate": self.drop_rate, "seed": self.seed}
