"""The reflection service, asked by a real client of it."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import proto_reflection_descriptor_database

ALWAYS = {
    "grpc.reflection.v1alpha.ServerReflection",
    "tensorflow.serving.ModelService",
    "tensorflow.serving.PredictionService",
}


def services_of(client):
    return set(proto_reflection_descriptor_database.ProtoReflectionDescriptorDatabase(client.channel).get_services())


def test_it_lists_what_is_there(client, start_server, tmp_path):
    assert services_of(client) - {"tensorflow.ProfilerService"} == ALWAYS | {"grpc.health.v1.Health"}
    plain = start_server(models_dir=tmp_path, enable_profiler=False)
    assert services_of(plain) == ALWAYS


@pytest.mark.parametrize(
    ("service", "methods"),
    [
        (
            "tensorflow.serving.PredictionService",
            ["Classify", "GetModelMetadata", "MultiInference", "Predict", "Regress"],
        ),
        ("tensorflow.serving.ModelService", ["GetModelStatus", "HandleReloadConfigRequest"]),
        ("grpc.health.v1.Health", ["Check", "Watch"]),
    ],
)
def test_a_client_without_any_protos_learns_how_to_call(client, service, methods):
    # A pool of its own, so that nothing is known but what the server tells.
    database = proto_reflection_descriptor_database.ProtoReflectionDescriptorDatabase(client.channel)
    descriptor = descriptor_pool.DescriptorPool(database).FindServiceByName(service)
    assert set(methods) <= {method.name for method in descriptor.methods}
    predict = descriptor.methods_by_name.get("Predict")
    if predict is not None:
        assert [field.name for field in predict.input_type.fields][:2] == ["model_spec", "inputs"]
