"""The configuration messages that `tensorflow-serving-api` does not ship, built at run time.

Text format goes by names, so a message of the same field names reads the same files. Field names and
numbers: tensorflow_serving/servables/tensorflow/session_bundle_config.proto,
tensorflow_serving/config/monitoring_config.proto and tensorflow_serving/config/ssl_config.proto.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_WRAPPERS = {"int64": ".google.protobuf.Int64Value", "bool": ".google.protobuf.BoolValue"}

# name, number, type; the wrapped types are messages with one field `value`.
_BATCHING_FIELDS = (
    ("max_batch_size", 1, "int64"),
    ("batch_timeout_micros", 2, "int64"),
    ("max_enqueued_batches", 3, "int64"),
    ("num_batch_threads", 4, "int64"),
    ("pad_variable_length_inputs", 7, "bool"),
    ("enable_large_batch_splitting", 8, "bool"),
    ("max_execution_batch_size", 9, "int64"),
)


def batching_parameters() -> Any:
    """An empty BatchingParameters."""
    return _message_class("tensorflow.serving.BatchingParameters")()


def monitoring_config() -> Any:
    """An empty MonitoringConfig."""
    return _message_class("tensorflow.serving.MonitoringConfig")()


def ssl_config() -> Any:
    """An empty SSLConfig."""
    return _message_class("tensorflow.serving.SSLConfig")()


@cache
def _message_class(full_name: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(full_name))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/config_protos.proto", package="tensorflow.serving", syntax="proto3"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    batching = file.message_type.add(name="BatchingParameters")
    for name, number, kind in _BATCHING_FIELDS:
        batching.field.add(
            name=name,
            number=number,
            type=_FIELD.TYPE_MESSAGE,
            type_name=_WRAPPERS[kind],
            label=_FIELD.LABEL_OPTIONAL,
        )
    batching.field.add(
        name="thread_pool_name",
        number=5,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".google.protobuf.StringValue",
        label=_FIELD.LABEL_OPTIONAL,
    )
    batching.field.add(name="allowed_batch_sizes", number=6, type=_FIELD.TYPE_INT64, label=_FIELD.LABEL_REPEATED)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=_FIELD.TYPE_BOOL, label=_FIELD.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".tensorflow.serving.PrometheusConfig",
        label=_FIELD.LABEL_OPTIONAL,
    )
    tls = file.message_type.add(name="SSLConfig")
    for number, name in enumerate(("server_key", "server_cert", "custom_ca"), start=1):
        tls.field.add(name=name, number=number, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    tls.field.add(name="client_verify", number=4, type=_FIELD.TYPE_BOOL, label=_FIELD.LABEL_OPTIONAL)
    # A pool of our own: another library may one day register the real files.
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    pool.Add(file)
    return pool
