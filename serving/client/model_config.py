"""Which models a server shall serve: the body of `reload_config`.

Source of the field numbers: tensorflow_serving/config/model_server_config.proto,
tensorflow_serving/sources/storage_path/file_system_storage_path_source.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serving import wire_format
from serving.wire_format import VARINT


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: What clients call it.
        base_path: The absolute path or URI, on the server, of the folder that holds its versions.
        versions: Exactly these; empty: the newest ones.
        num_latest: How many of the newest.
        serve_all_versions: Every version that is there.
        labels: Version by label.
    """

    name: str
    base_path: str
    versions: tuple[int, ...] = ()
    num_latest: int = 1
    serve_all_versions: bool = False
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.versions and (self.serve_all_versions or self.num_latest != 1):
            raise ValueError("`versions` says exactly what to serve; leave out `num_latest` and `serve_all_versions`.")
        if self.num_latest < 1:
            raise ValueError(f"`num_latest` must be 1 or more. Received: num_latest={self.num_latest!r}.")


def encode_model_server_config(models: Iterable[ModelConfig]) -> bytes:
    """A serialized `tensorflow.serving.ModelServerConfig` that lists the models, and no others."""
    entries = b"".join(wire_format.encode_bytes(1, _encode(model)) for model in models)
    return wire_format.encode_bytes(1, entries)


def _encode(model: ModelConfig) -> bytes:
    if model.versions:
        versions = b"".join(_int64(1, version) for version in model.versions)
        policy = wire_format.encode_bytes(102, versions)
    elif model.serve_all_versions:
        policy = wire_format.encode_bytes(101, b"")
    else:
        policy = wire_format.encode_bytes(100, _int64(1, model.num_latest))
    labels = [
        wire_format.encode_bytes(8, wire_format.encode_bytes(1, label.encode()) + _int64(2, version))
        for label, version in model.labels.items()
    ]
    return b"".join(
        (
            wire_format.encode_bytes(1, model.name.encode()),
            wire_format.encode_bytes(2, model.base_path.encode()),
            wire_format.encode_bytes(4, b"tensorflow"),
            wire_format.encode_bytes(7, policy),
            *labels,
        )
    )


def _int64(number: int, value: int) -> bytes:
    return wire_format.encode_tag(number, VARINT) + wire_format.encode_varint(value & (2**64 - 1))
