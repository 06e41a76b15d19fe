"""`garden inspect NETWORK [IMAGE…]`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from garden.inspection import InspectionSession, Method
    from garden.inspection_inputs.networks import NetworkSource
    from garden.inspection_inputs.pictures import PictureGallery
    from garden.inspection_inputs.served import ServedClassifier

NAME = "inspect"
HELP = "pictures of what a network has learned, and of what it looks at"
DESCRIPTION = """\
Look inside a network: a run, an architecture with pretrained weights, or a .keras file. Writes pictures with their raw
numbers, TensorBoard summaries, and report.html, one page that needs nothing else.

Without --method, the methods that answer within a minute or so; `--method all` runs every one that applies.
`--list-methods` tells what there is.

example:
  garden inspect runs/pets cat.jpg                         what speaks for its class
  garden inspect squeezenet1_1 cat.jpg --method all
  garden inspect runs/pets cat.jpg --served localhost:8500 --model pets
"""

INPUT_RANGES = ("0..255", "0..1", "-1..1", "imagenet", "caffe")
MAXIMUM_PHOTOS = 8
PHOTOS_OF_A_RUN = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    # argparse takes what begins with "-" for an option unless it looks like a number; `--input-range -1..1` shall.
    parser._negative_number_matcher = re.compile(r"-\d+(\.\.|\.)?\d*$")
    parser.add_argument(
        "network", metavar="NETWORK", nargs="?", help="a RUN, a NAME of `garden list`, or a .keras file"
    )
    parser.add_argument(
        "images", metavar="IMAGE", nargs="*", help="pictures to explain (default, for a run: some that it held out)"
    )
    parser.add_argument(
        "--method",
        metavar="NAME[,NAME…]",
        action="append",
        help="what to do; may be repeated; a name, a group (network, attribution, synthesis, folder) or all",
    )
    parser.add_argument("--list-methods", action="store_true", help="print the methods, and end")
    parser.add_argument("--list-layers", action="store_true", help="print the network's layers, and end")
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="class to explain, or its number (default: the answer)"
    )
    parser.add_argument("--layer", metavar="PATH", help="layer to look at (default: as fits the method)")
    parser.add_argument(
        "--channels", metavar="N[,N…]", help="units to look at, of methods about layers (default: the most active)"
    )
    parser.add_argument("--steps", metavar="N", type=int, help="steps of methods that work in steps")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of all chance (default: 0)")
    parser.add_argument(
        "--gallery", metavar="FOLDER", type=Path, help="class folders to search (default, for a run: its own pictures)"
    )
    parser.add_argument(
        "--max-gallery", metavar="N", type=int, default=1000, help="pictures to search at most (default: 1000)"
    )
    parser.add_argument(
        "--max-images", metavar="N", type=int, default=MAXIMUM_PHOTOS, help="pictures to explain at most (default: 8)"
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=Path,
        help="where to write (default: RUN/inspection and RUN/tensorboard, or inspection-NAME)",
    )
    parser.add_argument("--served", metavar="HOST:PORT", help="a server that serves this network: compare, and ask it")
    parser.add_argument("--model", metavar="NAME", help="the model's name on that server")
    parser.add_argument("--weights", metavar="NAME|FILE", help="weights of an architecture; none for random ones")
    parser.add_argument(
        "--input-range", choices=INPUT_RANGES, help="pixels that a .keras file expects (default: 0..255)"
    )
    parser.add_argument("--input-size", metavar="PIXELS", type=int, help="size for a .keras file that takes any")
    parser.add_argument("--labels", metavar="FILE", type=Path, help="class names of a .keras file, one a line")
    parser.add_argument(
        "--score-output", metavar="N", type=int, default=0, help="which output of a .keras file holds the scores"
    )


def run(arguments: argparse.Namespace) -> int:
    """Open what is named, run the methods, write, print."""
    from garden.errors import UsageError

    _check(arguments)
    from garden.commands import inspection_choices, inspection_lines

    if arguments.list_methods:
        print("\n".join(inspection_lines.method_lines()))
        return 0
    if arguments.network is None:
        raise UsageError("There is no NETWORK to look into. Name a run, an architecture, or a .keras file.")
    from garden.inspection_inputs import networks

    methods, explicit = inspection_choices.chosen_methods(arguments.method)
    source = networks.open_network(
        arguments.network,
        weights=arguments.weights,
        input_range=arguments.input_range,
        input_size=None if arguments.input_size is None else (arguments.input_size,) * 2,
        labels_file=arguments.labels,
        output=arguments.score_output,
    )
    if arguments.list_layers:
        print("\n".join(inspection_lines.layer_lines(source.network)))
        return 0
    with _out_of_resources():
        if arguments.served is None:
            return _inspect(arguments, source, methods, explicit, None)
        from garden.grpc_client import PredictClient, Remedies
        from garden.inspection_inputs.served import ServedClassifier

        remedies = Remedies(
            address="--served",
            model="--model",
            slow="Try again when it has less to do.",
            full="Try again when it has less to do.",
        )
        with PredictClient(arguments.served, remedies=remedies) as client:
            classifier = ServedClassifier(
                client, arguments.model or source.title, source.network.image_spec, source.network.num_classes
            )
            return _inspect(arguments, source, methods, explicit, classifier)


@contextlib.contextmanager
def _out_of_resources() -> Iterator[None]:
    """Turn memory, disk and places that cannot be written into one sentence; nothing half written is left."""
    import tensorflow as tf

    from garden.errors import ResourceError, RunError

    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise ResourceError(
            "Memory ran out while inspecting; nothing was written. Ask for fewer methods at once with --method, or for "
            "fewer pictures."
        ) from error
    except OSError as error:
        place = error.filename or "the output"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"The disk is full while writing {place}; nothing was written. Free some space first."
            ) from error
        raise RunError(f"{place} cannot be written ({error.strerror}). Name another place with --output.") from error


def _check(arguments: argparse.Namespace) -> None:
    from garden.errors import UsageError

    for option, least in (("steps", 1), ("max_gallery", 2), ("max_images", 1), ("input_size", 1), ("seed", 0)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise UsageError(f"--{option.replace('_', '-')} must be at least {least}. Received: {value}.")
    if arguments.model is not None and arguments.served is None:
        raise UsageError("--model names a model on a server, but there is no --served HOST:PORT. Give both.")


def _inspect(
    arguments: argparse.Namespace,
    source: NetworkSource,
    methods: Sequence[Method],
    explicit: bool,
    classifier: ServedClassifier | None,
) -> int:
    from garden import progress
    from garden.commands import inspection_choices, inspection_lines
    from garden.errors import InspectionError
    from garden.inspection import METHODS
    from garden.reports import inspection_files

    session = _session(arguments, source, classifier)
    if classifier is not None:
        from garden.inspection_inputs import served_comparison

        print(served_comparison.compare(session, source, classifier))
    runnable, left_out = inspection_choices.applicable(methods, session)
    output = arguments.output or _default_output(source)
    logs = output if arguments.output or source.directory is None else source.directory / "tensorboard"
    refused: list[str] = []
    with inspection_files.InspectionWriter(
        output, title=source.title, network_facts=source.facts, log_directory=logs / "inspection", methods=METHODS
    ) as writer:
        for place, method in enumerate(runnable, start=1):
            progress.say(f"{place}/{len(runnable)} {method.title}")
            try:
                for panel in method.panels(session):
                    writer.add(panel)
            except InspectionError as error:
                refused.append(f"{method.name}: {error}")
        if source.directory is None and writer.panels_written:
            # Fine-tuning has written that of a run.
            writer.add_network(source.network.model)
        if embedding := session.cache.get("embedding"):
            writer.add_embedding(embedding)
        if not writer.panels_written:
            raise InspectionError(" ".join(refused + left_out) or "No method made a picture. Choose others.")
    for line in refused + (left_out if explicit else []):
        progress.say(line)
    print("\n".join(inspection_lines.closing_lines(writer.report_path, writer.panels_written, logs)))
    return 1 if explicit and refused else 0


def _session(
    arguments: argparse.Namespace, source: NetworkSource, classifier: ServedClassifier | None
) -> InspectionSession:
    from garden import progress
    from garden.commands import inspection_choices
    from garden.errors import UsageError
    from garden.inspection import InspectionSession
    from garden.inspection_inputs import pictures

    network, name = source.network, arguments.class_name
    paths = list(_image_paths(arguments.images))
    if arguments.images and not paths:
        raise UsageError(
            f"There is no picture in {', '.join(arguments.images)}. Name files, or folders that hold some."
        )
    if not paths and source.directory is not None:
        paths = pictures.photos_of_run(source.directory, count=PHOTOS_OF_A_RUN)
    if len(paths) > arguments.max_images:
        progress.say(
            f"The first {arguments.max_images} of {len(paths)} pictures are explained; --max-images takes more."
        )
        paths = paths[: arguments.max_images]
    return InspectionSession(
        network,
        pictures.read_photos(paths, network.image_spec),
        gallery=_gallery(arguments, source),
        class_index=None if name is None else inspection_choices.class_index(name, network),
        layer=arguments.layer,
        channels=None if arguments.channels is None else inspection_choices.channels(arguments.channels),
        steps=arguments.steps,
        seed=arguments.seed,
        classifier=classifier,
        # Below the line that names the method.
        say=lambda line: progress.say(f"    {line}"),
    )


def _image_paths(names: Sequence[str]) -> Iterable[Path]:
    from garden.commands.predict_command import find_images

    return find_images(names)


def _gallery(arguments: argparse.Namespace, source: NetworkSource) -> PictureGallery | None:
    from garden.inspection_inputs import pictures

    network = source.network
    if arguments.gallery is not None:
        return pictures.gallery_of_folder(
            arguments.gallery, network.image_spec, network.labels, maximum=arguments.max_gallery
        )
    if source.directory is not None:
        return pictures.gallery_of_run(
            source.directory, network.image_spec, network.labels or (), maximum=arguments.max_gallery
        )
    return None


def _default_output(source: NetworkSource) -> Path:
    return Path(f"inspection-{source.title}") if source.directory is None else source.directory / "inspection"
