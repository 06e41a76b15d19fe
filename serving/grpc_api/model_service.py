"""`tensorflow.serving.ModelService`: the states of a model's versions, and another list of models."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from serving import proto_messages
from serving.errors import InvalidArgument, ServingError
from serving.grpc_api.call import Method
from serving.inference import Inference
from serving.metrics import Metrics
from serving.reload import Configuration

_log = logging.getLogger(__name__)

NAME = "tensorflow.serving.ModelService"


def methods(inference: Inference, configuration: Configuration, metrics: Metrics) -> dict[str, Method]:
    """The service's methods by name; what is not here is UNIMPLEMENTED."""

    def get_model_status(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        # Only `version` counts here; a label is ignored, as upstream.
        spec = proto_messages.model_spec(request)
        statuses = inference.status(spec.name, spec.version)
        return bytes(proto_messages.status_response(statuses).SerializeToString())

    def handle_reload_config_request(request: Any, request_bytes: int, timeout_seconds: float | None) -> bytes:
        before = _values(metrics, request.metric_names)
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise InvalidArgument(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                    "Only ModelConfigList is currently supported"
                )
            for index, entry in enumerate(request.config.model_config_list.config):
                _log.info(
                    "Config entry index: %d path: %s name: %s platform: %s",
                    index,
                    entry.base_path,
                    entry.name,
                    entry.model_platform,
                )
            configuration.reload(request.config, timeout_seconds=timeout_seconds)
        except ServingError as error:
            # gRPC sends no message with an error, so upstream's copy of it in the response reaches nobody.
            _log.error("ReloadConfig failed: %s", error.message)
            raise
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        after = _values(metrics, request.metric_names)
        for name, value in after.items():
            response.metric.add(name=name, int64_value_increase=value - before[name])
        return bytes(response.SerializeToString())

    return {
        "GetModelStatus": Method(get_model_status, get_model_status_pb2.GetModelStatusRequest),
        "HandleReloadConfigRequest": Method(handle_reload_config_request, model_management_pb2.ReloadConfigRequest),
    }


def _values(metrics: Metrics, names: Sequence[str]) -> dict[str, int]:
    """The first count of each metric, by the name that TF Serving registers it under; 0 where there is none."""
    return {name: metrics.value_of_first_point(name) for name in names}
