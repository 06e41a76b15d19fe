"""Replays the requests that a model brings along, so that its first client does not pay for the first run.

Source: TF Serving's SavedModel warm-up: `assets.extra/tf_serving_warmup_requests`, a TFRecord file of
`tensorflow.serving.PredictionLog`. Of a record only the request counts, and of its model spec only the signature: what
is warmed up is the version being loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving import proto_messages
from serving.errors import DataLoss, InvalidArgument, Unimplemented
from serving.execution import Execution
from serving.messages import ServableId
from serving.servable import Servable

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_WARMUP_RECORDS = 1000

_SHOWN_BYTES = 1024
_NEVER_REPLAYED = ("session_run_log", "predict_streamed_log")


def replay(execution: Execution, id: ServableId, servable: Servable, path: Path, *, iterations: int = 1) -> int:
    """Run the warm-up requests of the SavedModel in `path`.

    Args:
        execution: Runs them, as it runs any request.
        id: The version being loaded, not yet available.
        servable: What it was loaded into.
        path: Its directory.
        iterations: How often each request runs.
    Returns: the number of records; 0 if the model brings none.
    Raises: ServingError: a warm-up request that fails fails the load.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    warmup_path = path / WARMUP_FILE
    if not warmup_path.is_file():
        return 0
    count = 0
    for count, record in enumerate(_records(warmup_path), start=1):  # noqa: B007  (returned below)
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except Exception as error:
            shown = record[:_SHOWN_BYTES].decode("latin-1")
            raise InvalidArgument(f"Failed to parse warmup record: {shown} from {warmup_path}") from error
        for _ in range(max(1, iterations)):
            _run(execution, id, servable, log)
        # As upstream, which finds that there is one too many once it has run.
        if count > MAX_WARMUP_RECORDS:
            raise InvalidArgument(
                f"Number of warmup records exceeds the maximum ({MAX_WARMUP_RECORDS}) at {warmup_path}"
            )
    return count


def _records(path: Path) -> Iterator[bytes]:
    import tensorflow as tf

    try:
        # TFRecordDataset's errors would name its own operations.
        yield from tf.compat.v1.io.tf_record_iterator(str(path))
    except tf.errors.DataLossError as error:
        raise DataLoss(f"{error.message}. Please verify your warmup data is in TFRecord format.") from error


def _run(execution: Execution, id: ServableId, servable: Servable, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind in _NEVER_REPLAYED:
        raise Unimplemented(f"Unsupported log_type for warmup: {log.DESCRIPTOR.fields_by_name[kind].number}")
    if kind is None:
        return  # as upstream: a record without a request asks for nothing
    request = getattr(log, kind).request
    if kind == "multi_inference_log":
        tasks = proto_messages.inference_tasks(request)
        execution.multi_infer(id, servable, tasks, lambda: proto_messages.serialized_examples(request))
        return
    spec = proto_messages.read_model_spec(request.model_spec)
    if kind == "predict_log":
        execution.predict(id, servable, proto_messages.predict_request(request, log.ByteSize(), model=spec))
    elif kind == "classify_log":
        execution.classify(id, servable, spec, lambda: proto_messages.serialized_examples(request))
    elif kind == "regress_log":
        execution.regress(id, servable, spec, lambda: proto_messages.serialized_examples(request))
