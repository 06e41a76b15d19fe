#!/usr/bin/env python3
"""The OpenVINO engine beside the TensorFlow engine: the same SavedModel's `pixels`, rounds in turn.

First the engines in one process, called as the server calls them; then a server for each and a client in another
process, with the stock stubs. A round of one engine follows a round of the other, so that a change of the machine's
mood meets all. The weights are random, on which speed does not depend.

Two exports of each network: as `garden export` writes it, batch normalization folded into the convolutions, and with
`--no-optimize`, as Keras itself would. OpenVINO folds both; TensorFlow computes what it is given. And OpenVINO twice:
in 32-bit floats, and in 16-bit ones (`--mixed_precision=bfloat16`) where the processor has them.

example:
  scripts/benchmarks/engines.py
  scripts/benchmarks/engines.py --architectures resnet50 --concurrency 1 --rounds 5 --seconds 5 --exports optimized
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import server as jpeg_server
import side_by_side

SIGNATURE = "pixels"
REFERENCE = "TensorFlow"
# The flags of each engine; what bfloat16 may differ by is told, or the load is refused.
ENGINES: dict[str, dict[str, Any]] = {
    REFERENCE: {"engine": "tensorflow"},
    "OpenVINO": {"engine": "openvino"},
    "OpenVINO bfloat16": {"engine": "openvino", "mixed_precision": "bfloat16", "engine_tolerance": 0.1},
}
EXPORTS = {"optimized": True, "plain": False}
GOAL = 1.8
Measure = Callable[[int, float], tuple[float, float]]


def measure(call: Callable[[], Any], threads: int, seconds: float) -> tuple[float, float]:
    """Calls per second and the median of their milliseconds, from so many threads."""
    times: list[list[float]] = [[] for _ in range(threads)]
    started = threading.Barrier(threads + 1)
    ends_at = [0.0]

    def work(mine: list[float]) -> None:
        started.wait()
        while (begun := time.perf_counter()) < ends_at[0]:
            call()
            mine.append(time.perf_counter() - begun)

    workers = [threading.Thread(target=work, args=(mine,)) for mine in times]
    for worker in workers:
        worker.start()
    begun = time.perf_counter()
    ends_at[0] = begun + seconds
    started.wait()
    for worker in workers:
        worker.join()
    wall = time.perf_counter() - begun
    every = [one for mine in times for one in mine]
    return len(every) / wall, 1000 * statistics.median(every)


def in_process(version_directory: Path, side: int, engines: Sequence[str]) -> dict[str, Measure]:
    """The engines in this process, with the runner of a server in front."""
    import logging

    import numpy as np

    from serving.cpu_count import available_cpus
    from serving.engines import EngineOptions, make
    from serving.runners import DirectRunner, concurrent_runs

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    # What comes over the wire cannot be written to.
    pixels.flags.writeable = False
    measures: dict[str, Measure] = {}
    for name in engines:
        options = dict(ENGINES[name])
        kind = options.pop("engine")
        servable = make(EngineOptions(kind=kind, num_cpus=available_cpus(), **options)).load(version_directory)
        signature = servable.signatures[SIGNATURE]
        feeds = {spec.name: pixels for spec in signature.inputs.values()}
        names = [spec.name for spec in signature.outputs.values()]
        runner = DirectRunner(concurrent_runs(available_cpus()))

        call = functools.partial(runner.run, servable, feeds, names, timeout_seconds=60)
        measures[name] = functools.partial(measure, call)
    return measures


def be_client(ports: list[int], side: int) -> None:
    """The role that asks the servers: a line `[server, threads, seconds]` on stdin, its figures on stdout."""
    import grpc
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "benchmark"
    request.model_spec.signature_name = SIGNATURE
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    request.inputs["pixels"].CopyFrom(tf.make_tensor_proto(pixels))
    stubs = [
        prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}")) for port in ports
    ]
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        number, threads, seconds = json.loads(line)
        figures = measure(functools.partial(stubs[number].Predict, request, timeout=60), threads, seconds)
        print(json.dumps(figures), flush=True)


def compare(where: str, measures: Mapping[str, Measure], arguments: argparse.Namespace) -> None:
    """Print a line for each concurrency and engine."""
    for concurrency in arguments.concurrency:
        for measured in measures.values():
            # First calls build kernels and fill caches.
            measured(concurrency, arguments.seconds / 2)
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in measures}
        for number in range(arguments.rounds):
            for name in list(measures)[:: 1 if number % 2 == 0 else -1]:
                rounds[name].append(measures[name](concurrency, arguments.seconds))
        for name, figures in rounds.items():
            rate, p50 = (statistics.median(column) for column in zip(*figures, strict=True))
            print(f"| {where} | {concurrency} | {name} | {rate:.1f} | {p50:.1f} | ", end="")
            if name == REFERENCE:
                print("| |", flush=True)
                continue
            ratios = [one[0] / other[0] for one, other in zip(figures, rounds[REFERENCE], strict=True)]
            ratio = statistics.median(ratios)
            every = ", ".join(f"{each:.2f}" for each in ratios)
            print(f"{ratio:.2f} ({every}) | {'met' if ratio >= GOAL else 'MISSED'} |", flush=True)


def through_servers(base_path: Path, side: int, engines: Sequence[str], arguments: argparse.Namespace) -> None:
    """A server for each engine, one client, rounds in turn."""
    with contextlib.ExitStack() as stack:
        ports = [
            stack.enter_context(
                jpeg_server.running_server(
                    base_path,
                    "benchmark",
                    ["--host=127.0.0.1", *(f"--{flag}={value}" for flag, value in ENGINES[name].items())],
                )
            )
            for name in engines
        ]
        client = jpeg_server.Role(
            "--role=client", f"--ports={','.join(map(str, ports))}", f"--side={side}", script=__file__
        )
        stack.callback(client.end)

        def ask(number: int, threads: int, seconds: float) -> tuple[float, float]:
            rate, p50 = client.ask([number, threads, seconds])
            return rate, p50

        compare("gRPC", {name: functools.partial(ask, number) for number, name in enumerate(engines)}, arguments)


def has_bfloat16() -> bool:
    """Whether this processor computes with 16-bit floats; without that they are slower than 32-bit ones."""
    with contextlib.suppress(OSError):
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    return False


def main() -> int:
    """Parse the command line and measure, or take a role."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--exports", nargs="+", choices=list(EXPORTS), default=list(EXPORTS))
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16], help="requests in flight")
    parser.add_argument("--side", type=int, default=224, help="height and width of the pixels that are sent")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--role", choices=["client"], help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "client":
        be_client([int(port) for port in arguments.ports.split(",")], arguments.side)
        return 0
    sys.path.insert(0, str(jpeg_server.PROJECT_ROOT))
    from garden.architectures import get
    from garden.errors import ArchitectureError

    for architecture in arguments.architectures:
        try:
            get(architecture)
        except ArchitectureError as error:
            raise SystemExit(str(error)) from None
    engines = [name for name in ENGINES if "bfloat16" not in name or has_bfloat16()]
    print(f"# {side_by_side.machine()}; one image of {arguments.side} by {arguments.side} pixels in a request")
    for architecture in arguments.architectures:
        for export in arguments.exports:
            with tempfile.TemporaryDirectory() as temporary:
                base_path = jpeg_server.make_model(Path(temporary), architecture, optimize=EXPORTS[export]).absolute()
                (version_directory,) = base_path.iterdir()
                print(f"\n## {architecture}, {export} export\n")
                print(
                    "| where | in flight | engine | images/s | p50, ms | ratio, median of rounds (all) | "
                    f"goal: {GOAL} |\n|---|---:|---|---:|---:|---|---|"
                )
                measures = in_process(version_directory, arguments.side, engines)
                compare("in process", measures, arguments)
                del measures
                through_servers(base_path, arguments.side, engines, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
