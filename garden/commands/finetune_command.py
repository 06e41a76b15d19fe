"""`garden finetune`: from a folder of pictures to a trained network."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from garden import progress
from garden.training import config as training_config

NAME = "finetune"
HELP = "train a network on a folder of pictures"
DESCRIPTION = """Train a network on a folder of pictures: first a new head, then the late convolutions as well, at a
low rate. What the frozen layers give is computed once per picture and kept on disk, so it takes minutes on a laptop.

example:
  garden finetune photos --architecture efficientnet_lite0 --output runs/first

photos/ holds one folder per class (photos/cat/1.jpg, photos/dog/7.png), or is a CSV with the columns path and label.
When it is stopped at any moment, even killed, the same command goes on and ends with the same weights.
Afterwards: `tensorboard --logdir RUN/tensorboard`, `garden evaluate RUN`, `garden export RUN`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options are the fields of TrainingConfig; their defaults live there."""
    default = {field.name: field.default for field in dataclasses.fields(training_config.TrainingConfig)}
    parser.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of class folders, or a CSV of path,label")
    parser.add_argument("--architecture", required=True, metavar="NAME", help="a network of `garden list`")
    parser.add_argument("--output", required=True, type=Path, metavar="RUN", help="directory of the run")

    def option(group: argparse._ArgumentGroup, flag: str, name: str, help_text: str, **options: Any) -> None:
        options.setdefault("type", type(default[name]) if default[name] is not None else float)
        options.setdefault("metavar", "X" if options["type"] is float else "N")
        shown = "" if default[name] is None else f" (default: {default[name]})"
        group.add_argument(flag, dest=name, default=default[name], help=help_text + shown, **options)

    network = parser.add_argument_group("network")
    option(
        network,
        "--weights",
        "weights",
        "imagenet, none (train everything), or a weights file",
        metavar="WEIGHTS",
    )
    option(
        network,
        "--image-size",
        "image_size",
        "side of the input in pixels (default: the network's)",
        type=int,
    )
    option(
        network,
        "--resize",
        "resize",
        "how a picture becomes square: stretch and pad show all of it, crop its centre",
        choices=training_config.RESIZES,
        metavar="HOW",
    )
    option(network, "--dropout", "dropout_rate", "dropout before the logits (default: the network's)")

    split = parser.add_argument_group("split")
    option(split, "--validation", "validation", "share held out to choose, stop and calibrate by")
    option(split, "--test", "test", "share held out for the final figures only")
    option(split, "--folds", "folds", "cross-validate with this many folds, one run each")
    option(
        split,
        "--group-by",
        "group_by",
        "stem keeps pictures of the same file name in different folders on one side",
        choices=training_config.GROUPINGS,
        metavar="WHAT",
    )

    phases = parser.add_argument_group("phases")
    option(phases, "--head-epochs", "head_epochs", "epochs in which only the head trains")
    option(phases, "--late-epochs", "late_epochs", "epochs in which the late convolutions train as well")
    option(
        phases,
        "--unfreeze",
        "unfreeze",
        "first endpoint that trains in the second phase (`garden show NAME` lists them), auto, none or all",
        metavar="ENDPOINT",
    )
    option(
        phases,
        "--head-rate",
        "head_rate",
        "peak learning rate of the head, or auto to look for one; with --weights none that of the whole network, "
        "where plain deep networks need far less than the default",
        type=_rate,
    )
    option(phases, "--late-rate", "late_rate", "peak learning rate of the second phase, or auto", type=_rate)
    option(phases, "--rate-decay", "rate_decay", "factor on the rate for each endpoint further from the head")
    option(
        phases,
        "--early-stopping",
        "early_stopping",
        "epochs without a better validation loss; 0 keeps the last weights",
    )

    regularisation = parser.add_argument_group("regularisation")
    option(
        regularisation,
        "--augmentation",
        "augmentation",
        "random versions of the training images",
        choices=training_config.AUGMENTATIONS,
        metavar="PRESET",
    )
    option(regularisation, "--views", "views", "versions of each image; each is computed once")
    option(
        regularisation,
        "--mix",
        "mix",
        "mix pairs of examples where training starts",
        choices=training_config.MIXES,
        metavar="KIND",
    )
    option(regularisation, "--mix-alpha", "mix_alpha", "Beta parameter of the mixing proportions")
    option(
        regularisation,
        "--label-smoothing",
        "label_smoothing",
        "share of the loss that asks for all classes alike",
    )
    option(
        regularisation,
        "--class-weights",
        "class_weights",
        "balanced counts every class alike",
        choices=training_config.CLASS_WEIGHTS,
        metavar="KIND",
    )
    option(regularisation, "--weight-decay", "weight_decay", "decoupled weight decay of kernels")
    option(regularisation, "--ema", "ema", "momentum of a moving average of the weights, 0 for none")

    machine = parser.add_argument_group("machine")
    option(machine, "--batch-size", "batch_size", "images in a training step")
    option(machine, "--seed", "seed", "everything left to chance follows from it")
    machine.add_argument("--deterministic", action="store_true", help="bit-identical operations, slower")
    machine.add_argument("--mixed-precision", action="store_true", help="compute in 16 bits, keep weights in 32")
    machine.add_argument("--no-cache", dest="cache", action="store_false", help="compute the frozen layers every epoch")
    machine.add_argument(
        "--no-tensorboard", dest="tensorboard", action="store_false", help="write no TensorBoard files"
    )
    machine.add_argument(
        "--watch-filters",
        action="store_true",
        help="write how filters and the patches that excite units change, to RUN/evolution and TensorBoard",
    )
    option(machine, "--checkpoint-seconds", "checkpoint_seconds", "least time between checkpoints")

    afterwards = parser.add_argument_group("afterwards")
    option(
        afterwards,
        "--unknown-precision",
        "unknown_precision",
        'precision on validation that the threshold for "unknown" must reach; none for no threshold',
        type=_number_or_none,
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, and print where everything is."""
    names = {field.name for field in dataclasses.fields(training_config.TrainingConfig)}
    chosen = {name: value for name, value in vars(arguments).items() if name in names}
    config = training_config.TrainingConfig(**chosen)
    try:
        return _train(config, arguments)
    except KeyboardInterrupt:
        progress.say(f"{arguments.output} keeps what is done: the same command goes on with it.")
        raise


def _train(config: training_config.TrainingConfig, arguments: argparse.Namespace) -> int:
    from garden.training import finetune

    extras = {"tensorboard": arguments.tensorboard, "watch_filters": arguments.watch_filters}
    if config.folds:
        figures = finetune.cross_validate(config, arguments.output, **extras)
        for fold in figures["folds"]:
            print(f"fold {fold['fold']}: accuracy {fold['accuracy']:.3f}, macro recall {fold['macro_recall']:.3f}")
        print(
            f"all {figures['images']} images, each held out once: accuracy {figures['accuracy']:.3f}, "
            f"macro recall {figures['macro_recall']:.3f}"
        )
        return 0
    trained = finetune.finetune(config, arguments.output, **extras)
    print(f"accuracy {trained.metrics['accuracy']:.3f}, macro recall {trained.metrics['macro_recall']:.3f}")
    print(f"run: {arguments.output}")
    print(f"next: garden evaluate {arguments.output}")
    if arguments.tensorboard:
        print(f"      tensorboard --logdir {arguments.output / 'tensorboard'}")
    print(f"      garden export {arguments.output} --models models --name {arguments.output.name}")
    return 0


def _rate(text: str) -> float | None:
    return None if text == "auto" else _number(text, "auto")


def _number_or_none(text: str) -> float | None:
    return None if text == "none" else _number(text, "none")


def _number(text: str, word: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither a number nor `{word}`; give one of them") from None
