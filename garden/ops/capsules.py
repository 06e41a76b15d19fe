"""Capsules: vectors whose direction says how a thing looks and whose length how sure it is there.

Source: Sabour, Frosst and Hinton, "Dynamic routing between capsules", 2017, https://arxiv.org/abs/1710.09829
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

# Added to squared lengths under a root, whose slope at 0 is infinite. Far below any length that matters.
_EPSILON = 1e-12


def squash(vectors: Any) -> Any:
    """Shorten vectors to lengths below 1: `|s|² / (1 + |s|²) · s / |s|`, equation 1 of the source.

    Args:
        vectors: Shape `(..., dimensions)`.
    Output shape: as `vectors`.
    """
    squared = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * (tf.sqrt(squared + _EPSILON) / (1.0 + squared))


def lengths(vectors: Any) -> Any:
    """Euclidean lengths.

    Args:
        vectors: Shape `(..., dimensions)`.
    Output shape: `(...)`.
    """
    return tf.sqrt(tf.reduce_sum(tf.square(vectors), axis=-1) + _EPSILON)


def route_by_agreement(votes: Any, *, iterations: int) -> Any:
    """Decide which capsule's vote counts where, by agreement: procedure 1 of the source.

    Each capsule below distributes itself over the capsules above by a softmax of routing logits, which begin as 0.
    A capsule above is the squashed sum of the votes it gets; where a vote agrees with it (their scalar product),
    the logit of that pair grows. Gradients flow through all iterations, the logits included, as in the authors'
    program (https://github.com/Sarasra/models, research/capsules): nothing is detached.

    Args:
        votes: What each capsule below says of each above, shape `(batch, capsules above, capsules below, dimensions)`.
        iterations: Number of sums; the logits change between them, so one less often.
    Output shape: `(batch, capsules above, dimensions)`.
    """
    # The first softmax is of zeros only: everybody votes for all alike.
    squashed = squash(tf.reduce_sum(votes, axis=2) / tf.cast(tf.shape(votes)[1], votes.dtype))
    logits = tf.zeros_like(votes[..., 0])
    for _ in range(iterations - 1):
        logits += tf.matmul(votes, squashed[..., None])[..., 0]
        shares = tf.nn.softmax(logits, axis=1)
        squashed = squash(tf.matmul(shares[:, :, None, :], votes)[:, :, 0, :])
    return squashed
