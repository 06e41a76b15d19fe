"""Counters and histograms in Prometheus' text form, named as TF Serving names them.

Written by hand: TF Serving's names begin with a colon and its counters do not end in `_total`, which
client libraries insist on. One object a server, so that two servers in a process do not share counts.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Sequence

from serving.status import Code

# TF Serving's limits for latencies in microseconds: 10, 18, 32.4, … (33 of them), and the rest.
LATENCY_LIMITS_MICROSECONDS = tuple(10 * 1.8**power for power in range(33))

_PREFIX = ":tensorflow:serving:"

Labels = tuple[tuple[str, str], ...]


class _Histogram:
    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_LIMITS_MICROSECONDS) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect.bisect_right(LATENCY_LIMITS_MICROSECONDS, value)] += 1
        self.sum += value


class Metrics:
    """What a server has done so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._request_count: dict[Labels, int] = {}
        self._request_latency: dict[Labels, _Histogram] = {}
        self._runtime_latency: dict[Labels, _Histogram] = {}

    def record_request(self, model_name: str, code: Code, api: str, entrypoint: str, seconds: float) -> None:
        """Count one request; its latency only if it succeeded, as upstream does.

        Args:
            model_name: The model asked for; may be "".
            code: How it ended.
            api: "Predict", "Classify", … over gRPC, "predict", … over REST, "" for other REST requests.
            entrypoint: "GRPC" or "REST".
            seconds: From the first byte read to the answer made.
        """
        with self._lock:
            counted = (("model_name", model_name), ("status", code.name))
            self._request_count[counted] = self._request_count.get(counted, 0) + 1
            if code is Code.OK:
                timed = (("model_name", model_name), ("API", api), ("entrypoint", entrypoint))
                self._request_latency.setdefault(timed, _Histogram()).add(seconds * 1e6)

    def record_runtime(self, model_name: str, api: str, seconds: float) -> None:
        """Count one execution of a model.

        Args:
            model_name: The model.
            api: "Predict" or "Classify".
            seconds: Queueing and computation.
        """
        with self._lock:
            timed = (("model_name", model_name), ("API", api), ("runtime", "TF1"))
            self._runtime_latency.setdefault(timed, _Histogram()).add(seconds * 1e6)

    def expose(self) -> str:
        """All of it, in Prometheus' text format."""
        with self._lock:
            lines = [f"# TYPE {_PREFIX}request_count counter"]
            for labels, count in sorted(self._request_count.items()):
                lines.append(f"{_PREFIX}request_count{_braces(labels)} {count}")
            for name, histograms in (
                ("request_latency", self._request_latency),
                ("runtime_latency", self._runtime_latency),
            ):
                lines.append(f"# TYPE {_PREFIX}{name} histogram")
                for labels, histogram in sorted(histograms.items()):
                    lines += _histogram_lines(_PREFIX + name, labels, histogram)
        return "\n".join(lines) + "\n"


def _histogram_lines(name: str, labels: Labels, histogram: _Histogram) -> Sequence[str]:
    limits = [f"{limit:.6g}" for limit in LATENCY_LIMITS_MICROSECONDS] + ["+Inf"]
    cumulative = list(itertools.accumulate(histogram.counts))
    return [
        *(
            f"{name}_bucket{_braces((*labels, ('le', limit)))} {count}"
            for limit, count in zip(limits, cumulative, strict=True)
        ),
        f"{name}_sum{_braces(labels)} {histogram.sum:.6g}",
        f"{name}_count{_braces(labels)} {cumulative[-1]}",
    ]


def _braces(labels: Labels) -> str:
    # A model's name comes from the client; unescaped, a line break in it would forge a metric.
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
