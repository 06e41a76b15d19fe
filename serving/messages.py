"""What travels between a transport and the core: no protobuf, no JSON, no TensorFlow."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.status import Code

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class ModelSpec:
    """Which model a request is for.

    Attributes:
        name: The model.
        version: An exact version; None asks for the label's, or the highest available.
        version_label: A label that the configuration gives to a version; looked at when `version` is None.
        signature_name: Which signature; "" means the default one.
    """

    name: str
    version: int | None = None
    version_label: str | None = None
    signature_name: str = ""


@dataclass(frozen=True, order=True)
class ServableId:
    """One version of one model."""

    name: str
    version: int


@dataclass(frozen=True)
class PredictRequest:
    """One Predict call.

    Attributes:
        model: Which model, version and signature.
        inputs: Arrays by input name. May decode lazily: reading an item may raise InvalidArgument.
        output_filter: Names of the wanted outputs; empty asks for all of them.
    """

    model: ModelSpec
    inputs: Mapping[str, np.ndarray]
    output_filter: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """The answer to a Predict call, with what was really used to compute it."""

    servable: ServableId
    signature_name: str
    outputs: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Classification:
    """The answer to a Classify call.

    Attributes:
        servable: The version that answered.
        signature_name: The signature that was used, default filled in.
        classes: Labels, bytes, `[examples, classes]`; None if the signature has none.
        scores: float32 `[examples, classes]`; None if the signature has none.
    """

    servable: ServableId
    signature_name: str
    classes: np.ndarray | None
    scores: np.ndarray | None


@dataclass(frozen=True)
class Regression:
    """The answer to a Regress call.

    Attributes:
        servable: The version that answered.
        signature_name: The signature that was used, default filled in.
        values: float32 `[examples]`.
    """

    servable: ServableId
    signature_name: str
    values: np.ndarray


@dataclass(frozen=True)
class InferenceTask:
    """One of the things that a MultiInference call asks of the same examples.

    Attributes:
        model: Model and signature; the version of a call is that of its first task.
        method_name: "tensorflow/serving/classify" or "tensorflow/serving/regress".
    """

    model: ModelSpec
    method_name: str


@dataclass(frozen=True)
class ModelMetadata:
    """What a version says about itself.

    Attributes:
        servable: The version that was described.
        signature_def_map: A serialized `tensorflow.serving.SignatureDefMap` of all its signatures.
    """

    servable: ServableId
    signature_def_map: bytes


class State(enum.IntEnum):
    """Where a version is in its life, numbered as in get_model_status.proto."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """One version's state, and why it failed if it did."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature.

    Attributes:
        name: The tensor's name in the graph, such as "serving_default_x:0".
        dtype: TensorFlow's number of its type (types.proto).
        shape: Sizes, -1 where any size goes; None where even the rank is open.
    """

    name: str
    dtype: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    """One way to call a model: what goes in and what comes out, in alphabetical order of their names."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = ""
    defaults: Mapping[str, np.ndarray] = field(default_factory=dict)
    debug_string: str = ""
