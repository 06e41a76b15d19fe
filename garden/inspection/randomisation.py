"""Cascading randomisation: whether a map depends on what the network has learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, MutableMapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.method import Attribute
from garden.inspection.objectives import Objective

# Shares of the layers with weights, counted from the scores on; 0 is the last layer alone.
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_ATTEMPTS = 5


@dataclasses.dataclass(frozen=True)
class Level:
    """How alike maps still are when some layers are random.

    Args:
        path: The deepest layer that is random, with all after it.
        layers: How many layers with weights are random.
        correlation: Spearman's, of the magnitudes, of each picture's maps, `(batch,)`.
        signed_correlation: The same with signs.
        similarity: SSIM of the magnitudes, `(batch,)`.
        maps: Of the network with random layers, `(batch, height, width)`.
    """

    path: str
    layers: int
    correlation: np.ndarray
    signed_correlation: np.ndarray
    similarity: np.ndarray
    maps: np.ndarray


def cascade(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    attribute: Attribute,
    *,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
) -> list[Level]:
    """Draw the weights of ever more layers anew, from the scores down to the picture, and compare the maps.

    The user's network stays as it is. A good attribution's correlation falls towards 0.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", 2018, https://arxiv.org/abs/1810.03292

    Args:
        network: Whose maps they are.
        images: Prepared pictures.
        objective: What is explained; one number per picture.
        attribute: Makes the maps.
        levels: Shares of the layers with weights, from the scores on; 0 is the last layer alone.
        seed: Of the weights.
    Input shape: `(batch, height, width, channels)`.
    """
    original = attribute(network, images, objective)
    found: list[Level] = []
    random = RandomNetwork(network, seed=seed)
    for level in levels:
        random.randomise(level)
        if found and found[-1].layers == random.layers:  # A shallow network has fewer levels than are asked for.
            continue
        maps = attribute(random.network, images, objective)
        pairs = list(zip(original, maps, strict=True))
        found.append(
            Level(
                path=random.path,
                layers=random.layers,
                correlation=np.array([correlation(np.abs(one), np.abs(other)) for one, other in pairs]),
                signed_correlation=np.array([correlation(one, other) for one, other in pairs]),
                similarity=np.array([similarity(one, other) for one, other in pairs]),
                maps=maps,
            )
        )
    return found


class RandomNetwork:
    """A network as another one with random weights sees it; what is traced of it is traced once for all levels.

    Args:
        network: It is not changed.
        seed: Of the weights.
    """

    def __init__(self, network: InspectedNetwork, *, seed: int = 0) -> None:
        self._layers = network.weighted_operations()[::-1]
        self._seed = seed
        variables = [variable for _, layer in self._layers for variable in layer.weights]
        self._learned = [np.asarray(variable.value) for variable in variables]
        self._values = [
            tf.Variable(variable.value, trainable=False, name=f"random_{place}")
            for place, variable in enumerate(variables)
        ]
        self.network = network.with_values(list(zip(variables, self._values, strict=True)))
        self.layers = 0
        self.path = ""

    def randomise(self, share: float, *, attempt: int = 0) -> None:
        """Draw the last layers' weights anew, and set the others to what was learned.

        Args:
            share: Of the layers with weights, within 0..1; at least the last layer is random.
            attempt: Another number draws others.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"`share` must be within 0..1. Received: share={share!r}.")
        self.layers = max(1, round(share * len(self._layers)))
        self.path = self._layers[min(self.layers, len(self._layers)) - 1][0] if self._layers else ""
        place = 0
        for depth, (_, layer) in enumerate(self._layers):
            for variable in layer.weights:
                value = self._learned[place]
                if depth < self.layers:
                    value = _drawn_anew(layer, variable, value, (self._seed, attempt, place))
                self._values[place].assign(value)
                place += 1


def random_maps(
    cache: MutableMapping[Hashable, Any],
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    attribute: Attribute,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Maps of the network with all weights random; the network is made once for all methods that share `cache`.

    A network that ends in ReLUs may be silent about a class when its weights are random, and then has no map to compare
    with: for such a picture other weights are drawn, a few times.
    """
    key = ("randomisation", seed)
    if key not in cache:
        cache[key] = RandomNetwork(network, seed=seed)
    random = cache[key]
    random.randomise(1.0)
    maps = np.array(attribute(random.network, images, objective))
    for attempt in range(1, _ATTEMPTS):
        silent = [place for place, values in enumerate(maps) if says_nothing(values)]
        if silent:
            random.randomise(1.0, attempt=attempt)
        for place in silent:
            one = slice(place, place + 1)
            maps[one] = attribute(random.network, images[one], objective.rows(place, place + 1))
    return maps


def says_nothing(values: np.ndarray) -> bool:
    """Whether a map is constant, and so ranks nothing."""
    return bool((values == values.flat[0]).all())


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two maps, ties averaged; 0 where one of them is constant, and so ranks nothing."""
    ranks = [stats.rankdata(np.asarray(values, np.float64).ravel()) for values in (one, other)]
    centred = [values - values.mean() for values in ranks]
    lengths = [np.sqrt((values**2).sum()) for values in centred]
    if not all(lengths):
        return 0.0
    return float((centred[0] / lengths[0] * (centred[1] / lengths[1])).sum())


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity (SSIM) of the magnitudes of two maps, each scaled to 0..1; 1 where both are constant."""
    scaled = []
    for values in (one, other):
        values = np.abs(np.asarray(values, np.float32))
        spread = values.max() - values.min()
        scaled.append((values - values.min()) / spread if spread > 0 else np.zeros_like(values))
    window = min(11, *scaled[0].shape)
    found = tf.image.ssim(scaled[0][..., None], scaled[1][..., None], max_val=1.0, filter_size=window)
    return float(found)


def _drawn_anew(layer: Any, variable: Any, value: np.ndarray, seed: tuple[int, int, int]) -> np.ndarray:
    """By the layer's own initialiser with another seed; where it has none by that name, the numbers in random order."""
    chance = np.random.default_rng(seed)
    names = [variable.name, variable.name.removesuffix("_kernel")]
    if variable.name == "kernel":
        names.append("depthwise")
    for name in names:
        initialiser = getattr(layer, name + "_initializer", None)
        if isinstance(initialiser, keras.initializers.Initializer):
            config = initialiser.get_config()
            if "seed" in config:
                # With its own seed it would give the numbers that training started from.
                config["seed"] = int(chance.integers(2**31))
                initialiser = type(initialiser).from_config(config)
            return np.asarray(initialiser(variable.shape, dtype=variable.dtype))
    return chance.permutation(value.ravel()).reshape(value.shape)
