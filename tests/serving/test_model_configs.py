"""ModelServerConfig as text: models, policies, labels, URIs, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import model_configs
from serving.config import ModelConfig, PolicyKind, VersionPolicy
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
    assert model_configs.read_file(path) == (
        ModelConfig("a", Path("/m/a")),
        ModelConfig("b", Path("/m/b"), VersionPolicy(num_versions=3)),
        ModelConfig(
            "c", Path("/m/c"), VersionPolicy(PolicyKind.SPECIFIC, versions=(4, 2)), version_labels=(("stable", 2),)
        ),
        ModelConfig("d", Path("/m/d"), VersionPolicy(PolicyKind.ALL)),
        ModelConfig("e", Path("/m/e"), VersionPolicy(num_versions=1)),
    )


def test_an_empty_file_says_nothing_yet(write):
    assert model_configs.read_file(write("")) is None


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
            f'model_config_list {{ config {{ name: "a" base_path: "m/a" {PLATFORM} }} }}',
            Code.INVALID_ARGUMENT,
            "Expected model a to have an absolute path or URI; got base_path()=m/a",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/m" } config { name: "a" base_path: "/m" } }',
            Code.INVALID_ARGUMENT,
            "Illegal to list model a multiple times in config list",
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
        model_configs.read_file(write(text))
    assert (raised.value.code, raised.value.message) == (code, sentence)


def test_a_file_that_is_no_text_proto(write):
    path = write("model_config_list {\n  konfig {}\n}")
    with pytest.raises(ServingError) as raised:
        model_configs.read_file(path)
    assert raised.value.message == (
        f"Invalid protobuf file: '{path}'\nError parsing text-format tensorflow.serving.ModelServerConfig: "
        '2:3: Message type "tensorflow.serving.ModelConfigList" has no field named "konfig".'
    )


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ServingError) as raised:
        model_configs.read_file(tmp_path / "no")
    assert raised.value.message.startswith(f"Invalid protobuf file: '{tmp_path}/no'")


def test_an_empty_list_is_not_nothing(write):
    assert model_configs.read_file(write("model_config_list { }")) == ()


@pytest.mark.parametrize(
    ("location", "path", "uri"),
    [
        ("/m/a", "/m/a", ""),
        ("file:///m/a", "/m/a", ""),
        ("s3://bucket/m/a/", "s3:/bucket/m/a", "s3://bucket/m/a"),
        ("memory://a", "memory:/a", "memory://a"),
    ],
)
def test_where_a_model_is(location, path, uri):
    assert model_configs.model_at("a", location) == ModelConfig("a", Path(path), uri=uri)


def test_a_platform_may_not_change():
    def models(**platforms):
        return [ModelConfig(name, Path("/m"), platform=platform) for name, platform in platforms.items()]

    model_configs.check_platforms_unchanged(models(a="tensorflow", b="torch"), models(a="tensorflow", c="onnx"))
    with pytest.raises(ServingError) as raised:
        model_configs.check_platforms_unchanged(models(a="torch"), models(a="tensorflow"))
    assert str(raised.value) == (
        "INVALID_ARGUMENT: Illegal to change a model's platform. For model a platform was torch and new platform "
        "requested is tensorflow"
    )
