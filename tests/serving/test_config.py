"""Text protos of models, batching and monitoring; rules of a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.config import (
    BatchingConfig,
    ModelConfig,
    PolicyKind,
    ServerConfig,
    VersionPolicy,
    read_batching_parameters_file,
    read_model_config_file,
    read_monitoring_config_file,
)
from serving.errors import ServingError
from serving.status import Code


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "config"
        path.write_text(text)
        return path

    return write


def test_models_policies_and_labels(write):
    path = write("""
        model_config_list {
          config { name: "a" base_path: "/m/a" model_platform: "tensorflow" }
          config { name: "b" base_path: "/m/b" model_platform: "tensorflow"
                   model_version_policy { latest { num_versions: 3 } } }
          config { name: "c" base_path: "/m/c" model_type: TENSORFLOW
                   model_version_policy { specific { versions: 4 versions: 2 } }
                   version_labels { key: "stable" value: 2 } }
          config { name: "d" base_path: "/m/d" model_platform: "tensorflow" model_version_policy { all { } } }
          config { name: "e" base_path: "/m/e" model_platform: "tensorflow" model_version_policy { latest { } } }
        }""")
    assert read_model_config_file(path) == (
        ModelConfig("a", Path("/m/a")),
        ModelConfig("b", Path("/m/b"), VersionPolicy(num_versions=3)),
        ModelConfig(
            "c", Path("/m/c"), VersionPolicy(PolicyKind.SPECIFIC, versions=(4, 2)), version_labels=(("stable", 2),)
        ),
        ModelConfig("d", Path("/m/d"), VersionPolicy(PolicyKind.ALL)),
        ModelConfig("e", Path("/m/e"), VersionPolicy(num_versions=1)),
    )


def test_an_empty_file_is_a_server_without_models(write):
    assert read_model_config_file(write("")) == ()


def entry(text):
    return f'model_config_list {{ config {{ name: "a" base_path: "/m/a" {text} }} }}'


PLATFORM = 'model_platform: "tensorflow"'


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (
            entry(""),
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is a",
        ),
        (
            entry(f"{PLATFORM} model_type: TENSORFLOW"),
            Code.INVALID_ARGUMENT,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is a",
        ),
        (
            entry("model_type: OTHER"),
            Code.INVALID_ARGUMENT,
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            entry('model_platform: "torch"'),
            Code.INVALID_ARGUMENT,
            "Model a requests unsupported platform torch",
        ),
        (
            entry(f"{PLATFORM} logging_config {{ }}"),
            Code.INVALID_ARGUMENT,
            "No request-logger-creator provided.",
        ),
        (
            f'model_config_list {{ config {{ name: "a" base_path: "gs://b/a" {PLATFORM} }} }}',
            Code.UNIMPLEMENTED,
            "Model a has base_path gs://b/a; this server reads local directories only. "
            "Mount or copy the models to a local path.",
        ),
        (
            "custom_model_config { }",
            Code.INVALID_ARGUMENT,
            "ModelServer does not yet support custom model config.",
        ),
    ],
)
def test_model_sentences(write, text, code, sentence):
    with pytest.raises(ServingError) as raised:
        read_model_config_file(write(text))
    assert (raised.value.code, raised.value.message) == (code, sentence)


def test_a_file_that_is_no_text_proto(write):
    path = write("model_config_list {\n  konfig {}\n}")
    with pytest.raises(ServingError) as raised:
        read_model_config_file(path)
    assert raised.value.message == (
        f"Invalid protobuf file: '{path}'\nError parsing text-format tensorflow.serving.ModelServerConfig: "
        '2:3: Message type "tensorflow.serving.ModelConfigList" has no field named "konfig".'
    )


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ServingError) as raised:
        read_model_config_file(tmp_path / "no")
    assert raised.value.message.startswith(f"Invalid protobuf file: '{tmp_path}/no'")


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
        thread_pool_name { value: "x" }  allowed_batch_sizes: 8  allowed_batch_sizes: 32""")
    assert read_batching_parameters_file(path) == BatchingConfig(
        max_batch_size=32,
        batch_timeout_micros=5000,
        max_enqueued_batches=7,
        num_batch_threads=3,
        allowed_batch_sizes=(8, 32),
    )


def test_batching_that_this_server_does_not_do_is_refused(write):
    path = write("pad_variable_length_inputs { value: true }")
    with pytest.raises(ServingError) as raised:
        read_batching_parameters_file(path)
    assert raised.value.message == (
        f"{path} sets pad_variable_length_inputs, which this server does not do; remove the line."
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
