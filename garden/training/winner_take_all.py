"""How a neocognitron learns: without a teacher, by strengthening the cells that win; and how it is read.

Source: Fukushima, "Neocognitron: a self-organizing neural network model for a mechanism of pattern
recognition unaffected by shift in position", 1980, section 3, https://doi.org/10.1007/BF00344251
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from garden import progress
from garden.layers import NeocognitronS

BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True)
class ModuleLearning:
    """What one layer of S-cells learnt.

    Args:
        layer: The layer's name.
        reinforcements: For each of its planes, how many times one of its cells won and was strengthened. A
            plane with 0 has learnt nothing; where most have, the layer's selectivity is too small, and where
            most pictures find no cell that answers, too large.
    """

    layer: str
    reinforcements: tuple[int, ...]


def learn_without_teacher(
    network: keras.Model,
    images: np.ndarray,
    *,
    strengths: Sequence[float] = (1.0, 16.0, 16.0),
    column_size: int = 5,
    passes: int = 1,
    seed: int = 0,
) -> tuple[ModuleLearning, ...]:
    """Let the S-cells of a neocognitron learn the features of pictures; changes its weights a and b.

    For each picture, the cell that answers most in each S-column (all planes' cells of a window of positions)
    is a candidate, and of several candidates in a plane the one that answers most represents it. It is
    strengthened by what it sees: `a += q·c·u` and `b += q·v`, for all cells of its plane, as they share
    weights. A cell that wins once is from then on beaten only by cells that fit better, and what no trained
    cell answers goes to a plane that has learnt nothing.
    The source lets all modules learn at once. Here one learns after the other, so that each sees the final
    answers of those before it, and pictures need to be shown once only.

    Args:
        network: With layers NeocognitronS, whose weights are those of `garden.build`.
        images: Prepared pixels, `(pictures, height, width, channels)`.
        strengths: q of each layer of S-cells. (The source's, with b counted as in NeocognitronS.)
        column_size: Height and width of an S-column, in cells; the whole map where the map is smaller.
        passes: How often all pictures are shown.
        seed: Of the order of the pictures.
    Returns: what each layer learnt, from the input to the output.
    Raises: ValueError, if an argument is not of the kind described.
    """
    cells = [layer for layer in network.layers if isinstance(layer, NeocognitronS)]
    if not cells or len(strengths) != len(cells):
        raise ValueError(
            f"`strengths` must hold one number for each of the network's {len(cells)} layers of S-cells, at least one. "
            f"Received: strengths={tuple(strengths)!r}."
        )
    if len(images) == 0 or passes < 1 or column_size < 1:
        raise ValueError(
            "`images` must hold a picture, and `passes` and `column_size` must be at least 1. "
            f"Received: {len(images)} images, passes={passes!r}, column_size={column_size!r}."
        )
    chance = np.random.default_rng(seed)
    learnt = []
    for layer, strength in zip(cells, strengths, strict=True):
        seen = keras.Model(network.input, layer.input)
        maps = _in_batches(seen, images)
        learnt.append(_learn(layer, maps, strength=strength, column_size=column_size, passes=passes, chance=chance))
    return tuple(learnt)


def read_out(network: keras.Model, images: np.ndarray, labels: np.ndarray, *, ridge: float = 1.0) -> None:
    """Give names to what the last cells answer: changes the weights of the layer "logits".

    Least squares from the features to 1 for the label and -1 for the other classes, with `ridge` times the
    squared weights: nothing else of the network sees a label.

    Args:
        network: A network whose last layer is a dense one named "logits".
        images: Prepared pixels, `(pictures, height, width, channels)`.
        labels: Class indices, `(pictures,)`.
        ridge: Price of large weights, above 0.
    Raises: ValueError, if an argument is not of the kind described.
    """
    logits = network.get_layer("logits")
    classes = logits.units
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or not np.isin(labels, np.arange(classes)).all():
        raise ValueError(
            f"`labels` must hold a class index from 0 to {classes - 1} for each of the {len(images)} images. "
            f"Received: labels of shape {labels.shape} from {labels.min(initial=0)} to {labels.max(initial=0)}."
        )
    if not ridge > 0:
        raise ValueError(f"`ridge` must be above 0. Received: ridge={ridge!r}.")
    features = _features(network, images).astype(np.float64)
    targets = 2.0 * np.eye(classes)[labels] - 1
    mean, mean_target = features.mean(axis=0), targets.mean(axis=0)
    centred = features - mean
    kernel = np.linalg.solve(
        centred.T @ centred + ridge * np.eye(features.shape[1]), centred.T @ (targets - mean_target)
    )
    logits.set_weights([kernel, mean_target - mean @ kernel])


def strongest_cells(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """For each picture, which of the features before "logits" is largest: the last C-cell that answers most.

    Args:
        network: A network whose last layer is named "logits".
        images: Prepared pixels, `(pictures, height, width, channels)`.
    """
    return _features(network, images).argmax(axis=1)


def name_cells(network: keras.Model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each of the last C-cells, the commonest label of the pictures that it answers most; -1 if there is none.

    `name_cells(…)[strongest_cells(network, others)]` are then the source's answers for other pictures: there a
    pattern is known by the one cell that answers it.

    Args:
        network: A network whose last layer is named "logits".
        images: Prepared pixels, `(pictures, height, width, channels)`.
        labels: Class indices, `(pictures,)`.
    """
    strongest, labels = strongest_cells(network, images), np.asarray(labels)
    cells = range(network.get_layer("logits").input.shape[-1])
    return np.array(
        [np.bincount(labels[strongest == cell], minlength=1).argmax() if cell in strongest else -1 for cell in cells]
    )


def representatives(answers: np.ndarray, column_size: int) -> list[tuple[int, int, int]]:
    """The cells that win: for each plane at most one, as (row, column, plane), in the order of the planes.

    Args:
        answers: Of a layer of S-cells to one picture, `(rows, columns, planes)`.
        column_size: Height and width of an S-column; the columns begin at every position and overlap.
    """
    best = answers.max(axis=-1)
    window = tuple(min(column_size, side) for side in best.shape)
    # In each column, the place of its largest answer; the first of equal ones.
    columns = sliding_window_view(best, window)
    places = columns.reshape(*columns.shape[:2], -1).argmax(axis=-1)
    rows = np.arange(columns.shape[0])[:, None] + places // window[1]
    across = np.arange(columns.shape[1])[None, :] + places % window[1]
    winners: dict[int, tuple[int, int]] = {}
    for row, column in sorted(set(zip(rows.ravel().tolist(), across.ravel().tolist(), strict=True))):
        if best[row, column] > 0:
            plane = int(answers[row, column].argmax())
            if plane not in winners or best[row, column] > best[winners[plane]]:
                winners[plane] = (row, column)
    return [(*winners[plane], plane) for plane in sorted(winners)]


def _learn(
    layer: NeocognitronS, maps: np.ndarray, *, strength: float, column_size: int, passes: int, chance: Any
) -> ModuleLearning:
    """Present every map to one layer, one after the other."""
    rows, columns, channels, planes = layer.excitation.shape
    a = layer.excitation.numpy().reshape(-1, planes)
    b = layer.inhibition.numpy()
    c = np.repeat(layer.v_weights.reshape(-1, 1), channels, axis=1).ravel()
    r = layer.selectivity
    if layer.padding == "same":
        sides = [((side - 1) // 2, side // 2) for side in (rows, columns)]
        maps = np.pad(maps, ((0, 0), *sides, (0, 0)))
    counts = np.zeros(planes, int)
    order = np.concatenate([chance.permutation(len(maps)) for _ in range(passes)])
    for place in progress.track(order, f"learning {layer.name}", unit="pictures"):
        windows = sliding_window_view(maps[place], (rows, columns), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
        seen = windows.reshape(*windows.shape[:2], -1)
        v = np.sqrt(np.square(seen) @ c)
        answers = r * np.maximum((1 + seen @ a) / (1 + r / (1 + r) * b * v[..., None]) - 1, 0)
        for row, column, plane in representatives(answers, column_size):
            a[:, plane] += strength * c * seen[row, column]
            b[plane] += strength * v[row, column]
            counts[plane] += 1
    layer.set_weights([a.reshape(rows, columns, channels, planes), b])
    return ModuleLearning(layer.name, tuple(counts.tolist()))


def _features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return _in_batches(keras.Model(network.input, network.get_layer("logits").input), images)


def _in_batches(model: keras.Model, images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), BATCH_SIZE)
    return np.concatenate([np.asarray(model(images[start : start + BATCH_SIZE])) for start in starts])
