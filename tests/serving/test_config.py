"""Text protos of models, batching and monitoring; rules of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.config import (
    BatchingConfig,
    ModelConfig,
    ServerConfig,
    read_batching_parameters_file,
    read_monitoring_config_file,
)
from serving.errors import ServingError


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (
            (ModelConfig("a", Path("/a")), ModelConfig("a", Path("/b"))),
            "Illegal to list model a multiple times in config list",
        ),
        (
            (ModelConfig("a", Path("x/a")),),
            "Expected model a to have an absolute path or URI; got base_path()=x/a",
        ),
    ],
)
def test_lists_of_models_that_cannot_be_served(models, sentence):
    with pytest.raises(ServingError) as raised:
        ServerConfig(models=models)
    assert raised.value.message == sentence


def test_batching_parameters(write):
    assert read_batching_parameters_file(write("")) == BatchingConfig()
    path = write("""
        max_batch_size { value: 32 }  batch_timeout_micros { value: 5000 }
        max_enqueued_batches { value: 7 }  num_batch_threads { value: 3 }
        thread_pool_name { value: "x" }  allowed_batch_sizes: 8  allowed_batch_sizes: 16
        pad_variable_length_inputs { value: true }  enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 16 }""")
    assert read_batching_parameters_file(path) == BatchingConfig(
        max_batch_size=32,
        batch_timeout_micros=5000,
        max_enqueued_batches=7,
        num_batch_threads=3,
        thread_pool_name="x",
        allowed_batch_sizes=(8, 16),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=16,
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", None),
        ('prometheus_config { path: "/x" }', None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true path: "/x" }', "/x"),
    ],
)
def test_monitoring(write, text, path):
    assert read_monitoring_config_file(write(text)) == path
