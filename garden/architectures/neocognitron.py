"""The neocognitron: three modules of S-cells, which learn features, and C-cells, which forgive their place.

It was made to learn without a teacher: `garden.training.winner_take_all.learn_without_teacher` does that, and
`read_out` beside it then gives names to what the last cells answer. It has gradients too.

Source: Fukushima, "Neocognitron: a self-organizing neural network model for a mechanism of pattern
recognition unaffected by shift in position", 1980, https://doi.org/10.1007/BF00344251
"""

from __future__ import annotations

import dataclasses

import keras

from garden import layers
from garden.architectures.registry import Endpoint, architecture
from garden.image_spec import ImageSpec


@dataclasses.dataclass(frozen=True)
class NeocognitronVariant:
    """A row of the table.

    Args:
        planes: Cell planes of each module.
        selectivities: r of each module's S-cells.
    """

    planes: tuple[int, int, int]
    selectivities: tuple[float, float, float]
    num_parameters: int
    macs: int


# The source's planes, sizes and selectivities, for five drawn patterns. neocognitron_digits is ours: features of
# handwriting vary more, so cells of the second module are less selective, and there are more of them.
# Parameters: a and b of the S-cells, and the readout for 10 classes, which is ours. Multiply-adds: connections to
# S-, V- and C-cells, and the readout.
VARIANTS = {  #                             planes         selectivities    parameters multiply-adds
    "neocognitron": NeocognitronVariant((24, 24, 24), (4.0, 1.5, 1.5), 29_722, 1_261_936),
    "neocognitron_digits": NeocognitronVariant((24, 48, 96), (4.0, 1.0, 1.6), 145_738, 2_611_744),
}

# Ink is 1, the ground 0: cells answer to light.
IMAGE_SPEC = ImageSpec(16, 16, channels=1, mean=(0.0,), std=(255.0,), resize="stretch")


@architecture(
    VARIANTS,
    source="https://doi.org/10.1007/BF00344251",
    year=1980,
    image_spec=IMAGE_SPEC,
    endpoints=lambda variant: (
        Endpoint("u_s1", 1),
        Endpoint("u_c1", 2),
        Endpoint("u_s2", 2),
        Endpoint("u_c2", 4),
        Endpoint("u_s3", 4),
    ),
    features_layer="u_c3_vector",
    head_layers=("dropout", "logits"),
    minimum_size=12,
    parameter_note="with a dense readout, which the source does not have",
    num_classes=10,
)
def neocognitron(
    variant: NeocognitronVariant, pixels: keras.KerasTensor, *, num_classes: int | None, dropout_rate: float
) -> keras.KerasTensor:
    """S1, C1, S2, C2, S3, C3: maps of 16, 10, 8, 6, 2 and 1 cells a side. C3 sees all of S3, however large."""
    planes, selectivities = variant.planes, variant.selectivities
    x = layers.NeocognitronS(planes[0], 5, selectivity=selectivities[0], padding="same", name="u_s1")(pixels)
    # Every second C-cell is left out; the first and the last lie beyond the border of the S-cells' map.
    x = keras.layers.ZeroPadding2D(((4, 3), (4, 3)), name="u_s1_border")(x)
    x = layers.NeocognitronC(5, strides=2, name="u_c1")(x)
    x = keras.layers.ZeroPadding2D(1, name="u_c1_border")(x)
    x = layers.NeocognitronS(planes[1], 5, selectivity=selectivities[1], name="u_s2")(x)
    x = keras.layers.ZeroPadding2D(((4, 3), (4, 3)), name="u_s2_border")(x)
    x = layers.NeocognitronC(5, strides=2, name="u_c2")(x)
    x = layers.NeocognitronS(planes[2], 5, selectivity=selectivities[2], name="u_s3")(x)
    x = layers.NeocognitronC(tuple(x.shape[1:3]), dtype="float32", name="u_c3")(x)
    x = keras.layers.Flatten(dtype="float32", name="u_c3_vector")(x)
    if num_classes is None:
        return x
    x = keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")(x)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
