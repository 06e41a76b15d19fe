"""Model specs as they travel: what is read, and what is echoed, byte for byte as the official messages."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import model_pb2

from serving import proto_messages
from serving.messages import ModelSpec, ServableId


@pytest.mark.parametrize("version", [0, 1, 127, 128, 2**63 - 1, -1, -(2**63)])
@pytest.mark.parametrize("signature_name", ["", "serving_default"])
def test_an_echoed_spec_is_the_official_messages_bytes(version, signature_name):
    official = model_pb2.ModelSpec(name="é", signature_name=signature_name)
    official.version.SetInParent()
    official.version.value = version
    assert proto_messages.encode_model_spec(ServableId("é", version), signature_name) == official.SerializeToString()


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("name: 'm'", ModelSpec("m")),
        ("name: 'm' version { }", ModelSpec("m", version=0)),
        ("name: 'm' version { value: -1 }", ModelSpec("m", version=-1)),
        ("name: 'm' version_label: ''", ModelSpec("m", version_label="")),
        ("name: 'm' version_label: 'a' signature_name: 's'", ModelSpec("m", version_label="a", signature_name="s")),
    ],
    ids=["latest", "an empty version is 0", "negative", "an empty label is one", "label and signature"],
)
def test_a_spec_is_read(text, spec):
    assert proto_messages.read_model_spec(text_format.Parse(text, model_pb2.ModelSpec())) == spec
