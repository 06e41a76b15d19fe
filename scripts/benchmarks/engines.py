#!/usr/bin/env python3
"""The OpenVINO engine beside the TensorFlow engine: the same SavedModel's `pixels`, rounds in turn.

First both engines in one process, called as the server calls them; then two servers and a client in a third process,
with the stock stubs. A round of one engine follows a round of the other, so that a change of the machine's mood meets
both. The weights are random, on which speed does not depend.

example:
  scripts/benchmarks/engines.py
  scripts/benchmarks/engines.py --architectures resnet50 --concurrency 1 --rounds 5 --seconds 5
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import server as jpeg_server
import side_by_side

SIGNATURE = "pixels"
ENGINES = ("tensorflow", "openvino")
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


def in_process(version_directory: Path, side: int) -> dict[str, Measure]:
    """Both engines in this process, with the runner of a server in front."""
    import logging

    import numpy as np

    from serving.batching import DirectRunner
    from serving.cpu_count import available_cpus
    from serving.engines import EngineOptions, make

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    pixels = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    # What comes over the wire cannot be written to.
    pixels.flags.writeable = False
    measures: dict[str, Measure] = {}
    for kind in ENGINES:
        servable = make(EngineOptions(kind=kind, num_cpus=available_cpus())).load(version_directory)
        signature = servable.signatures[SIGNATURE]
        feeds = {spec.name: pixels for spec in signature.inputs.values()}
        names = [spec.name for spec in signature.outputs.values()]
        runner = DirectRunner(max_concurrent=available_cpus())

        call = functools.partial(runner.run, servable, feeds, names, timeout_seconds=60)
        measures[kind] = functools.partial(measure, call)
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


def compare(where: str, measures: Mapping[str, Measure], arguments: argparse.Namespace) -> float:
    """Print a line for each concurrency; returns the lowest ratio."""
    lowest = float("inf")
    for concurrency in arguments.concurrency:
        for kind in ENGINES:
            # First calls build kernels and fill caches.
            measures[kind](concurrency, arguments.seconds / 2)
        rounds: dict[str, list[tuple[float, float]]] = {kind: [] for kind in ENGINES}
        for number in range(arguments.rounds):
            for kind in ENGINES if number % 2 == 0 else ENGINES[::-1]:
                rounds[kind].append(measures[kind](concurrency, arguments.seconds))
        ratios = [
            other[0] / reference[0] for reference, other in zip(rounds["tensorflow"], rounds["openvino"], strict=True)
        ]
        cells = [
            f"{statistics.median(rate for rate, _ in rounds[kind]):7.1f} | "
            f"{statistics.median(p50 for _, p50 in rounds[kind]):7.1f}"
            for kind in ENGINES
        ]
        print(
            f"{where} | {concurrency:2d} | {' | '.join(cells)} | {statistics.median(ratios):.2f} "
            f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
            flush=True,
        )
        lowest = min(lowest, statistics.median(ratios))
    return lowest


def through_servers(base_path: Path, side: int, arguments: argparse.Namespace) -> float:
    """Two servers, one client, rounds in turn."""
    with contextlib.ExitStack() as stack:
        ports = [
            stack.enter_context(
                jpeg_server.running_server(base_path, "benchmark", ["--host=127.0.0.1", f"--engine={kind}"])
            )
            for kind in ENGINES
        ]
        client = jpeg_server.Role(
            "--role=client", f"--ports={','.join(map(str, ports))}", f"--side={side}", script=__file__
        )
        stack.callback(client.end)

        def ask(number: int, threads: int, seconds: float) -> tuple[float, float]:
            rate, p50 = client.ask([number, threads, seconds])
            return rate, p50

        measures = {kind: functools.partial(ask, number) for number, kind in enumerate(ENGINES)}
        return compare("gRPC      ", measures, arguments)


def main() -> int:
    """Parse the command line and measure, or take a role."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["resnet50", "mobilenet_v2"])
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16], help="requests in flight")
    parser.add_argument("--side", type=int, default=224, help="height and width of the pixels that are sent")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--role", choices=["client"], help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "client":
        be_client([int(port) for port in arguments.ports.split(",")], arguments.side)
        return 0
    sys.path.insert(0, str(jpeg_server.PROJECT_ROOT))
    lowest = float("inf")
    print(f"# {side_by_side.machine()}; one image of {arguments.side} by {arguments.side} pixels in a request")
    for architecture in arguments.architectures:
        with tempfile.TemporaryDirectory() as temporary:
            base_path = jpeg_server.make_model(Path(temporary), architecture).absolute()
            (version_directory,) = base_path.iterdir()
            print(f"\n{architecture}")
            print(
                "where      | in flight | TensorFlow, images/s | p50, ms | OpenVINO, images/s | p50, ms | "
                "ratio, median of rounds (all)"
            )
            measures = in_process(version_directory, arguments.side)
            lowest = min(lowest, compare("in process", measures, arguments))
            del measures
            lowest = min(lowest, through_servers(base_path, arguments.side, arguments))
    print(f"\nlowest ratio: {lowest:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
