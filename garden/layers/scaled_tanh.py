"""ScaledTanh."""

from __future__ import annotations

from typing import Any

import keras

from garden.layers import arguments


@keras.saving.register_keras_serializable(package="garden")
class ScaledTanh(keras.layers.Layer):
    """The squashing function of the LeNets, `amplitude · tanh(slope · x)`.

    With the default values it takes 1 to 1 and -1 to -1, and bends most there.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, appendix A.

    Args:
        amplitude: Largest output.
        slope: Factor of the input.
    Input shape: any.
    Output shape: as the input.
    Raises: ValueError, if an argument is not above 0.
    """

    def __init__(self, amplitude: float = 1.7159, slope: float = 2 / 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amplitude = arguments.positive_number("amplitude", amplitude)
        self.slope = arguments.positive_number("slope", slope)

    def call(self, inputs: Any) -> Any:
        return self.amplitude * keras.ops.tanh(self.slope * inputs)

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "amplitude": self.amplitude, "slope": self.slope}
