"""The metrics page: names, buckets, labels, and what it costs to count."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving import metric_types
from serving.metrics import Metrics
from serving.status import Code


def lines_of(metrics, name):
    return [line for line in metrics.expose().splitlines() if line.startswith(name)]


# Names, kinds and labels: TF Serving's sources, section 5.4 of the specification.
NAMES = {
    ":tensorflow:cc:saved_model:load_attempt_count": "counter",
    ":tensorflow:cc:saved_model:load_latency": "counter",
    ":tensorflow:serving:batching_session:input_batch_size": "histogram",
    ":tensorflow:serving:batching_session:padding_size": "histogram",
    ":tensorflow:serving:batching_session:processed_batch_size": "histogram",
    ":tensorflow:serving:batching_session:queuing_latency": "histogram",
    ":tensorflow:serving:batching_session:wrapped_run_count": "counter",
    ":tensorflow:serving:mlmd_map": "gauge",
    ":tensorflow:serving:model_warmup_latency": "histogram",
    ":tensorflow:serving:model_warmup_records_read": "counter",
    ":tensorflow:serving:request_count": "counter",
    ":tensorflow:serving:request_example_count_total": "counter",
    ":tensorflow:serving:request_example_counts": "histogram",
    ":tensorflow:serving:request_latency": "histogram",
    ":tensorflow:serving:request_log_count": "counter",
    ":tensorflow:serving:runtime_latency": "histogram",
}


def test_every_metric_has_one_type_line_sorted_by_name():
    shown = [line.split() for line in Metrics().expose().splitlines()]
    assert [(name, kind) for _, _, name, kind in shown] == list(NAMES.items())


def test_a_metric_without_labels_prints_empty_braces():
    metrics = Metrics()
    metrics.wrapped_run_count.cell().add(3)
    assert ":tensorflow:serving:batching_session:wrapped_run_count{} 3" in metrics.expose().splitlines()


def test_a_histogram_prints_all_its_buckets_also_the_empty_ones():
    metrics = Metrics()
    metrics.record_examples("m", 3)
    metrics.record_examples("m", 100_000)
    name = ":tensorflow:serving:request_example_counts"
    limits = [2**power for power in range(15)]
    assert lines_of(metrics, name + "_") == [
        *(f'{name}_bucket{{model="m",le="{limit}"}} {int(limit > 3)}' for limit in limits),
        f'{name}_bucket{{model="m",le="+Inf"}} 2',
        f'{name}_sum{{model="m"}} 100003',
        f'{name}_count{{model="m"}} 2',
    ]
    assert lines_of(metrics, ":tensorflow:serving:request_example_count_total{") == [
        ':tensorflow:serving:request_example_count_total{model="m"} 100003'
    ]


@pytest.mark.parametrize(
    ("name", "first", "second", "count"),
    [
        ("request_latency", "10", "18", 33),
        ("runtime_latency", "10", "18", 33),
        ("model_warmup_latency", "10", "18", 33),
        ("batching_session:queuing_latency", "100", "120", 52),
        ("batching_session:padding_size", "1", "2", 14),
        ("batching_session:input_batch_size", "1", "2", 14),
        ("batching_session:processed_batch_size", "1", "2", 14),
    ],
)
def test_buckets_are_upstreams(name, first, second, count):
    metrics = Metrics()
    histogram = getattr(metrics, name.split(":")[-1])
    histogram.cell(*["v"] * len(histogram._label_names)).add(5)
    limits = [
        line.partition('le="')[2].partition('"')[0] for line in lines_of(metrics, f":tensorflow:serving:{name}_b")
    ]
    assert (limits[0], limits[1], limits[-1], len(limits)) == (first, second, "+Inf", count + 1)


def test_a_value_on_a_limit_counts_above_it_as_upstream():
    metrics = Metrics()
    metrics.input_batch_size.cell().add(2)
    buckets = [line for line in lines_of(metrics, ":tensorflow:serving:batching_session:input_batch_size_bucket")]
    assert [line.split()[-1] for line in buckets[:3]] == ["0", "0", "1"]


def test_only_successful_requests_have_a_latency_and_all_are_counted():
    metrics = Metrics()
    for code in (Code.OK, Code.OK, Code.NOT_FOUND):
        metrics.record_request("m", code, "Predict", "GRPC", 20e-6)
    metrics.record_request("", Code.INVALID_ARGUMENT, "", "REST", 1)
    assert lines_of(metrics, ":tensorflow:serving:request_count{") == [
        ':tensorflow:serving:request_count{model_name="",status="INVALID_ARGUMENT"} 1',
        ':tensorflow:serving:request_count{model_name="m",status="NOT_FOUND"} 1',
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 2',
    ]
    name = ":tensorflow:serving:request_latency"
    assert f'{name}_bucket{{model_name="m",API="Predict",entrypoint="GRPC",le="18"}} 0' in lines_of(metrics, name)
    assert f'{name}_bucket{{model_name="m",API="Predict",entrypoint="GRPC",le="32.4"}} 2' in lines_of(metrics, name)
    assert f'{name}_sum{{model_name="m",API="Predict",entrypoint="GRPC"}} 40' in lines_of(metrics, name)
    assert not [line for line in lines_of(metrics, name) if 'model_name=""' in line]


def test_a_client_cannot_forge_a_metric_through_a_label():
    metrics = Metrics()
    name = 'a"} 1\n:forged{x="\\'
    metrics.record_request(name, Code.NOT_FOUND, "Predict", "GRPC", 0)
    assert lines_of(metrics, ":forged") == []
    families = {family.name: family for family in text_string_to_metric_families(metrics.expose())}
    (sample,) = families[":tensorflow:serving:request_count"].samples
    assert sample.labels == {"model_name": name, "status": "NOT_FOUND"}


def test_names_that_clients_make_up_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(metric_types, "MAX_CELLS", 3)
    metrics = Metrics()
    for index in range(10):
        metrics.record_request(f"m{index}" + "x" * 10_000, Code.NOT_FOUND, "Predict", "GRPC", 0)
    shown = lines_of(metrics, ":tensorflow:serving:request_count{")
    assert len(shown) == 4
    assert all(len(line) < 700 for line in shown)
    assert shown[-1] == (':tensorflow:serving:request_count{model_name="too many values",status="too many values"} 7')


def test_counts_from_many_threads_are_all_there():
    metrics = Metrics()

    def count():
        for _ in range(2000):
            metrics.record_request("m", Code.OK, "Predict", "GRPC", 1e-6)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value_of_first_point("/tensorflow/serving/request_count") == 16_000
    assert ':tensorflow:serving:request_latency_count{model_name="m",API="Predict",entrypoint="GRPC"} 16000' in (
        metrics.expose()
    )


def test_a_value_can_be_read_by_upstreams_name():
    metrics = Metrics()
    metrics.counter("/tensorflow/serving/own", "label").cell("b").add(5)
    metrics.counter("/tensorflow/serving/own", "label").cell("a").add(2)
    assert metrics.value_of_first_point("/tensorflow/serving/own") == 2
    assert metrics.value_of_first_point(":tensorflow:serving:own") == 2
    assert metrics.value_of_first_point("/tensorflow/serving/request_count") == 0  # no point yet
    assert metrics.value_of_first_point("/no/such/metric") == 0
    metrics.input_batch_size.cell().add(2)
    assert metrics.value_of_first_point("/tensorflow/serving/batching_session/input_batch_size") == 0


def test_loads_and_warm_ups_have_upstreams_labels():
    metrics = Metrics()
    metrics.record_load("/models/m/1", 0.5, succeeded=True)
    metrics.record_load("/models/m/2", 0.5, succeeded=False)
    metrics.record_warmup("/models/m/1", "OK", 7, 0.1)
    metrics.mlmd_map.cell("m", "1").set(0)
    assert [line for line in metrics.expose().splitlines() if "{" in line and "_bucket" not in line] == [
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/m/1",status="success"} 1',
        ':tensorflow:cc:saved_model:load_attempt_count{model_path="/models/m/2",status="fail"} 1',
        ':tensorflow:cc:saved_model:load_latency{model_path="/models/m/1"} 500000',
        ':tensorflow:serving:mlmd_map{model_name="m",version="1"} 0',
        ':tensorflow:serving:model_warmup_latency_sum{model_path="/models/m/1",status="OK"} 100000',
        ':tensorflow:serving:model_warmup_latency_count{model_path="/models/m/1",status="OK"} 1',
        ':tensorflow:serving:model_warmup_records_read{model_path="/models/m/1",status="OK"} 7',
    ]


def test_a_name_has_one_kind():
    metrics = Metrics()
    with pytest.raises(ValueError) as raised:
        metrics.gauge("/tensorflow/serving/request_count")
    assert str(raised.value) == "/tensorflow/serving/request_count is a counter already. Received: a gauge."
    with pytest.raises(ValueError) as raised:
        metrics.request_count.cell("only one")
    assert str(raised.value) == "The labels are ('model_name', 'status'). Received values for 1 labels."
