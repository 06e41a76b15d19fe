"""`garden predict IMAGE… --model NAME`."""

from __future__ import annotations

import argparse
import collections
import glob
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from garden.grpc_client import PredictClient

NAME = "predict"
HELP = "ask a served model about pictures"
DESCRIPTION = """\
Ask a served model about pictures, over gRPC. Names files, folders (with everything below them) and patterns; the
answers come in the order of the pictures. A picture that cannot be answered gets its line too, and exit code 1.

example:
  garden predict cat.jpg photos/ 'more/*.png' --model pets
  garden predict photos/ --model pets --json > answers.jsonl
"""

SIGNATURES = ("serving_default", "classify", "pixels", "features")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"})
UNKNOWN_CLASS = "unknown"
# A picture that is sound is asked about so often, if the server rejects it with its neighbours.
TRIES = 4
# Enough paths to choose a column width by, without holding a whole archive's names.
PATHS_AHEAD = 1000
LONGEST_PATH_COLUMN = 60
FEATURES_SHOWN = 6

# One picture's answer, as JSON: classes and scores, or features, or an error.
Answer = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a file, a folder, or a pattern in quotes")
    parser.add_argument("--model", metavar="NAME", required=True, help="the model's name on the server")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        default="localhost:8500",
        help="the server (default: localhost:8500)",
    )
    parser.add_argument("--version", metavar="N", type=int, help="the model's version (default: its latest)")
    parser.add_argument(
        "--signature",
        choices=SIGNATURES,
        default=SIGNATURES[0],
        help="the question: best classes, the same as tf.Example, every score by label index, or features",
    )
    parser.add_argument("--top", metavar="K", type=int, help="how many classes to print (default: 1; --json: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--concurrency", metavar="N", type=int, default=8, help="questions under way at once (default: 8)"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="how long one answer may take (default: 60)",
    )
    parser.add_argument(
        "--unknown-below",
        metavar="P",
        type=float,
        help='print "unknown" as the first class where its score is below P, between 0 and 1',
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask about every picture and print the answers as they come."""
    _check(arguments)
    from garden import progress
    from garden.grpc_client import PredictClient

    paths = find_images(arguments.images)
    ahead = list(itertools.islice(paths, PATHS_AHEAD))
    everything = itertools.chain(ahead, paths)
    print_answer = _make_printer(arguments, ahead)
    count = failed = 0
    with PredictClient(arguments.address, timeout_seconds=arguments.timeout) as client:
        answers = ask_about(everything, _make_question(client, arguments), concurrency=arguments.concurrency)
        # A bar between the lines of answers would tear them apart; they are progress enough.
        if not sys.stdout.isatty():
            total = len(ahead) if len(ahead) < PATHS_AHEAD else None
            answers = progress.track(answers, "predicting", total=total)
        for path, answer in answers:
            if arguments.unknown_below is not None and answer.get("scores"):
                _mark_unknown(answer, arguments.unknown_below)
            print_answer(path, answer)
            count += 1
            failed += "error" in answer
    if count == 0:
        from garden.errors import UsageError

        raise UsageError(
            f"There is no picture in {', '.join(arguments.images)}. Name files, or folders with "
            f"{', '.join(sorted(IMAGE_SUFFIXES))} files."
        )
    if failed:
        print(
            f"garden predict: {failed} of {count} pictures got no answer; their lines say why.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _check(arguments: argparse.Namespace) -> None:
    from garden.errors import UsageError

    if arguments.concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1. Received: {arguments.concurrency}.")
    if arguments.timeout <= 0:
        raise UsageError(f"--timeout must be above 0 seconds. Received: {arguments.timeout:g}.")
    if arguments.top is not None and arguments.top < 1:
        raise UsageError(f"--top must be at least 1. Received: {arguments.top}.")
    if arguments.unknown_below is not None and not 0 <= arguments.unknown_below <= 1:
        raise UsageError(f"--unknown-below is a score between 0 and 1. Received: {arguments.unknown_below:g}.")


def find_images(arguments: Iterable[str]) -> Iterator[Path]:
    """The files that arguments name, in order; folders and patterns sorted, and read only as far as asked.

    Args:
        arguments: Files, folders and patterns. A file that does not exist is passed on: its line will say so.
    """
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            yield from _walk(path)
        elif not path.exists() and glob.has_magic(argument):
            # A pattern that finds nothing is passed on too, as a shell does.
            for match in sorted(glob.glob(argument, recursive=True)) or [argument]:
                yield from _walk(Path(match)) if Path(match).is_dir() else [Path(match)]
        else:
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    for directory, subdirectories, files in os.walk(folder):
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                yield Path(directory) / name


def ask_about(
    paths: Iterable[Path], question: Callable[[Path], Answer], *, concurrency: int
) -> Iterator[tuple[Path, Answer]]:
    """Ask about pictures, several at once, answering in their order.

    At most twice `concurrency` pictures are under way or waiting for their turn, however many there are.

    Args:
        paths: The pictures.
        question: Reads one and asks.
        concurrency: How many at once.
    """
    waiting: collections.deque[tuple[Path, futures.Future[Answer]]] = collections.deque()
    pool = futures.ThreadPoolExecutor(concurrency, thread_name_prefix="predict")
    try:
        for path in paths:
            waiting.append((path, pool.submit(question, path)))
            if len(waiting) >= 2 * concurrency:
                asked, future = waiting.popleft()
                yield asked, future.result()
        while waiting:
            asked, future = waiting.popleft()
            yield asked, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_question(client: PredictClient, arguments: argparse.Namespace) -> Callable[[Path], Answer]:
    from garden.data import decoding
    from garden.errors import ImageDecodeError
    from garden.grpc_client import DeadlineError, RejectedInputError

    ask = {
        "serving_default": _ask_best,
        "classify": _ask_classify,
        "pixels": _ask_pixels,
        "features": _ask_features,
    }[arguments.signature]

    def question(path: Path) -> Answer:
        try:
            image_bytes = path.read_bytes()
        except OSError as error:
            return {"error": f"It cannot be read: {error.strerror}."}
        tries_left = TRIES
        while True:
            tries_left -= 1
            try:
                return ask(client, image_bytes, arguments)
            except RejectedInputError as error:
                # A server that merges requests rejects a whole batch for one broken picture. Whether it was this
                # one can be seen here; if not, the next batch will do.
                problem = decoding.decode_problem(image_bytes)
                if problem is not None or tries_left == 0:
                    return {"error": problem or str(error)}
            except (ImageDecodeError, DeadlineError) as error:
                # This picture's own trouble; anything else is the server's, and ends the command.
                return {"error": str(error)}

    return question


def _ask_best(client: PredictClient, image_bytes: bytes, arguments: argparse.Namespace) -> Answer:
    outputs = client.predict(arguments.model, {"image_bytes": [image_bytes]}, version=arguments.version).outputs
    return _best(outputs, arguments)


def _ask_classify(client: PredictClient, image_bytes: bytes, arguments: argparse.Namespace) -> Answer:
    from garden.export.verification import make_example

    outputs = client.classify(arguments.model, [make_example(image_bytes)], version=arguments.version).outputs
    return _best(outputs, arguments)


def _ask_pixels(client: PredictClient, image_bytes: bytes, arguments: argparse.Namespace) -> Answer:
    import numpy as np
    import tensorflow as tf

    from garden.data import decoding
    from garden.errors import ImageDecodeError

    try:
        pixels = decoding.decode_image(tf.constant(image_bytes)).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise ImageDecodeError(decoding.decode_problem(image_bytes) or "It cannot be decoded.") from error
    inputs = {"pixels": pixels[np.newaxis]}
    outputs = client.predict(arguments.model, inputs, version=arguments.version, signature="pixels").outputs
    scores = _row(outputs, "scores", arguments)
    order = np.argsort(-scores, kind="stable")[: arguments.top]
    # The server knows names only in its other answers; here a class is its place among the labels.
    return {"classes": [str(index) for index in order], "scores": [_number(scores[index]) for index in order]}


def _ask_features(client: PredictClient, image_bytes: bytes, arguments: argparse.Namespace) -> Answer:
    inputs = {"image_bytes": [image_bytes]}
    outputs = client.predict(arguments.model, inputs, version=arguments.version, signature="features").outputs
    return {"features": [_number(feature) for feature in _row(outputs, "features", arguments)]}


def _best(outputs: dict[str, Any], arguments: argparse.Namespace) -> Answer:
    classes = [name.decode("utf-8", "replace") for name in _row(outputs, "classes", arguments)]
    scores = [_number(score) for score in _row(outputs, "scores", arguments)]
    return {"classes": classes[: arguments.top], "scores": scores[: arguments.top]}


def _row(outputs: dict[str, Any], output: str, arguments: argparse.Namespace) -> Any:
    from garden.errors import RemoteError

    if output not in outputs or len(outputs[output]) != 1:
        raise RemoteError(
            f"The model {arguments.model!r} has no answer {output!r} for one picture, as models that "
            "`garden export` wrote have. Name such a model with --model."
        )
    return outputs[output][0]


def _number(value: Any) -> float:
    # A float32's own digits: 0.1, not 0.10000000149011612.
    return float(str(value))


def _mark_unknown(answer: Answer, unknown_below: float) -> None:
    if answer["scores"][0] < unknown_below:
        answer["classes"][0] = UNKNOWN_CLASS


def _make_printer(arguments: argparse.Namespace, paths: list[Path]) -> Callable[[Path, Answer], None]:
    if arguments.json:
        return lambda path, answer: print(json.dumps({"image": str(path), **answer}, ensure_ascii=False), flush=True)
    width = min(max([5, *(len(str(path)) for path in paths)]), LONGEST_PATH_COLUMN)
    top = arguments.top or 1
    class_width = 16

    def print_line(path: Path, answer: Answer) -> None:
        nonlocal class_width
        if "error" in answer:
            cells = f"error: {answer['error']}"
        elif "features" in answer:
            shown = " ".join(f"{feature:.4g}" for feature in answer["features"][:FEATURES_SHOWN])
            cells = f"{len(answer['features'])} numbers: {shown} …"
        else:
            # Names come from the server, so the column grows when a longer one turns up.
            best = list(zip(answer["classes"], answer["scores"], strict=True))[:top]
            class_width = max([class_width, *(len(name) for name, _ in best)])
            cells = "  ".join(f"{name:<{class_width}} {score:>6.1%}" for name, score in best)
        print(f"{path!s:<{width}}  {cells}", flush=True)

    return print_line
