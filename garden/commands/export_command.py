"""`garden export RUN --models DIR --name NAME`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garden.export import GoldenImage

NAME = "export"
HELP = "write a fine-tuned network as a SavedModel that TF Serving takes"
DESCRIPTION = """\
Write a fine-tuned network as DIR/NAME/<version>/saved_model.pb, the next version, whole or not at all. Decoding,
resizing, scaling, calibration and class names are inside; stock TF Serving and `garden serve` both take it.

Pictures of the validation split travel with the model, with the answers that they got, for `garden verify`.
Where your photos must stay with you, say --golden-images 0: then drawn pictures are recorded.

example:
  garden export runs/pets --models models --name pets
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run_directory", metavar="RUN", type=Path, help="what `garden finetune --output` wrote")
    parser.add_argument(
        "--models", metavar="DIR", type=Path, required=True, help="where served models lie; made if need be"
    )
    parser.add_argument("--name", required=True, help="the model's name, as clients write it")
    parser.add_argument(
        "--answer-unknown",
        action="store_true",
        help='answer "unknown" where the best score is below the threshold of the run',
    )
    parser.add_argument(
        "--optimize",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fold batch normalization into the convolutions and freeze the weights, which makes answers faster "
        "(default: yes, where the answers stay the same to 1e-4)",
    )
    parser.add_argument(
        "--golden-images",
        metavar="COUNT",
        type=int,
        default=4,
        help="validation pictures to record with the model (default: 4; 0: drawn ones only)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Export, and say what was written and what comes next."""
    from garden import progress
    from garden.errors import UsageError
    from garden.export import export
    from garden.export.versions import check_model_name
    from garden.trained_model import TrainedModel

    if arguments.golden_images < 0:
        raise UsageError(f"--golden-images is a number of pictures. Received: {arguments.golden_images}.")
    check_model_name(arguments.name)
    run_directory: Path = arguments.run_directory
    trained = TrainedModel.load(run_directory)
    images = _golden_images(run_directory, arguments.golden_images)
    if arguments.golden_images and not images:
        progress.say("No validation photo of the run is at hand any more; drawn pictures are recorded instead.")
    card_file = run_directory / "model_card.md"
    exported = export(
        trained,
        arguments.models,
        name=arguments.name,
        answer_unknown=arguments.answer_unknown,
        golden_images=images,
        optimize=arguments.optimize,
        model_card=card_file.read_text(encoding="utf-8") if card_file.is_file() else None,
    )
    size_bytes = sum(file.stat().st_size for file in exported.path.rglob("*") if file.is_file())
    print(f"Wrote {exported.path} ({size_bytes / 1e6:.1f} MB): {exported.name}, version {exported.version}.")
    if arguments.optimize and not exported.optimized:
        progress.say("It is not optimized: folded, the network would answer differently by more than 1e-4.")
    if exported.optimized:
        print("Optimized for answering, with the answers of the trained network (--no-optimize writes it as it is).")
    print(f"It answers about {len(trained.labels)} classes as the trained network does, in a TF Serving session.")
    print(f"Next: garden serve {arguments.models}")
    print(f"      garden predict PHOTO --model {exported.name}")
    return 0


def _golden_images(run_directory: Path, count: int) -> list[GoldenImage]:
    """Pictures of the run's validation split that are still there; [] where there is no split."""
    from garden.data import split
    from garden.errors import GardenError
    from garden.export import golden

    split_file = run_directory / "split.csv"
    if count == 0 or not split_file.is_file():
        return []
    try:
        recorded, class_names = split.read_split_csv(split_file)
    except GardenError:
        # The pictures are an extra; a split that was edited by hand must not stop an export.
        return []
    candidates = [(file.path, class_names[file.label_index], file.content_hash) for file in recorded.validation]
    return list(golden.choose_images(candidates, count=count))
