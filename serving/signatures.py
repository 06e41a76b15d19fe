"""SignatureDefs ⇄ ours, for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving import proto_tensors
from serving.messages import Signature, TensorSpec


def from_proto(proto: Any) -> Signature:
    """A `tensorflow.SignatureDef` as a Signature.

    Raises: InvalidArgument, for a default value that is no tensor.
    """
    return Signature(
        inputs={alias: _tensor_spec(proto.inputs[alias]) for alias in sorted(proto.inputs)},
        outputs={alias: _tensor_spec(proto.outputs[alias]) for alias in sorted(proto.outputs)},
        method_name=proto.method_name,
        defaults={
            alias: proto_tensors.decode_tensor(proto.defaults[alias], alias, request_bytes=proto.ByteSize())
            for alias in sorted(proto.defaults)
        },
        debug_string=str(proto),
    )


def _tensor_spec(info: Any) -> TensorSpec:
    unknown = info.tensor_shape.unknown_rank
    return TensorSpec(
        name=info.name,
        dtype=info.dtype,
        shape=None if unknown else tuple(dim.size for dim in info.tensor_shape.dim),
    )


def to_map(protos: Mapping[str, Any]) -> bytes:
    """SignatureDefs by name as a serialized `tensorflow.serving.SignatureDefMap`."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    message = get_model_metadata_pb2.SignatureDefMap()
    for name, proto in protos.items():
        message.signature_def[name].CopyFrom(proto)
    return bytes(message.SerializeToString(deterministic=True))


def from_map(data: bytes) -> dict[str, Signature]:
    """What `to_map` wrote, as Signatures by name."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    message = get_model_metadata_pb2.SignatureDefMap.FromString(data)
    return {name: from_proto(proto) for name, proto in message.signature_def.items()}
