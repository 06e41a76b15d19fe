#!/usr/bin/env python3
"""Served throughput beside the same SavedModel in process: JPEG bytes, the same batch sizes, rounds in turn.

Three processes: one calls the SavedModel directly through a TensorFlow session, with as many threads as turn out
best; one is `python -m serving`; one is its client, with the stock stubs and 16 requests in flight. In-process and
served rounds alternate, so that a change of the machine's mood meets both. Needs nothing but this project.

example:
  scripts/benchmarks/server.py
  scripts/benchmarks/server.py --model-dir models/pets --images photos --seconds 10 --rounds 5
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import side_by_side

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PROJECT_ROOT = Path(__file__).resolve().parents[2]
SIGNATURE = "serving_default"
THREADS_TRIED_IN_PROCESS = (1, 2, 4, 16)


def make_model(directory: Path, architecture: str, *, optimize: bool = True) -> Path:
    """Export a network with fresh weights (speed does not depend on them); returns its base path."""
    import garden
    from garden.architectures import get
    from garden.export import export
    from garden.trained_model import TrainedModel

    entry = get(architecture)
    labels = tuple(f"class {index}" for index in range(13))
    trained = TrainedModel(
        network=garden.build(architecture, num_classes=len(labels)),
        labels=labels,
        image_spec=entry.image_spec,
        features_layer=entry.features_layer,
    )
    return export(trained, directory, name="benchmark", optimize=optimize).path.parent


def make_jpegs(count: int, height: int, width: int) -> list[bytes]:
    """Pictures with about as much detail as photos have, so that decoding costs what it costs."""
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
        picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(picture + generator.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noisy).save(stream, "JPEG", quality=90)
        pictures.append(stream.getvalue())
    return pictures


def measure(call: Callable[[int], None], *, threads: int, seconds: float) -> float:
    """Calls per second of `call(index)` from so many threads."""
    counts = [0] * threads
    started = threading.Barrier(threads + 1)
    ends_at = [0.0]

    def work(thread: int) -> None:
        started.wait()
        while time.perf_counter() < ends_at[0]:
            call(thread + counts[thread] * threads)
            counts[thread] += 1

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    begun = time.perf_counter()
    ends_at[0] = begun + seconds
    started.wait()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begun)


def batches(images: Sequence[bytes], batch_size: int) -> list[list[bytes]]:
    """As many batches as there are images, each starting at the next one."""
    return [[images[(start + row) % len(images)] for row in range(batch_size)] for start in range(len(images))]


def be_in_process(version_directory: Path, images: Sequence[bytes]) -> None:
    """The role that calls the SavedModel itself, through a session's callable."""
    import logging

    import numpy as np
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it calls compat.v1 deprecated at every use
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default():
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(version_directory))
    signature = meta_graph.signature_def[SIGNATURE]
    options = config_pb2.CallableOptions()
    options.feed.extend(info.name for info in signature.inputs.values())
    options.fetch.extend(info.name for info in signature.outputs.values())
    run = session._make_callable_from_options(options)

    def rate(batch_size: int, threads: int, seconds: float) -> float:
        inputs = [np.array(batch, object) for batch in batches(images, batch_size)]
        return measure(lambda index: run(inputs[index % len(inputs)]), threads=threads, seconds=seconds) * batch_size

    answer_orders(rate)


def be_client(port: int, model_name: str, images: Sequence[bytes]) -> None:
    """The role that asks the server, with the stock stubs."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    asked.model_spec.name = model_name
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(asked).metadata["signature_def"].Unpack(signatures)
    (input_name,) = signatures.signature_def[SIGNATURE].inputs

    def rate(batch_size: int, threads: int, seconds: float) -> float:
        requests = []
        for batch in batches(images, batch_size):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.inputs[input_name].CopyFrom(tf.make_tensor_proto(batch))
            requests.append(request)
        return (
            measure(
                lambda index: stub.Predict(requests[index % len(requests)], timeout=60),
                threads=threads,
                seconds=seconds,
            )
            * batch_size
        )

    answer_orders(rate)


def answer_orders(rate: Callable[[int, int, float], float]) -> None:
    """Answer each line `[batch_size, threads, seconds]` on stdin with images per second on stdout."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(rate(*json.loads(line))), flush=True)


class Role:
    """A process of a benchmark script that measures when told to."""

    def __init__(self, *argv: str, script: str = __file__) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def rate(self, batch_size: int, threads: int, seconds: float) -> float:
        """Images per second."""
        return float(self.ask([batch_size, threads, seconds]))

    def ask(self, order: Sequence[float]) -> Any:
        """What the process answers to an order."""
        stdin: Any = self._process.stdin
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        stdout: Any = self._process.stdout
        line = stdout.readline()
        if not line:
            raise SystemExit(f"A measuring process ended with exit code {self._process.wait()}.")
        return json.loads(line)

    def end(self) -> None:
        """Close its stdin, upon which it ends."""
        stdin: Any = self._process.stdin
        stdin.close()
        self._process.wait()


@contextlib.contextmanager
def running_server(base_path: Path, model_name: str, flags: Sequence[str]) -> Iterator[int]:
    """Our server as users start it; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", f"--model_base_path={base_path}", f"--model_name={model_name}", "--port=0",
         *flags],
        stderr=subprocess.PIPE, text=True, cwd=PROJECT_ROOT,
    )  # fmt: skip
    stderr: Any = process.stderr
    lines = []
    try:
        for line in stderr:
            lines.append(line)
            if match := re.search(r"Running gRPC ModelServer at \S+:(\d+) ", line):
                threading.Thread(target=stderr.read, daemon=True).start()
                yield int(match[1])
                return
        raise SystemExit("The server did not start:\n" + "".join(lines))
    finally:
        process.terminate()
        process.wait()


def compare(arguments: argparse.Namespace, base_path: Path, images_directory: Path) -> float:
    """Measure and print; returns the lowest of the median ratios."""
    version_directory = max(
        (path for path in base_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
    )
    in_process = Role("--role=in-process", f"--model-dir={version_directory}", f"--images={images_directory}")
    lowest = float("inf")
    with running_server(base_path, "benchmark", arguments.server_flags) as port:
        client = Role("--role=client", f"--port={port}", f"--images={images_directory}")
        print(f"# {side_by_side.machine()}; {version_directory}; {' '.join(arguments.server_flags) or 'default flags'}")
        print("batch size | in process, images/s (threads) | served, images/s | ratio, median of rounds (all)")
        for batch_size in arguments.batch_sizes:
            # First calls build kernels and fill caches; they are nobody's throughput.
            client.rate(batch_size, arguments.concurrency, arguments.seconds / 2)
            by_threads = {
                threads: in_process.rate(batch_size, threads, arguments.seconds / 2)
                for threads in THREADS_TRIED_IN_PROCESS
            }
            best_threads = max(by_threads, key=lambda threads: by_threads[threads])
            direct, served = [], []
            for _ in range(arguments.rounds):
                direct.append(in_process.rate(batch_size, best_threads, arguments.seconds))
                served.append(client.rate(batch_size, arguments.concurrency, arguments.seconds))
            ratios = [one / other for one, other in zip(served, direct, strict=True)]
            print(
                f"{batch_size:10d} | {statistics.median(direct):8.1f} ({best_threads:2d} of "
                f"{', '.join(f'{threads}: {rate:.1f}' for threads, rate in by_threads.items())}) | "
                f"{statistics.median(served):8.1f} | {statistics.median(ratios):.3f} "
                f"({', '.join(f'{ratio:.3f}' for ratio in ratios)})",
                flush=True,
            )
            lowest = min(lowest, statistics.median(ratios))
        client.end()
    in_process.end()
    return lowest


def read_images(directory: Path) -> list[bytes]:
    """The JPEG files of a directory, sorted by name."""
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        raise SystemExit(f"{directory} holds no .jpg file.")
    return [path.read_bytes() for path in paths]


def main() -> int:
    """Parse the command line and measure, or take a role."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, help="base path with numeric versions; default: one is exported")
    parser.add_argument("--architecture", default="efficientnet_lite0", help="what is exported without --model-dir")
    parser.add_argument("--images", type=Path, help="folder of JPEG files; default: 640x480 pictures are drawn")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8], help="images in a request")
    parser.add_argument("--concurrency", type=int, default=16, help="requests in flight")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server-flags", nargs="*", default=[], help="e.g. -- --server-flags=--enable_batching")
    parser.add_argument("--role", choices=["in-process", "client"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "in-process":
        be_in_process(arguments.model_dir, read_images(arguments.images))
        return 0
    if arguments.role == "client":
        be_client(arguments.port, "benchmark", read_images(arguments.images))
        return 0
    sys.path.insert(0, str(PROJECT_ROOT))
    with tempfile.TemporaryDirectory() as temporary:
        images_directory = arguments.images
        if images_directory is None:
            images_directory = Path(temporary) / "images"
            images_directory.mkdir()
            for index, picture in enumerate(make_jpegs(32, 480, 640)):
                (images_directory / f"{index:02d}.jpg").write_bytes(picture)
        base_path = arguments.model_dir or make_model(Path(temporary) / "models", arguments.architecture)
        lowest = compare(arguments, base_path.absolute(), images_directory.absolute())
    print(f"lowest ratio: {lowest:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
