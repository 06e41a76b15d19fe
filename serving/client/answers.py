"""What a server answered, in plain types: numpy arrays, and which version of which model it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serving.messages import Signature


@dataclass(frozen=True)
class Prediction:
    """The answer to `predict`.

    Attributes:
        name: The model that answered.
        version: Its version; None where the server does not tell (stock TF Serving over REST).
        signature: The signature that was used.
        outputs: Arrays by output name; strings as object arrays of bytes.
    """

    name: str
    version: int | None
    signature: str
    outputs: Mapping[str, np.ndarray]

    def __getitem__(self, output: str) -> np.ndarray:
        return self.outputs[output]


@dataclass(frozen=True)
class Classification:
    """The answer to `classify`.

    Attributes:
        name, version, signature: As in `Prediction`.
        classes: Labels, an object array of bytes `[examples, classes]`; b"" where the model names none.
        scores: float32 `[examples, classes]`.
    """

    name: str
    version: int | None
    signature: str
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Regression:
    """The answer to `regress`: `values` is float32 `[examples]`, the rest as in `Prediction`."""

    name: str
    version: int | None
    signature: str
    values: np.ndarray


@dataclass(frozen=True)
class Metadata:
    """The answer to `metadata`: every signature of the version, by name."""

    name: str
    version: int
    signatures: Mapping[str, Signature]
