"""Deletion and insertion: whether the pixels that a map ranks first are those that the network needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from garden.inspection import rendering
from garden.inspection.session import InspectionSession

# Prepared pictures `(n, height, width, channels)`, float32, to probabilities of the class, `(n,)`.
Score = Callable[[np.ndarray], np.ndarray]

STEPS = 28
RANDOM_RANKINGS = 5
# What panels and grades hide is blurred, in squares, so many along the shorter side. Gray pixels, wherever they lie,
# are a pattern of their own, at which the probability falls whatever they hide: random ones are then as good as any.
SQUARES = 14


@dataclasses.dataclass(frozen=True)
class Curves:
    """What the class's probability does while pixels are hidden, and while they are shown.

    Args:
        fractions: Share of the pixels that is hidden, or shown, from 0 to 1, `(steps + 1,)`.
        deletion: Probability while the pixels ranked first are hidden first, `(steps + 1,)`.
        insertion: Probability while they are shown first on the blurred picture, `(steps + 1,)`.
        deletion_auc: Area under `deletion`; small is good. Within 0..1 for probabilities.
        insertion_auc: Area under `insertion`; large is good.
    """

    fractions: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    deletion_auc: float
    insertion_auc: float


def deletion_insertion(
    score: Score,
    image: np.ndarray,
    ranking_map: np.ndarray,
    *,
    fill: np.ndarray | float,
    blurred: np.ndarray,
    steps: int = STEPS,
    block: int = 1,
) -> Curves:
    """Hide, and show, the pixels of a picture in the order of a map, in equal shares.

    Source: Petsiuk et al., "RISE", 2018, section 4.3, https://arxiv.org/abs/1806.07421; they start insertion from a
    blurred picture too. What hides pixels is the caller's choice: `fill`.

    Args:
        score: Asked once, for all pictures of both curves.
        image: Prepared picture.
        ranking_map: The pixel with the largest number is first. Only the order matters. Equal numbers are in an order
            of chance that is always the same, so a map that says nothing is graded as a random one.
        fill: What hides a pixel: a colour `(channels,)`, a number, or a picture.
        blurred: What insertion starts from; see `blurred_picture`.
        steps: How many shares.
        block: Side in pixels of squares that are hidden as one, by the mean of the map over them.
    Input shape: `image` and `blurred` `(height, width, channels)`, `ranking_map` `(height, width)`.
    Raises: ValueError, if the map has another size, holds NaN, or a number is not positive.
    """
    masks = masks_after(ranks(image, ranking_map, block), steps)
    hidden = mixed(image, fill, masks)
    shown = mixed(blurred, image, masks)
    scores = np.asarray(score(np.concatenate([hidden, shown])), np.float64)
    fractions = masks.mean(axis=(1, 2))
    deletion, insertion = scores[: len(masks)], scores[len(masks) :]
    return Curves(fractions, deletion, insertion, area(fractions, deletion), area(fractions, insertion))


def random_deletion_insertion(
    score: Score,
    image: np.ndarray,
    *,
    fill: np.ndarray | float,
    blurred: np.ndarray,
    steps: int = STEPS,
    block: int = 1,
    seed: int = 0,
    rankings: int = RANDOM_RANKINGS,
) -> Curves:
    """What a map must beat: the mean of the curves of random rankings. Arguments as `deletion_insertion`."""
    chance = np.random.default_rng(seed)
    all_curves = [
        deletion_insertion(
            score, image, chance.random(image.shape[:2]), fill=fill, blurred=blurred, steps=steps, block=block
        )
        for _ in range(rankings)
    ]
    deletion = np.mean([curves.deletion for curves in all_curves], axis=0)
    insertion = np.mean([curves.insertion for curves in all_curves], axis=0)
    fractions = np.mean([curves.fractions for curves in all_curves], axis=0)
    return Curves(fractions, deletion, insertion, area(fractions, deletion), area(fractions, insertion))


def blurred_picture(image: np.ndarray) -> np.ndarray:
    """The picture without details: a Gaussian whose deviation is a twentieth of the shorter side.

    Input shape: `(height, width, channels)`, and so the output.
    """
    deviation = max(1.0, min(image.shape[:2]) / 20)
    return ndimage.gaussian_filter(np.asarray(image, np.float32), (deviation, deviation, 0), mode="reflect")


def square_side(image: np.ndarray) -> int:
    """The `block` of panels and grades, in pixels, for a picture `(height, width, channels)`."""
    return max(1, round(min(image.shape[:2]) / SQUARES))


def edges(image: np.ndarray) -> np.ndarray:
    """Strength of the edges (Sobel), which knows nothing of any network.

    Input shape: `(height, width, channels)`. Output shape: `(height, width)`.
    """
    luminance = np.asarray(image, np.float32).mean(axis=-1)
    return np.hypot(ndimage.sobel(luminance, axis=0), ndimage.sobel(luminance, axis=1))


def class_probability(session: InspectionSession, class_index: int) -> Score:
    """What asks for a class's probability: the session's classifier where it has one, else its network."""
    network, classifier = session.network, session.classifier

    def score(images: np.ndarray) -> np.ndarray:
        if classifier is None:
            return network.probabilities(network.logits(images))[:, class_index]
        return classifier.probabilities(rendering.picture(network.image_spec, images))[:, class_index]

    return score


def ranks(image: np.ndarray, ranking_map: np.ndarray, block: int = 1) -> np.ndarray:
    """The place of each pixel's block in the ranking, from 0, `(height, width)`."""
    if ranking_map.shape != image.shape[:2] or not np.isfinite(ranking_map).all():
        raise ValueError(
            f"`ranking_map` must be finite numbers of shape {image.shape[:2]}, one for each pixel. "
            f"Received: ranking_map of shape {ranking_map.shape}, {np.isnan(ranking_map).sum()} of them NaN."
        )
    if block < 1:
        raise ValueError(f"`block` must be a positive integer. Received: block={block!r}.")
    height, width = ranking_map.shape
    columns = -(-width // block)
    blocks = (np.arange(height)[:, None] // block) * columns + np.arange(width)[None] // block
    counts = np.bincount(blocks.ravel())
    means = np.bincount(blocks.ravel(), weights=ranking_map.ravel().astype(np.float64)) / counts
    ties = np.random.default_rng(0).permutation(len(means))
    order = np.lexsort((ties, -means))
    places = np.empty(len(means), np.int64)
    places[order] = np.arange(len(means))
    return places[blocks]


def masks_after(places: np.ndarray, steps: int) -> np.ndarray:
    """Which pixels are reached after each share, `(steps + 1, height, width)`."""
    if steps < 1:
        raise ValueError(f"`steps` must be a positive integer. Received: steps={steps!r}.")
    counts = np.round(np.linspace(0, places.max() + 1, steps + 1)).astype(np.int64)
    return places[None] < counts[:, None, None]


def mixed(below: np.ndarray, above: np.ndarray | float, masks: np.ndarray) -> np.ndarray:
    """`above` where the masks are, else `below`: `(masks, height, width, channels)`, float32."""
    return np.where(masks[..., None], np.asarray(above, np.float32), np.asarray(below, np.float32)[None])


def area(fractions: np.ndarray, curve: np.ndarray) -> float:
    """Area under a curve, by trapezoids."""
    return float((np.diff(fractions) * (curve[1:] + curve[:-1]) / 2).sum())
