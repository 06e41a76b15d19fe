"""Adversarial examples: pictures changed so little that nobody sees it, and the network says something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from garden.errors import InspectionError
from garden.inspection import adversarial_search, input_space, objectives, rendering
from garden.inspection.inspected_network import InspectedNetwork

# How much more than the smallest change is tried where rounding to 8 bits undoes it.
_MARGINS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)


@dataclasses.dataclass(frozen=True)
class AdversarialExamples:
    """What an attack found, one of each for every picture.

    Args:
        images: Prepared pictures that the attack ends with, `(pictures, height, width, channels)`; of those without
            success, the original.
        success: Whether the network falls for `images[k]`, asked again of exactly these numbers.
        l2: Euclidean length of the change in prepared values; nan without success.
        l2_pixels: The same on the scale 0..255 of the network's own channels.
        pixels: What a PNG would hold, uint8 RGB `(pictures, height, width, 3)`: `images` rounded, the change enlarged
            or searched again where rounding alone would undo it.
        success_8bit: Whether the network falls for `pixels[k]`.
        l2_8bit: Length of the change in `pixels`, on the scale 0..255 of the network's own channels; nan without
            success.
    """

    images: np.ndarray
    success: np.ndarray
    l2: np.ndarray
    l2_pixels: np.ndarray
    pixels: np.ndarray
    success_8bit: np.ndarray
    l2_8bit: np.ndarray


def ddn(
    network: InspectedNetwork,
    images: np.ndarray,
    classes: Any,
    *,
    targeted: bool = True,
    steps: int = 100,
    radius: float = 1.0,
    gamma: float = 0.05,
    saved: bool = True,
    batch_size: int = 8,
) -> AdversarialExamples:
    """The smallest change that makes the network say another class, by decoupled direction and norm.

    Steps along the normalised gradient of the cross-entropy, on a sphere around the picture that shrinks by `gamma`
    where the network has fallen for it and grows where not. The smallest change found is kept.

    Source: Rony et al., "Decoupling direction and norm for efficient gradient-based L2 adversarial attacks", 2018,
        https://arxiv.org/abs/1811.09600

    Args:
        network: What is attacked, before its softmax.
        images: Prepared pictures.
        classes: The class to be said; with `targeted=False`, the class not to be said. One, or one for each picture.
        targeted: Whether a certain class is wanted.
        steps: Each is one pass forth and back. The sphere reaches `radius·(1 + gamma)^steps` at most.
        radius: Of the first sphere, where black to white is 1.
        gamma: Share by which the sphere shrinks and grows.
        saved: Whether `pixels` are made to fool the network where rounding would undo it, which may take as long
            again.
        batch_size: Pictures at once.
    Input shape: `(pictures, height, width, channels)`.
    Raises: InspectionError, if there is no such class; ValueError, if an option is not positive.
    """
    _positive(steps=steps, radius=radius, gamma=gamma)
    classes = _classes(network, images, classes)

    def search(x: np.ndarray, classes: np.ndarray, *, rounded: bool = False) -> np.ndarray:
        run = network.compiled(("ddn", x.shape[1:]), lambda: adversarial_search.ddn(network, x.shape[1:]))
        found = run(x, classes, targeted, steps, radius, gamma, rounded)
        return np.asarray(found)

    return _attacked(network, images, classes, targeted, search, batch_size, saved=saved, searches_rounded=True)


def box_constrained_lbfgs(
    network: InspectedNetwork,
    images: np.ndarray,
    classes: Any,
    *,
    steps: int = 40,
    bisections: int = 6,
) -> AdversarialExamples:
    """The smallest change that makes the network say a class, as it was first found.

    Minimises `‖r‖² + c·cross-entropy` within the pixels' range by L-BFGS-B, and searches along a line for the smallest
    `c` whose minimum fools the network. Slow; `ddn` finds smaller changes sooner.

    Source: Szegedy et al., "Intriguing properties of neural networks", 2013, section 4.1,
        https://arxiv.org/abs/1312.6199 (with the length squared, so that it has a gradient at 0)

    Args:
        network: What is attacked, before its softmax.
        images: Prepared pictures.
        classes: The class to be said; one, or one for each picture.
        steps: Iterations of L-BFGS for each `c`.
        bisections: How often the interval that holds the smallest `c` is halved.
    Input shape: `(pictures, height, width, channels)`.
    Raises: InspectionError, if there is no such class; ValueError, if an option is not positive.
    """
    _positive(steps=steps, bisections=bisections)
    classes = _classes(network, images, classes)

    def search(x: np.ndarray, classes: np.ndarray) -> np.ndarray:
        run = network.compiled(
            ("cross-entropy", x.shape[1:]), lambda: adversarial_search.cross_entropy(network, x.shape[1:])
        )
        return np.concatenate(
            [adversarial_search.lbfgs(run, x[k : k + 1], classes[k : k + 1], steps, bisections) for k in range(len(x))]
        )

    return _attacked(network, images, classes, True, search, len(images))


def fgsm(
    network: InspectedNetwork, images: np.ndarray, classes: Any, *, targeted: bool = False, epsilon: float = 4.0
) -> AdversarialExamples:
    """One step of `epsilon` along the sign of the gradient.

    Source: Goodfellow et al., "Explaining and harnessing adversarial examples", 2014, https://arxiv.org/abs/1412.6572

    Args:
        network: What is attacked, before its softmax.
        images: Prepared pictures.
        classes: The class not to be said; with `targeted=True`, the class to be said. One, or one for each picture.
        targeted: Whether a certain class is wanted.
        epsilon: How far every pixel moves, on the scale 0..255.
    Input shape: `(pictures, height, width, channels)`.
    Raises: InspectionError, if there is no such class; ValueError, if `epsilon` is not positive.
    """
    return pgd(
        network, images, classes, targeted=targeted, epsilon=epsilon, step_size=epsilon, steps=1, random_start=False
    )


def pgd(
    network: InspectedNetwork,
    images: np.ndarray,
    classes: Any,
    *,
    targeted: bool = False,
    epsilon: float = 4.0,
    step_size: float = 1.0,
    steps: int = 20,
    random_start: bool = True,
    seed: int = 0,
    batch_size: int = 8,
) -> AdversarialExamples:
    """Small steps along the sign of the gradient, kept within `epsilon` of every pixel.

    Source: Madry et al., "Towards deep learning models resistant to adversarial attacks", 2017,
        https://arxiv.org/abs/1706.06083

    Args:
        network: What is attacked, before its softmax.
        images: Prepared pictures.
        classes: The class not to be said; with `targeted=True`, the class to be said. One, or one for each picture.
        targeted: Whether a certain class is wanted.
        epsilon: How far a pixel may move, on the scale 0..255.
        step_size: How far it moves in a step, on the scale 0..255.
        steps: Each is one pass forth and back.
        random_start: Whether to start anywhere within `epsilon`.
        seed: Of the start; the same start for every picture.
        batch_size: Pictures at once.
    Input shape: `(pictures, height, width, channels)`.
    Raises: InspectionError, if there is no such class; ValueError, if an option is not positive.
    """
    _positive(epsilon=epsilon, step_size=step_size, steps=steps)
    classes = _classes(network, images, classes)
    shift = np.random.default_rng(seed).uniform(-epsilon, epsilon, images.shape[1:]) if random_start else 0.0

    def search(x: np.ndarray, classes: np.ndarray) -> np.ndarray:
        run = network.compiled(("sign steps", x.shape[1:]), lambda: adversarial_search.sign_steps(network, x.shape[1:]))
        start = np.clip(x + np.float32(np.asarray(shift) / 255.0), 0.0, 1.0)
        return np.asarray(run(x, start, classes, targeted, epsilon / 255.0, step_size / 255.0, steps)) - x

    return _attacked(network, images, classes, targeted, search, batch_size)


def _attacked(
    network: InspectedNetwork,
    images: np.ndarray,
    classes: np.ndarray,
    targeted: bool,
    search: Callable[..., np.ndarray],
    batch_size: int,
    *,
    saved: bool = True,
    searches_rounded: bool = False,
) -> AdversarialExamples:
    """Searches, in batches, and asks the network again of what was found, before and after rounding to 8 bits."""
    low, high = input_space.bounds(network.image_spec)
    x = ((np.asarray(images, np.float32) - low) / (high - low)).astype(np.float32)

    def falls(prepared: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return (network.logits(prepared, batch_size=batch_size).argmax(axis=-1) == classes) == targeted

    def searched(which: np.ndarray, **options: Any) -> np.ndarray:
        changes = [
            search(x[part], classes[part], **options)
            for start in range(0, len(which), batch_size)
            for part in [which[start : start + batch_size]]
        ]
        return np.concatenate(changes) if changes else x[:0]

    change = np.zeros_like(x)
    already = falls(images, classes)
    (wanted,) = np.nonzero(~already)
    change[wanted] = searched(wanted)
    attacked = np.where(already[:, None, None, None], images, low + (x + change) * (high - low)).astype(np.float32)
    success = falls(attacked, classes)
    attacked = np.where(success[:, None, None, None], attacked, images)
    change[~success] = 0.0

    pixels, success_8bit = rendering.picture(network.image_spec, attacked), np.zeros(len(x), bool)

    def settle(which: np.ndarray, changed: np.ndarray) -> None:
        """Keeps what still fools the network after rounding."""
        candidates = rendering.picture(network.image_spec, low + np.clip(changed, 0.0, 1.0) * (high - low))
        good = falls(input_space.prepare(network.image_spec, candidates), classes[which])
        pixels[which[good]], success_8bit[which[good]] = candidates[good], True

    for margin in _MARGINS if saved else _MARGINS[:1]:
        (left,) = np.nonzero(success & ~success_8bit)
        if len(left):
            settle(left, x[left] + (1.0 + margin) * change[left])
    (left,) = np.nonzero(success & ~success_8bit)
    if len(left) and saved and searches_rounded:
        settle(left, x[left] + searched(left, rounded=True))

    moved = attacked - images
    moved_8bit = input_space.prepare(network.image_spec, pixels) - images
    scale = 255.0 / (high - low)
    return AdversarialExamples(
        images=attacked,
        success=success,
        l2=np.where(success, _norms(moved), np.nan),
        l2_pixels=np.where(success, _norms(moved * scale), np.nan),
        pixels=pixels,
        success_8bit=success_8bit,
        l2_8bit=np.where(success_8bit, _norms(moved_8bit * scale), np.nan),
    )


def _norms(moved: np.ndarray) -> np.ndarray:
    return np.linalg.norm(moved.reshape(len(moved), -1), axis=1)


def _classes(network: InspectedNetwork, images: np.ndarray, classes: Any) -> np.ndarray:
    if network.num_classes < 2:
        raise InspectionError(
            f"The network '{network.model.name}' gives one score; an adversarial example is taken for another class, "
            "which needs at least two. Use a network that tells classes apart."
        )
    objectives.class_score(classes).check(network)
    return np.broadcast_to(np.asarray(classes, np.int32), (len(images),)).copy()


def _positive(**options: float) -> None:
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value!r}.")
