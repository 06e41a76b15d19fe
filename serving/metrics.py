"""What a server counts, under TF Serving's names. One object a server: two servers in a process share no counts.

Another metric is one line: `metrics.counter("/tensorflow/serving/name", "label").cell("value").add()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from serving.metric_types import (
    MAX_CELLS,
    MAX_LABEL_CHARACTERS,
    Counter,
    CounterCell,
    Gauge,
    Histogram,
    HistogramCell,
    Metric,
    exponential,
    prometheus_name,
)
from serving.status import Code

# TF Serving's limits for latencies in microseconds: 10, 18, 32.4, … (33 of them), and the rest.
LATENCY_LIMITS_MICROSECONDS = exponential(10, 1.8, 33)
QUEUING_LIMITS_MICROSECONDS = exponential(100, 1.2, 52)
EXAMPLE_COUNT_LIMITS = exponential(1, 2, 15)
BATCH_SIZE_LIMITS = exponential(1, 2, 14)

AnyMetric = TypeVar("AnyMetric", Counter, Gauge, Histogram)


class Metrics:
    """What a server has done so far."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        latency = LATENCY_LIMITS_MICROSECONDS
        serving, saved_model = "/tensorflow/serving", "/tensorflow/cc/saved_model"
        batching = f"{serving}/batching_session"
        self.request_count = self.counter(f"{serving}/request_count", "model_name", "status")
        self.request_latency = self.histogram(f"{serving}/request_latency", latency, "model_name", "API", "entrypoint")
        self.runtime_latency = self.histogram(f"{serving}/runtime_latency", latency, "model_name", "API", "runtime")
        self.request_example_counts = self.histogram(f"{serving}/request_example_counts", EXAMPLE_COUNT_LIMITS, "model")
        self.request_example_count_total = self.counter(f"{serving}/request_example_count_total", "model")
        self.request_log_count = self.counter(f"{serving}/request_log_count", "model_name", "status_code")
        self.model_warmup_latency = self.histogram(f"{serving}/model_warmup_latency", latency, "model_path", "status")
        self.model_warmup_records_read = self.counter(f"{serving}/model_warmup_records_read", "model_path", "status")
        self.mlmd_map = self.gauge(f"{serving}/mlmd_map", "model_name", "version")
        self.queuing_latency = self.histogram(
            f"{batching}/queuing_latency", QUEUING_LIMITS_MICROSECONDS, "thread_pool_name"
        )
        self.wrapped_run_count = self.counter(f"{batching}/wrapped_run_count")
        self.padding_size = self.histogram(f"{batching}/padding_size", BATCH_SIZE_LIMITS, "execution_batch_size")
        self.input_batch_size = self.histogram(f"{batching}/input_batch_size", BATCH_SIZE_LIMITS)
        self.processed_batch_size = self.histogram(f"{batching}/processed_batch_size", BATCH_SIZE_LIMITS)
        self.load_attempt_count = self.counter(f"{saved_model}/load_attempt_count", "model_path", "status")
        # A counter of microseconds, as in TensorFlow.
        self.load_latency = self.counter(f"{saved_model}/load_latency", "model_path")
        self._request_cells: dict[tuple[str, Code, str, str], tuple[CounterCell, HistogramCell | None]] = {}

    def counter(self, name: str, *label_names: str) -> Counter:
        """The counter of this name, made if it is not there yet.

        Args:
            name: Upstream's, such as "/tensorflow/serving/request_count".
            label_names: Its labels, in order.
        """
        return self._add(name, Counter(label_names))

    def gauge(self, name: str, *label_names: str) -> Gauge:
        """The gauge of this name, made if it is not there yet."""
        return self._add(name, Gauge(label_names))

    def histogram(self, name: str, limits: Sequence[float], *label_names: str) -> Histogram:
        """The histogram of this name, with these limits of its buckets, made if it is not there yet."""
        return self._add(name, Histogram(label_names, limits))

    def _add(self, name: str, metric: AnyMetric) -> AnyMetric:
        present = self._metrics.setdefault(prometheus_name(name), metric)
        if not isinstance(present, type(metric)):
            raise ValueError(f"{name} is a {present.kind} already. Received: a {metric.kind}.")
        return present

    def record_request(self, model_name: str, code: Code, api: str, entrypoint: str, seconds: float) -> None:
        """Count one request; its latency only if it succeeded, as upstream does.

        Args:
            model_name: The model asked for; may be "".
            code: How it ended.
            api: "Predict", "Classify", … over gRPC, "predict", … over REST, "" for other REST requests.
            entrypoint: "GRPC" or "REST".
            seconds: From the first byte read to the answer made.
        """
        key = (model_name, code, api, entrypoint)
        cells = self._request_cells.get(key)
        if cells is None:
            timed = self.request_latency.cell(model_name, api, entrypoint) if code is Code.OK else None
            cells = self.request_count.cell(model_name, code.name), timed
            if len(self._request_cells) < MAX_CELLS and len(model_name) <= MAX_LABEL_CHARACTERS:
                self._request_cells[key] = cells
        count, latency = cells
        count.add()
        if latency is not None:
            latency.add(seconds * 1e6)

    def record_runtime(self, model_name: str, api: str, seconds: float) -> None:
        """Count one execution of a model.

        Args:
            model_name: The model.
            api: "Predict", "Classify" or "Regress".
            seconds: Queueing and computation.
        """
        self.runtime_latency.cell(model_name, api, "TF1").add(seconds * 1e6)

    def record_examples(self, model_name: str, count: int) -> None:
        """Count the examples of one request; upstream does so for MultiInference only."""
        self.request_example_counts.cell(model_name).add(count)
        self.request_example_count_total.cell(model_name).add(count)

    def record_load(self, model_path: str, seconds: float, *, succeeded: bool) -> None:
        """Count one attempt to load a SavedModel."""
        self.load_attempt_count.cell(model_path, "success" if succeeded else "fail").add()
        if succeeded:
            self.load_latency.cell(model_path).add(int(seconds * 1e6))

    def record_warmup(self, model_path: str, status: str, records: int, seconds: float) -> None:
        """Count one replay of warm-up records.

        Args:
            model_path: The version's directory.
            status: "OK", or code and sentence.
            records: How many were read.
            seconds: How long it took.
        """
        self.model_warmup_latency.cell(model_path, status).add(seconds * 1e6)
        self.model_warmup_records_read.cell(model_path, status).add(records)

    def value_of_first_point(self, name: str) -> int:
        """The value of a metric's first cell, as a reload reports its increase; 0 if there is none.

        Args:
            name: Upstream's, such as "/tensorflow/serving/request_count", or as on the metrics page.
        """
        metric = self._metrics.get(prometheus_name(name))
        cells = metric.cells() if metric is not None else []
        return cells[0][1].value if cells else 0

    def expose(self) -> str:
        """All of it, in Prometheus' text format."""
        return "".join(f"{line}\n" for name in sorted(self._metrics) for line in self._metrics[name].lines(name))
