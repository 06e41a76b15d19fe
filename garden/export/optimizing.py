"""Whether a network may be exported in a faster form: only where its answers stay what they are."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from garden.export import golden
from garden.export.folding import fold_batch_normalization
from garden.trained_model import TrainedModel

# Largest difference of an optimized network: of its logits, relative to the largest one; of its scores.
TOLERANCE = 1e-4
# Each signature that is asked holds its own copies of constants, but variables are held once: docs/decisions/0006.
MAXIMUM_FROZEN_BYTES = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Optimized:
    """A network in its faster form.

    Args:
        trained: The run with the folded network.
        tolerance: Largest difference of scores that it promises.
    """

    trained: TrainedModel
    tolerance: float


def optimized(trained: TrainedModel, recorded: golden.GoldenRecord) -> Optimized | None:
    """`trained` with its batch normalization folded; None where it would answer differently.

    Args:
        trained: It is not changed.
        recorded: Its answers to a few pictures, which the folded network has to give as well.
    """
    faster = dataclasses.replace(trained, network=fold_batch_normalization(trained.network))
    again = golden.record(faster, [example.image for example in recorded.examples], answer_unknown=False)
    pairs = list(zip(recorded.examples, again.examples, strict=True))
    logits = max(_relative_difference(one.logits, other.logits) for one, other in pairs)
    features = max(_relative_difference(one.features, other.features) for one, other in pairs)
    scores = max(float(np.abs(one.scores - other.scores).max()) for one, other in pairs)
    if not logits <= TOLERANCE:
        return None
    # Half of what a replay allows: another machine rounds a little differently too. A replay allows logits and
    # features ten times what it allows scores.
    worst = max(scores, logits / 10, features / 10)
    for tolerance in (recorded.tolerance, max(TOLERANCE, recorded.tolerance)):
        if worst <= tolerance / 2:
            return Optimized(faster, tolerance)
    return None


def _relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).max() / max(1.0, np.abs(one).max()))


def can_be_frozen(network: keras.Model) -> bool:
    """Whether the weights are small enough to be held by each signature."""
    return sum(weight.value.numpy().nbytes for weight in network.weights) <= MAXIMUM_FROZEN_BYTES
