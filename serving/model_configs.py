"""Models as TF Serving's ModelServerConfig lists them, from a text file or from a request, and its rules.

Source of rules and sentences: model_servers/server_core.cc. What is wrong with a model's platform is kept
with the model: upstream looks at it only after names, paths and labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from serving import request_log_config
from serving.config import ModelConfig, PolicyKind, VersionPolicy, check_models, read_text_proto
from serving.errors import InvalidArgument
from serving.request_log_config import RequestLogConfig

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_TENSORFLOW = "tensorflow"
_TYPE_UNSPECIFIED, _TYPE_TENSORFLOW = 0, 1


def model_at(name: str, location: str, **options: Any) -> ModelConfig:
    """A model at a local path, or at a URI such as s3://bucket/models/cats.

    Args:
        name: What clients call it.
        location: Its base path as it was written.
        options: Further fields of ModelConfig.
    """
    uri = _URI.fullmatch(location)
    if uri is None:
        return ModelConfig(name, Path(location), **options)
    if uri["scheme"] == "file":
        return ModelConfig(name, Path(uri["rest"]), **options)
    return ModelConfig(name, Path(location), uri=location.rstrip("/"), **options)


def parse(message: Any) -> tuple[ModelConfig, ...] | None:
    """The models of a ModelServerConfig message; None if it says nothing at all.

    Raises: InvalidArgument, for the other kind of configuration.
    """
    kind = message.WhichOneof("config")
    if kind is None:
        return None
    if kind == "custom_model_config":
        raise InvalidArgument("ModelServer does not yet support custom model config.")
    return tuple(_model(entry) for entry in message.model_config_list.config)


def read_file(path: Path) -> tuple[ModelConfig, ...] | None:
    """The models of a `--model_config_file`; None if it says nothing at all.

    Raises: InvalidArgument, in TF Serving's words, also if the models cannot be served.
    """
    models = parse(read_message(path))
    if models is not None:
        check_models(models)
        check_platforms(models)
    return models


def read_message(path: Path) -> Any:
    """The ModelServerConfig of a text file.

    Raises: InvalidArgument, if it is none.
    """
    from tensorflow_serving.config import model_server_config_pb2

    return read_text_proto(path, model_server_config_pb2.ModelServerConfig())


def check_platforms(models: Iterable[ModelConfig]) -> None:
    """Refuse models of a platform that is not TensorFlow.

    Raises: InvalidArgument.
    """
    for model in models:
        if model.platform_problem:
            raise InvalidArgument(model.platform_problem)
        if model.platform != _TENSORFLOW:
            raise InvalidArgument(f"Model {model.name} requests unsupported platform {model.platform}")


def check_platforms_unchanged(before: Iterable[ModelConfig], after: Iterable[ModelConfig]) -> None:
    """Refuse to change the platform of a model that was listed before, be it in a list that was refused.

    Raises: InvalidArgument.
    """
    platforms = {model.name: model.platform for model in before if not model.platform_problem}
    for model in after:
        if model.name not in platforms:
            continue
        if model.platform_problem:
            raise InvalidArgument(model.platform_problem)
        if model.platform != platforms[model.name]:
            raise InvalidArgument(
                f"Illegal to change a model's platform. For model {model.name} platform was "
                f"{platforms[model.name]} and new platform requested is {model.platform}"
            )


def _model(entry: Any) -> ModelConfig:
    platform, problem = _platform(entry)
    return model_at(
        entry.name,
        entry.base_path,
        version_policy=_version_policy(entry.model_version_policy),
        version_labels=tuple(sorted(entry.version_labels.items())),
        platform=platform,
        platform_problem=problem,
        logging=_logging(entry),
    )


def _logging(entry: Any) -> RequestLogConfig | None:
    if not entry.HasField("logging_config"):
        return None
    return request_log_config.parse(entry.name, entry.logging_config)


def _platform(entry: Any) -> tuple[str, str]:
    """A model's platform, and what is wrong with how it is given."""
    field = "ModelServerConfig::model_type (deprecated)"
    has_type = entry.model_type != _TYPE_UNSPECIFIED
    if has_type and entry.model_platform:
        return "", f"Illegal setting both {field} and ModelServerConfig::model_platform, model name is {entry.name}"
    if has_type and entry.model_type != _TYPE_TENSORFLOW:
        return "", f"ModelServerConfig::model_type choice {entry.model_type} not supported."
    if not has_type and not entry.model_platform:
        return "", (
            f"Illegal setting neither {field} nor ModelServerConfig::model_platform, model name is {entry.name}"
        )
    return entry.model_platform or _TENSORFLOW, ""


def _version_policy(message: Any) -> VersionPolicy:
    choice = message.WhichOneof("policy_choice")
    if choice == "all":
        return VersionPolicy(PolicyKind.ALL)
    if choice == "specific":
        return VersionPolicy(PolicyKind.SPECIFIC, versions=tuple(message.specific.versions))
    return VersionPolicy(PolicyKind.LATEST, num_versions=max(1, message.latest.num_versions))
