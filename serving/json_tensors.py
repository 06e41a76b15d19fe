"""JSON → numpy as TF Serving's REST API reads a predict request: rows or columns.

Source: FillPredictRequestFromJson in tensorflow_serving/util/json_tensor.cc. Rows are first read at once; those that
do not fit together are read again one by one, in upstream's order, for the sentence that upstream would find.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import json_number_lists, json_parser
from serving.errors import InvalidArgument, ServingError
from serving.json_display import show
from serving.json_number_lists import NumberLists
from serving.json_values import MOST_DIMENSIONS, TooManyDimensions, decode_value, is_base64, regular_array
from serving.messages import TensorSpec


@dataclass(frozen=True)
class JsonRequest:
    """A request's body before its tensors are read.

    Attributes:
        signature_name: As sent; "" if it was not.
        document: The whole body; its keys decide between row and columnar format.
        may_hold_booleans: False where no `true` or `false` stands anywhere in the body.
        unread: The body, if `document` holds `NumberLists` where it has lists; they may turn out not to be what the
            signature wants.
    """

    signature_name: str
    document: dict[str, Any]
    may_hold_booleans: bool = True
    unread: bytes | None = None

    @property
    def is_row_format(self) -> bool:
        """Whether the answer is a list of predictions rather than named outputs."""
        return "instances" in self.document

    @property
    def input_names(self) -> Collection[str]:
        """The names of the inputs, as far as the body has names."""
        inputs = self.document.get("inputs") or self.document.get("instances")
        if isinstance(inputs, list) and inputs:
            inputs = inputs[0]
        return inputs.keys() if isinstance(inputs, dict) else ()


def parse_request(body: bytes) -> JsonRequest:
    """Parse a request body. What follows the first JSON value is ignored, as upstream does.

    Raises: InvalidArgument.
    """
    document = json_parser.parse(body)
    if not isinstance(document, dict):
        raise InvalidArgument(f"JSON Value: {show(document)} Is not object")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise InvalidArgument(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return JsonRequest(signature_name, document, may_hold_booleans=b"true" in body or b"false" in body)


def parse_predict_request(body: bytes) -> JsonRequest:
    """As `parse_request`, for `decode_inputs`: a tensor of numbers is read without making its lists where that can be.

    Raises: InvalidArgument.
    """
    return _parse_around_numbers(body) or parse_request(body)


def _parse_around_numbers(body: bytes) -> JsonRequest | None:
    parts = json_number_lists.split(body)
    if parts is None:
        return None
    text, numbers = parts
    try:
        request = parse_request(text)
    except InvalidArgument:
        return None  # Its offset, or what it shows, would be another.
    unplaced = dict(numbers)

    def with_numbers(value: Any) -> Any:
        return unplaced.pop(value, value) if isinstance(value, str) else value

    document = dict(request.document)
    for key in ("instances", "inputs"):
        value = document.get(key)
        if isinstance(value, dict):
            document[key] = {name: with_numbers(item) for name, item in value.items()}
        elif isinstance(value, list) and set(map(type, value)) == {dict}:
            document[key] = [{name: with_numbers(item) for name, item in row.items()} for row in value]
        elif key in document:
            document[key] = with_numbers(value)
    # One that is elsewhere is for the parser of lists to judge.
    return None if unplaced else JsonRequest(request.signature_name, document, request.may_hold_booleans, unread=body)


def _from_numbers(request: JsonRequest, inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray] | None:
    """The tensors, if they are as the signature says; None leaves it to the lists to tell why they are not."""
    if request.document.keys() >= {"instances", "inputs"}:
        return None
    value = request.document.get("instances", request.document.get("inputs"))
    columns: Mapping[str, Any] | None
    if request.is_row_format and isinstance(value, list):
        columns = _columns_of(value, inputs)
    elif isinstance(value, dict):
        columns = None if request.is_row_format else value
    else:
        columns = dict.fromkeys(inputs, value) if len(inputs) == 1 else None
    arrays = {}
    for name, spec in inputs.items():
        if columns is None or name not in columns:
            return None
        array = _array(columns[name], spec.dtype, request.may_hold_booleans)
        if array is None:
            return None
        arrays[name] = array
    return arrays


def _array(value: Any, dtype: int, may_hold_booleans: bool) -> np.ndarray | None:
    """As `regular_array`, also of a list of `NumberLists`."""
    if not isinstance(value, list) or NumberLists not in set(map(type, value)):
        return regular_array(value, dtype, may_hold_booleans)
    rows = [regular_array(row, dtype, may_hold_booleans) for row in value]
    if len({None if row is None else row.shape for row in rows}) > 1 or rows[0] is None:
        return None
    return np.stack([row for row in rows if row is not None])


def decode_inputs(request: JsonRequest, inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    """The request's tensors, typed as the signature says.

    Args:
        request: A parsed body.
        inputs: The signature's inputs by name.
    Raises: InvalidArgument or Unimplemented, in TF Serving's words.
    """
    if request.unread is not None:
        found = _from_numbers(request, inputs)
        if found:
            return found
        request = parse_request(request.unread)
    document = request.document
    if not inputs:
        raise InvalidArgument(f"Failed to get input map for signature: {request.signature_name or 'DEFAULT'}")
    if "instances" in document and "inputs" in document:
        raise InvalidArgument(
            f"JSON Value: {show(document)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise InvalidArgument(f"JSON Value: {show(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise InvalidArgument(f"JSON Value: {show(document)} No values in 'instances' array")
        return _from_rows(instances, inputs, request.may_hold_booleans)
    if "inputs" in document:
        return _from_columns(document["inputs"], inputs, request.may_hold_booleans)
    raise InvalidArgument("Missing 'inputs' or 'instances' key")


def _from_columns(value: Any, inputs: Mapping[str, TensorSpec], may_hold_booleans: bool) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(inputs) > 1:
            raise InvalidArgument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        value = {next(iter(inputs)): value}
    arrays = {}
    for name, spec in inputs.items():
        if name not in value:
            raise InvalidArgument(f"Missing named input: {name} in 'inputs' object.")
        array = regular_array(value[name], spec.dtype, may_hold_booleans)
        arrays[name] = decode_value(value[name], spec.dtype, name) if array is None else array
    return arrays


def _from_rows(
    instances: list[Any], inputs: Mapping[str, TensorSpec], may_hold_booleans: bool
) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise InvalidArgument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    columns = _columns_of(instances, inputs)
    if columns is not None:
        arrays = {}
        for name, column in columns.items():
            array = regular_array(column, inputs[name].dtype, may_hold_booleans)
            if array is None:
                break
            arrays[name] = array
        else:
            return arrays
    return _row_by_row(instances, inputs)


def _columns_of(instances: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, list[Any]] | None:
    """The rows turned on their side; None if they are not alike."""
    if not _is_named(instances[0]):
        return {next(iter(inputs)): instances}
    if set(map(type, instances)) != {dict} or set(map(len, instances)) != {len(inputs)}:
        return None
    try:
        return {name: [row[name] for row in instances] for name in inputs}
    except KeyError:
        return None


def _row_by_row(instances: list[Any], inputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    has_objects = _is_named(instances[0])
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (inputs if has_objects else list(inputs)[:1])}
    for index, item in enumerate(instances):
        if not has_objects:
            if _is_named(item):
                raise InvalidArgument(f"Expecting value/list but got object at item {index} of input list")
            ((name, found),) = rows.items()
            _add_row(found, item, name, inputs, f"element: {index}")
            continue
        if not _is_named(item):
            raise InvalidArgument(f"Expecting object but got list at item {index} of input list")
        for name, value in item.items():
            _add_row(rows.get(name), value, name, inputs, f"element: {index} key: {name}")
        if item.keys() != rows.keys():
            raise InvalidArgument(
                f"Failed to process element: {index} of 'instances' list. JSON object: {show(item)} "
                f"keys must be equal to: {','.join(sorted(rows))}"
            )
    return {name: _stack(found, name) for name, found in rows.items()}


def _add_row(
    found: list[np.ndarray] | None, value: Any, name: str, inputs: Mapping[str, TensorSpec], where: str
) -> None:
    try:
        if found is None:
            raise InvalidArgument(f"JSON object: does not have named input: {name}")
        row = decode_value(value, inputs[name].dtype, name)
        if found and row.size != found[0].size:
            raise InvalidArgument(f"Expecting tensor size: {found[0].size} but got: {row.size}")
        if found and row.shape != found[0].shape:
            raise InvalidArgument(f"Expecting shape {_shape_text(found[0].shape)} but got: {_shape_text(row.shape)}")
    except TooManyDimensions:
        raise
    except ServingError as error:
        raise InvalidArgument(f"Failed to process {where} of 'instances' list. Error: {error}") from error
    found.append(row)


def _stack(rows: list[np.ndarray], name: str) -> np.ndarray:
    if rows[0].ndim == MOST_DIMENSIONS:
        raise TooManyDimensions(name)
    return np.stack(rows)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(str(size) for size in shape) + "]"


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)
