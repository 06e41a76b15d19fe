"""`garden inspect NETWORK [IMAGE…]`."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from garden.inspection import InspectedNetwork, InspectionSession, Method
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
# What of the server's scores and the inspected network's may differ by: other hardware rounds otherwise.
SERVED_TOLERANCE = 1e-4
MAXIMUM_PHOTOS = 8
PHOTOS_OF_A_RUN = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
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
    parser.add_argument("--channels", metavar="N[,N…]", help="units of the layer to look at (default: the most active)")
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
    if arguments.list_methods:
        print("\n".join(_method_lines()))
        return 0
    if arguments.network is None:
        raise UsageError("There is no NETWORK to look into. Name a run, an architecture, or a .keras file.")
    from garden.inspection_inputs import networks

    methods, explicit = _chosen_methods(arguments.method)
    source = networks.open_network(
        arguments.network,
        weights=arguments.weights,
        input_range=arguments.input_range,
        input_size=None if arguments.input_size is None else (arguments.input_size,) * 2,
        labels_file=arguments.labels,
        output=arguments.score_output,
    )
    if arguments.list_layers:
        print("\n".join(_layer_lines(source.network)))
        return 0
    with _out_of_resources():
        if arguments.served is None:
            return _inspect(arguments, source, methods, explicit, None)
        from garden.grpc_client import PredictClient
        from garden.inspection_inputs.served import ServedClassifier

        with PredictClient(arguments.served) as client:
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
    from garden.errors import InspectionError
    from garden.inspection import METHODS
    from garden.reports import inspection_files

    session = _session(arguments, source, classifier)
    if classifier is not None:
        print(_compare(session, source, classifier))
    runnable, left_out = _applicable(methods, session)
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
    print("\n".join(_closing_lines(writer.report_path, writer.panels_written, logs)))
    return 1 if explicit and refused else 0


def _session(
    arguments: argparse.Namespace, source: NetworkSource, classifier: ServedClassifier | None
) -> InspectionSession:
    from garden import progress
    from garden.errors import UsageError
    from garden.inspection import InspectionSession
    from garden.inspection_inputs import pictures

    network = source.network
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
        class_index=None if arguments.class_name is None else _class_index(arguments.class_name, network),
        layer=arguments.layer,
        channels=None if arguments.channels is None else _channels(arguments.channels),
        steps=arguments.steps,
        seed=arguments.seed,
        classifier=classifier,
        say=progress.say,
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


def _class_index(text: str, network: InspectedNetwork) -> int:
    from garden.errors import UsageError

    labels = network.labels or ()
    if text in labels:
        return labels.index(text)
    if text.isdecimal() and int(text) < network.num_classes:
        return int(text)
    folded = [index for index, label in enumerate(labels) if label.casefold() == text.casefold()]
    if len(folded) == 1:
        return folded[0]
    close = (
        difflib.get_close_matches(text, labels, n=3, cutoff=0.5)
        or [label for label in labels if text.casefold() in label.casefold()][:3]
    )
    hint = f" Did you mean {' or '.join(repr(label) for label in close)}?" if close else ""
    raise UsageError(
        f"The network knows no class {text!r}; a class is one of its labels, or a number within "
        f"0..{network.num_classes - 1}.{hint}"
    )


def _channels(text: str) -> tuple[int, ...]:
    from garden.errors import UsageError

    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError:
        channels = (-1,)
    if min(channels) < 0:
        raise UsageError(f"--channels takes numbers from 0 on, such as --channels 3,17. Received: {text!r}.")
    return channels


def _chosen_methods(names: Sequence[str] | None) -> tuple[list[Method], bool]:
    """The methods that are named, in the catalogue's order, and whether they were named one by one."""
    from garden.errors import UsageError
    from garden.inspection import METHODS

    if not names:
        return [method for method in METHODS.values() if not method.slow], False
    wanted: set[str] = set()
    explicit = False
    groups = {method.group for method in METHODS.values()}
    for name in (part.strip() for text in names for part in text.split(",")):
        if name == "all":
            wanted |= set(METHODS)
        elif name in groups:
            wanted |= {method.name for method in METHODS.values() if method.group == name}
        elif name.replace("-", "_") in METHODS:
            wanted.add(name.replace("-", "_"))
            explicit = True
        else:
            close = difflib.get_close_matches(name.replace("-", "_"), METHODS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"There is no method {name!r}.{hint} `garden inspect --list-methods` names all.")
    return [method for method in METHODS.values() if method.name in wanted], explicit


def _applicable(methods: Sequence[Method], session: InspectionSession) -> tuple[list[Method], list[str]]:
    """Methods whose needs are met, and a line for each of the others."""
    from garden.inspection import method as needs

    runnable, left_out = [], []
    for method in methods:
        if needs.PHOTOS in method.needs and not session.photos:
            left_out.append(f"{method.name} needs pictures to explain: name some after the network.")
        elif needs.GALLERY in method.needs and session.gallery is None:
            left_out.append(f"{method.name} needs pictures to search: name a folder with --gallery FOLDER.")
        elif session.classifier is not None and not method.black_box:
            left_out.append(f"{method.name} needs the network's inside, which a server does not show.")
        else:
            runnable.append(method)
    return runnable, left_out


def _compare(session: InspectionSession, source: NetworkSource, classifier: ServedClassifier) -> str:
    """One line that the served scores are the inspected ones.

    Raises: RemoteError, if they are not; UsageError, if there is no picture to compare by.
    """
    import numpy as np

    from garden.errors import RemoteError, UsageError

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
    import numpy as np

    logits = session.network.logits(session.images)
    if source.trained is None:
        return session.network.probabilities(logits)
    return np.asarray(source.trained.scores_of_logits(logits))


def _default_output(source: NetworkSource) -> Path:
    return Path(f"inspection-{source.title}") if source.directory is None else source.directory / "inspection"


def _method_lines() -> list[str]:
    from garden.inspection import METHODS

    width = max(len(name) for name in METHODS)
    lines: list[str] = []
    for group in dict.fromkeys(method.group for method in METHODS.values()):
        lines += ["", group]
        for method in METHODS.values():
            if method.group == group:
                needs = (
                    f" (needs {', '.join(sorted(method.needs - {'classes'}))})" if method.needs - {"classes"} else ""
                )
                slow = "; slow" if method.slow else ""
                lines.append(f"  {method.name:<{width}}  {method.title}{needs}{slow}")
    return lines[1:]


def _layer_lines(network: InspectedNetwork) -> list[str]:
    rows = [
        (
            path,
            type(network.operation_of(path)).__name__,
            "×".join("?" if n is None else str(n) for n in network.shape_of(path)),
        )
        for path in network.paths
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _closing_lines(report: Path, count: int, logs: Path) -> list[str]:
    pictures = "1 picture is" if count == 1 else f"{count} pictures are"
    return [
        f"{pictures} in {report.parent}; open {report}.",
        f"In TensorBoard, tab Garden: tensorboard --logdir {logs} --samples_per_plugin=images=1000",
    ]
