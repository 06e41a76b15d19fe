"""Which models' REST requests are answered where they arrive: a handover to a thread would cost more.

`Inference.is_quick` knows how long the model computes. Here it is about the rest: JSON of a small request can ask for
an answer of megabytes, whose text takes long although its numbers do not.
"""

from __future__ import annotations

from serving.messages import ModelSpec

# JSON costs more than gRPC's bytes; still less than a handover with its wait for the interpreter's lock.
_QUICK_SECONDS = 5e-4
_WEIGHT_OF_THE_LAST = 0.2
# Clients that ask for every version ever made shall not fill the memory.
_MOST_MODELS = 1000


class QuickModels:
    """How long the answers of each model took; only the event loop's thread may use it."""

    def __init__(self) -> None:
        self._mean_seconds: dict[ModelSpec, float] = {}

    def record(self, spec: ModelSpec, seconds: float) -> None:
        """Count an answer.

        Args:
            spec: The model, as its path names it.
            seconds: Processor time of parsing, decoding and writing it.
        """
        if len(self._mean_seconds) >= _MOST_MODELS:
            self._mean_seconds.clear()
        mean = self._mean_seconds.get(spec, seconds)
        self._mean_seconds[spec] = mean + _WEIGHT_OF_THE_LAST * (seconds - mean)

    def is_quick(self, spec: ModelSpec) -> bool:
        """Whether its answers have been quick so far; not before there was one."""
        return self._mean_seconds.get(spec, _QUICK_SECONDS) < _QUICK_SECONDS
