"""What loading counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import load_metrics
from serving.errors import DataLoss, NotFound
from serving.messages import ServableId
from serving.metrics import Metrics

PATH = Path("/models/m/0007")


def shown(metrics):
    return [
        line.removeprefix(":tensorflow:")
        for line in metrics.expose().splitlines()
        if "{" in line and "_bucket" not in line and "latency" not in line
    ]


def test_a_load_is_counted_with_its_outcome_and_keeps_it():
    metrics = Metrics()
    assert load_metrics.count_load(metrics, PATH, lambda path: (path, "loaded")) == (PATH, "loaded")

    def fail(path):
        raise NotFound("nothing there")

    with pytest.raises(NotFound):
        load_metrics.count_load(metrics, PATH, fail)
    assert shown(metrics) == [
        'cc:saved_model:load_attempt_count{model_path="/models/m/0007",status="fail"} 1',
        'cc:saved_model:load_attempt_count{model_path="/models/m/0007",status="success"} 1',
    ]


def test_a_warm_up_is_counted_if_there_was_one():
    metrics = Metrics()
    assert load_metrics.count_warm_up(metrics, PATH, lambda: 0) == 0
    assert shown(metrics) == []
    assert load_metrics.count_warm_up(metrics, PATH, lambda: 5) == 5

    def fail():
        raise DataLoss("torn")

    with pytest.raises(DataLoss):
        load_metrics.count_warm_up(metrics, PATH, fail)
    assert shown(metrics) == [
        'serving:model_warmup_records_read{model_path="/models/m/0007",status="DATA_LOSS: torn"} 0',
        'serving:model_warmup_records_read{model_path="/models/m/0007",status="OK"} 5',
    ]


def test_a_version_with_an_ml_metadata_uuid_is_shown(tmp_path):
    metrics = Metrics()
    load_metrics.publish_mlmd(metrics, ServableId("without", 1), tmp_path)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "mlmd_uuid").write_text("some-uuid")
    load_metrics.publish_mlmd(metrics, ServableId("m", 7), tmp_path)
    assert shown(metrics) == ['serving:mlmd_map{model_name="m",version="7"} 0']
