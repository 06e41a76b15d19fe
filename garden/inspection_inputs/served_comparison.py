"""Whether a server answers as the inspected network does."""

from __future__ import annotations

import numpy as np

from garden.errors import RemoteError, UsageError
from garden.inspection import InspectionSession
from garden.inspection_inputs.networks import NetworkSource
from garden.inspection_inputs.served import ServedClassifier

# What of the server's scores and the inspected network's may differ by: other hardware rounds otherwise.
SERVED_TOLERANCE = 1e-4


def compare(session: InspectionSession, source: NetworkSource, classifier: ServedClassifier) -> str:
    """One line that the served scores are the inspected ones.

    Raises: RemoteError, if they are not; UsageError, if there is no picture to compare by.
    """
    if not session.photos:
        raise UsageError("--served compares scores of pictures, but there is none. Name some after the network.")
    served = classifier.probabilities(np.stack([photo.pixels for photo in session.photos]))
    difference = np.abs(served - _local_scores(session, source)).max(axis=-1)
    worst = int(difference.argmax())
    if not difference[worst] <= SERVED_TOLERANCE:
        raise RemoteError(
            f"The served scores are not those of {source.title}: for {session.photos[worst].name} they differ by "
            f"{difference[worst]:.2g}, and {SERVED_TOLERANCE:g} is rounding. What one shows says nothing about the "
            f"other. Name the run that {classifier.name} was exported from, or export this one."
        )
    pictures = "1 picture" if len(session.photos) == 1 else f"{len(session.photos)} pictures"
    return (
        f"{classifier.name} scores {pictures} as the inspected network does "
        f"(largest difference {difference[worst]:.1g})."
    )


def _local_scores(session: InspectionSession, source: NetworkSource) -> np.ndarray:
    logits = session.network.logits(session.images)
    if source.trained is None:
        return session.network.probabilities(logits)
    return np.asarray(source.trained.scores_of_logits(logits))
