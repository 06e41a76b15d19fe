#!/usr/bin/env python3
"""Looking inside beside the libraries that people use for it, in turn, in one process, on one network at 224 pixels.

  occlusion                625 positions (a window of 9 pixels every 9); beside tf-explain. Ours also gives the most
                           probable class and the sums of the last maps, which tf-explain does not.
  smooth_grad              50 samples; beside tf-keras-vis.
  activation_maximization  One class, as many steps, pixels jittered, scaled and turned; beside tf-keras-vis.
  ddn                      100 steps towards another class, for several photos as one batch; beside Foolbox.

Each line gives the median seconds of both and how many times less ours takes; the line below it shows that the work is
the same. Traces and first calls are not counted on either side. Exit code 1 if a goal is missed. `pip install .[peers]`
brings the libraries.

example:
  scripts/benchmarks/inspection.py
  scripts/benchmarks/inspection.py --only occlusion --architecture efficientnet_lite0 --rounds 3
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import side_by_side

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# How many times less ours must take.
GOALS = {"occlusion": 3.0, "smooth_grad": 2.0, "activation_maximization": 2.0, "ddn": 3.0}
SIZE = 224
WINDOW = 9
SAMPLES, NOISE = 50, 0.2
DDN_STEPS = 100
PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")


@dataclasses.dataclass(frozen=True)
class Subject:
    """The network and the photos that all are asked about.

    Args:
        model: A flat Keras model, which the other libraries can take.
        network: The same for ours.
        images: Prepared photos.
        classes: The most probable class of each.
    """

    model: Any
    network: Any
    images: np.ndarray
    classes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two ways to do the same.

    Args:
        ours: Does it.
        theirs: Does it.
        agreement: Of both results: a line that shows how equal they are.
    """

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    agreement: Callable[[Any, Any], str]


def occlusion(subject: Subject, arguments: argparse.Namespace) -> Comparison:
    """Beside `tf_explain.core.occlusion_sensitivity`."""
    peer = _peer("tf_explain.core.occlusion_sensitivity", "tf-explain").OcclusionSensitivity()
    cv2 = _peer("cv2", "opencv-python-headless")
    from garden.inspection.occlusion import occlude

    image, class_index = subject.images[0], int(subject.classes[0])
    gray = np.full(image.shape[-1], 127.5, np.float32)  # Theirs, whatever the network's input is.

    def agreement(ours: Any, theirs: np.ndarray) -> str:
        enlarged = cv2.resize(1 - ours.scores.astype(np.float64), (SIZE, SIZE))
        return (
            f"{ours.scores.size} positions; the maps correlate by {_correlation(enlarged, theirs):.6f}, and differ by "
            f"at most {np.abs(enlarged - theirs).max():.1e}; the picture's score is {ours.whole_score:.2f}"
        )

    return Comparison(
        lambda: occlude(subject.network, image, class_index, window=WINDOW, stride=WINDOW, fill=gray),
        lambda: peer.get_sensitivity_map(subject.model, image, class_index, WINDOW),
        agreement,
    )


def smooth_grad(subject: Subject, arguments: argparse.Namespace) -> Comparison:
    """Beside `tf_keras_vis.saliency`."""
    peer = _peer("tf_keras_vis.saliency", "tf-keras-vis").Saliency(subject.model, clone=False)
    scores = _peer("tf_keras_vis.utils.scores", "tf-keras-vis")
    from garden.inspection.objectives import class_score
    from garden.inspection.smooth_grad import smooth_grad as ours

    class_index = int(subject.classes[0])
    image = subject.images[:1]
    # Theirs is a share of the range of the picture's values, ours of those that are possible.
    low, high = _bounds(subject)
    noise = NOISE * (image.max() - image.min()) / float((high - low).mean())
    options = {"samples": SAMPLES, "noise": noise, "average": "magnitudes"}
    return Comparison(
        lambda: ours(subject.network, image, class_score(class_index), **options)[0],
        lambda: peer(
            scores.CategoricalScore([class_index]),
            image,
            smooth_samples=SAMPLES,
            smooth_noise=NOISE,
            normalize_map=False,
        )[0],
        lambda ours, theirs: (
            f"{SAMPLES} samples each, of other noise; the maps correlate by {_correlation(ours, theirs):.3f}"
        ),
    )


def activation_maximization(subject: Subject, arguments: argparse.Namespace) -> Comparison:
    """Beside `tf_keras_vis.activation_maximization`."""
    module = "tf_keras_vis.activation_maximization"
    peer = _peer(module, "tf-keras-vis").ActivationMaximization(subject.model, clone=False)
    modifiers = _peer(f"{module}.input_modifiers", "tf-keras-vis")
    scores = _peer("tf_keras_vis.utils.scores", "tf-keras-vis")
    import tensorflow as tf

    from garden.inspection.activation_maximization import activation_maximization as ours
    from garden.inspection.objectives import class_score

    class_index = int(subject.classes[0])
    low, high = (float(end.mean()) for end in _bounds(subject))
    middle = (low + high) / 2
    # As strong as ours: 10 degrees, a tenth of scale, 12 of 152 pixels.
    transforms = [
        modifiers.Jitter(round(SIZE * 12 / 152)),
        modifiers.Scale(low=0.9, high=1.1),
        modifiers.Rotate2D(degree=10),
    ]

    def theirs() -> np.ndarray:
        start = np.random.default_rng(0).normal(middle, (high - low) / 100, subject.images[:1].shape)
        found: np.ndarray = peer(
            scores.CategoricalScore([class_index]),
            seed_input=tf.constant(start, tf.float32),
            input_range=(low, high),
            input_modifiers=transforms,
            regularizers=[],
            steps=arguments.steps,
        )
        return np.asarray(found)

    def agreement(ours: Any, theirs: np.ndarray) -> str:
        reached = [subject.network.logits(np.asarray(images))[0, class_index] for images in (ours.images, theirs)]
        photo = subject.network.logits(subject.images[:1])[0, class_index]
        return (
            f"{arguments.steps} steps each, with optimisers of their own; the score becomes {reached[0]:.0f} beside "
            f"{reached[1]:.0f} (a photo's is {photo:.0f})"
        )

    return Comparison(
        lambda: ours(subject.network, class_score(class_index), steps=arguments.steps, kind="pixels"),
        theirs,
        agreement,
    )


def ddn(subject: Subject, arguments: argparse.Namespace) -> Comparison:
    """Beside `foolbox.attacks.DDNAttack`."""
    foolbox = _peer("foolbox", "foolbox")
    import tensorflow as tf

    from garden.inspection.adversarial import ddn as ours

    spec, count = subject.network.image_spec, len(subject.images)
    if spec.invert or spec.channels != 3:
        sys.exit("The comparison with Foolbox knows photos only; choose another --architecture.")
    mean, std = (np.array(values, np.float32) for values in (spec.mean, spec.std))
    targets = (subject.classes + 100) % subject.network.num_classes
    fooled = foolbox.TensorFlowModel(
        subject.model, bounds=(0, 1), preprocessing={"mean": mean / 255, "std": std / 255, "axis": -1}
    )
    photos = tf.constant(np.clip((subject.images * std + mean) / 255, 0, 1))
    attack = foolbox.attacks.DDNAttack(steps=DDN_STEPS)
    criterion = foolbox.criteria.TargetedMisclassification(tf.constant(targets))

    def theirs() -> tuple[np.ndarray, np.ndarray]:
        found, _, success = attack(fooled, photos, criterion, epsilons=None)
        return np.linalg.norm((found - photos).numpy().reshape(count, -1), axis=1), success.numpy()

    def agreement(ours: Any, theirs: tuple[np.ndarray, np.ndarray]) -> str:
        lengths, success = theirs
        return (
            f"{count} photos, {DDN_STEPS} steps; median L2 (black to white is 1) "
            f"{np.median(ours.l2_pixels[ours.success] / 255):.4f} beside {np.median(lengths[success]):.4f}, success "
            f"{ours.success.sum()} beside {success.sum()} of {count}. Ours also makes 8-bit pictures and asks again: "
            f"{ours.success_8bit.sum()} of {count}"
        )

    return Comparison(
        lambda: ours(subject.network, subject.images, targets, steps=DDN_STEPS, batch_size=count), theirs, agreement
    )


COMPARISONS: dict[str, Callable[[Subject, argparse.Namespace], Comparison]] = {
    "occlusion": occlusion,
    "smooth_grad": smooth_grad,
    "activation_maximization": activation_maximization,
    "ddn": ddn,
}


def main() -> int:
    """Time what is asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(COMPARISONS), nargs="+", help="some of them")
    parser.add_argument("--architecture", default="squeezenet1_1", help="with its ImageNet weights")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn (default: 5)")
    parser.add_argument("--steps", type=int, default=64, help="of activation maximisation (default: 64)")
    arguments = parser.parse_args()
    import keras

    keras.utils.disable_interactive_logging()  # tf-explain's predictions would draw progress bars, which takes time.
    warnings.filterwarnings("ignore", message="The structure of `inputs` doesn't match")
    subject = subject_of(arguments.architecture)
    print(f"{side_by_side.machine()}; {arguments.architecture}, {SIZE} pixels; median of {arguments.rounds} rounds")
    print(f"{'':26}{'theirs':>10}{'ours':>10}{'ratio':>8}{'goal':>7}")
    missed = False
    for name in arguments.only or COMPARISONS:
        comparison = COMPARISONS[name](subject, arguments)
        agreement = comparison.agreement(comparison.ours(), comparison.theirs())
        seconds = side_by_side.medians(
            {"ours": comparison.ours, "theirs": comparison.theirs}, rounds=arguments.rounds, warm_up=0
        )
        ratio = seconds["theirs"] / seconds["ours"]
        missed |= ratio < GOALS[name]
        print(f"{name:26}{seconds['theirs']:>8.2f} s{seconds['ours']:>8.2f} s{ratio:>8.2f}{GOALS[name]:>7.1f}")
        print(f"  {agreement}", flush=True)
    return int(missed)


def subject_of(architecture: str) -> Subject:
    """The network, with its ImageNet weights, and sample photos."""
    import garden
    from garden import architectures
    from garden.inspection import InspectedNetwork

    data = _peer("skimage.data", "scikit-image")
    spec = architectures.get(architecture).image_spec.with_size(SIZE, SIZE)
    model = garden.build(architecture, weights="imagenet", input_shape=spec.input_shape)
    network = InspectedNetwork(model, spec)
    images = np.stack([np.asarray(spec.prepare(getattr(data, name)()[..., :3])) for name in PHOTOS])
    return Subject(model, network, images, network.logits(images).argmax(axis=-1))


def _bounds(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    from garden.inspection import input_space

    return input_space.bounds(subject.network.image_spec)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


def _peer(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        sys.exit(f"{package} cannot be imported ({error}); `pip install .[peers]` brings what this compares with.")


if __name__ == "__main__":
    sys.exit(main())
