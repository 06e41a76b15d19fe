"""`python -m serving.replay FILE --address HOST:PORT`: sends logged requests again and compares the answers.

FILE is what request logging wrote, or a warm-up file: TFRecords of PredictionLog. A record without an answer is sent,
and only its success is looked at.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from serving import answer_comparison
from serving.answer_comparison import Tolerance
from serving.quiet_start import import_tensorflow_quietly

_EXIT_SAME = 0
_EXIT_DIFFERENT = 1
_EXIT_UNREADABLE = 2

_MOST_SHOWN = 20

_METHODS = {
    "classify_log": "Classify",
    "regress_log": "Regress",
    "multi_inference_log": "MultiInference",
    "predict_log": "Predict",
}


@dataclass
class Report:
    """What became of the requests.

    Attributes:
        codes: How often each status came.
        seconds: How long each successful call took.
        findings: One sentence for each failure and each difference.
        num_compared: Answers that had a logged one beside them.
        num_skipped: Records of a kind that no RPC answers.
    """

    codes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    num_compared: int = 0
    num_skipped: int = 0

    def lines(self) -> Iterator[str]:
        """The report as it is printed."""
        counts = ", ".join(f"{code} {count}" for code, count in self.codes.most_common())
        skipped = f"; {self.num_skipped} skipped" if self.num_skipped else ""
        yield f"requests: {sum(self.codes.values())} ({counts or 'none'}){skipped}"
        if self.seconds:
            shown = zip(("p50", "p90", "p99", "max"), np.percentile(self.seconds, [50, 90, 99, 100]), strict=True)
            yield "latency: " + ", ".join(f"{name} {seconds * 1000:.1f} ms" for name, seconds in shown)
        yield f"answers compared: {self.num_compared}"
        yield from self.findings[:_MOST_SHOWN]
        if len(self.findings) > _MOST_SHOWN:
            yield f"… and {len(self.findings) - _MOST_SHOWN} more"


def replay(
    records: Sequence[Any],
    channel: grpc.Channel,
    *,
    tolerance: Tolerance,
    concurrency: int = 1,
    timeout_seconds: float = 60.0,
    token: str = "",
) -> Report:
    """Send logged requests again.

    Args:
        records: PredictionLogs.
        channel: To the server.
        tolerance: How far numbers may be from the logged ones.
        concurrency: Calls at a time.
        timeout_seconds: How long a call may take.
        token: What the server wants to see of who asks; "": nothing.
    """
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    report = Report()
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    metadata = [("authorization", f"Bearer {token}")] if token else None

    def send(record: Any) -> tuple[str, float, Any]:
        kind = record.WhichOneof("log_type")
        if kind not in _METHODS:
            return "", 0.0, None
        call, request = getattr(stub, _METHODS[kind]), getattr(record, kind).request
        started = time.perf_counter()
        try:
            answer = call(request, timeout=timeout_seconds, metadata=metadata)
        except grpc.RpcError as error:
            return error.code().name, 0.0, error.details()
        return "OK", time.perf_counter() - started, answer

    with ThreadPoolExecutor(concurrency) as pool:
        for number, (record, (code, seconds, answer)) in enumerate(
            zip(records, pool.map(send, records), strict=True), start=1
        ):
            _report(report, f"record {number}", record, code, seconds, answer, tolerance)
    return report


def open_channel(address: str, ca_file: Path | None = None) -> grpc.Channel:
    """A channel without limits for messages.

    Args:
        address: Of the gRPC port, as "localhost:8500".
        ca_file: The authority's certificate, for a server with TLS; None: no TLS.
    """
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    if ca_file is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_file.read_bytes()), options=options)


def _report(
    report: Report, name: str, record: Any, code: str, seconds: float, answer: Any, tolerance: Tolerance
) -> None:
    if not code:
        report.num_skipped += 1
        return
    report.codes[code] += 1
    if code != "OK":
        report.findings.append(f"{name}: {code}: {answer}")
        return
    report.seconds.append(seconds)
    logged = getattr(record, record.WhichOneof("log_type")).response
    if not logged.ByteSize():
        return
    report.num_compared += 1
    difference = answer_comparison.difference(logged, answer, tolerance)
    if difference:
        report.findings.append(f"{name}: {difference}")


def read_records(path: Path) -> list[Any]:
    """The PredictionLogs of a TFRecord file.

    Raises: ValueError, if it is none.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file. Name a TFRecord file of PredictionLogs, as request logging writes it.")
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    records = []
    try:
        for data in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            records.append(prediction_log_pb2.PredictionLog.FromString(data))
    except Exception as error:
        # TensorFlow puts the operation that failed in front, in double braces.
        reason = str(error).partition("\n")[0].rpartition("}} ")[2]
        raise ValueError(
            f"{path} cannot be read after {len(records)} records: {reason}. It must be a TFRecord file of "
            "PredictionLogs, as request logging writes it."
        ) from error
    return records


def use_model(records: Sequence[Any], name: str) -> None:
    """Let the requests ask another model, for its latest version."""
    for record in records:
        kind = record.WhichOneof("log_type")
        if kind is None:
            continue
        request = getattr(record, kind).request
        for spec in [task.model_spec for task in request.tasks] if "multi" in kind else [request.model_spec]:
            spec.name = name
            for choice in ("version", "version_label"):
                spec.ClearField(choice)


def main(argv: Sequence[str] | None = None) -> int:
    """Replay files.

    Returns: 0 if all succeeded with the same answers; 1 if not; 2 if a file cannot be read.
    """
    parser = argparse.ArgumentParser(prog="python -m serving.replay", description="Send logged requests again.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="TFRecords of PredictionLog")
    parser.add_argument("--address", default="localhost:8500", help="the server's gRPC port (default: %(default)s)")
    parser.add_argument("--model", default="", help="ask the latest version of this model, not the logged one")
    parser.add_argument("--concurrency", type=int, default=1, help="calls at a time (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds for a call (default: %(default)s)")
    parser.add_argument("--relative", type=float, default=1e-4, help="tolerance of numbers (default: %(default)s)")
    parser.add_argument("--absolute", type=float, default=1e-5, help="tolerance of numbers (default: %(default)s)")
    parser.add_argument(
        "--ca-file", type=Path, help="certificate of the authority of a server with TLS (default: no TLS)"
    )
    parser.add_argument("--token-file", type=Path, help="file with the bearer token that the server asks for")
    arguments = parser.parse_args(argv)
    import_tensorflow_quietly()
    try:
        records = [record for path in arguments.files for record in read_records(path)]
        channel = open_channel(arguments.address, arguments.ca_file)
        token = arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else ""
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return _EXIT_UNREADABLE
    if arguments.model:
        use_model(records, arguments.model)
    with channel:
        report = replay(
            records,
            channel,
            tolerance=Tolerance(arguments.relative, arguments.absolute),
            concurrency=max(1, arguments.concurrency),
            timeout_seconds=arguments.timeout,
            token=token,
        )
    print("\n".join(report.lines()))
    return _EXIT_DIFFERENT if report.findings else _EXIT_SAME


if __name__ == "__main__":
    sys.exit(main())
