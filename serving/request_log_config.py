"""Which requests of a model are logged, and where: TF Serving's LoggingConfig, for the one collector that we have.

TF Serving reads these messages and has no collector at all: any `logging_config` is refused there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from serving.errors import InvalidArgument

COLLECTOR_TYPE = "tfrecord"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RequestLogConfig:
    """How a model's requests are logged.

    Attributes:
        filename_prefix: What the files' names begin with, directory included.
        sampling_rate: The share of requests that is logged, 0 to 1.
        sampling_config: The serialized SamplingConfig, as each record repeats it.
    """

    filename_prefix: str
    sampling_rate: float
    sampling_config: bytes = b""


def parse(model_name: str, message: Any) -> RequestLogConfig:
    """The configuration of a LoggingConfig message.

    Args:
        model_name: Whose it is, for the errors.
        message: A `tensorflow.serving.LoggingConfig`.
    Raises: InvalidArgument, for a collector that this server does not have (in TF Serving's words), or for one that
        does not know where to write.
    """
    collector, sampling = message.log_collector_config, message.sampling_config
    if collector.type != COLLECTOR_TYPE or message.HasField("custom_logging_config"):
        raise InvalidArgument("No request-logger-creator provided.")
    if not collector.filename_prefix.startswith("/"):
        raise InvalidArgument(
            f"Expected model {model_name} to log its requests under an absolute path; got "
            f'filename_prefix={collector.filename_prefix}. Write, for instance, filename_prefix: "/logs/{model_name}".'
        )
    if not 0 <= sampling.sampling_rate <= 1:
        raise InvalidArgument(
            f"Expected model {model_name} to have a sampling_rate from 0 to 1; got {sampling.sampling_rate}."
        )
    if sampling.per_task_sampling_configs:
        _log.warning(
            "per_task_sampling_configs of model %s have no effect: this server is no task of a data centre.", model_name
        )
    return RequestLogConfig(collector.filename_prefix, sampling.sampling_rate, sampling.SerializeToString())
