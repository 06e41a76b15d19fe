"""A functional model's graph as a flat list of calls, models inside it entered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of one operation, with the slots that it reads and fills.

    Args:
        path: Of its first output; "" of what inspection itself puts between.
        call: Slots' values to the outputs.
        operation: The Keras layer or operation; None of a change of form.
        reads: Slots of its inputs.
        fills: Slots of its outputs.
    """

    path: str
    call: Callable[[dict[int, Any]], list[Any]]
    operation: Any
    reads: tuple[int, ...]
    fills: tuple[int, ...]


class UnrolledGraph:
    """A functional model as calls between numbered slots; slot 0 holds the picture.

    Args:
        model: What `graph_of` gives.
    """

    def __init__(self, model: Any) -> None:
        self.steps: list[Step] = []
        self.slot_of: dict[str, int] = {}
        """Path → the slot of its output."""
        self._slots = 1
        self._counts: dict[str, int] = {}
        self.outputs = self._unroll(model, "", [0])
        """The slots of the model's outputs."""

    def add(self, call: Callable[[Any], Any], read: int, *, operation: Any = None) -> int:
        """Append a step of our own that makes one output from one slot. Returns: the slot that it fills."""
        new = self.new_slot()
        self.steps.append(Step("", lambda values: [call(values[read])], operation, (read,), (new,)))
        return new

    def new_slot(self) -> int:
        """The number of a slot that nothing fills yet."""
        self._slots += 1
        return self._slots - 1

    def step_filling(self, slot: int) -> Step | None:
        """The step whose output `slot` holds; None for the picture."""
        return next((step for step in self.steps if slot in step.fills), None)

    def _unroll(self, model: Any, prefix: str, given: list[int]) -> list[int]:
        slots = {id(tensor): slot for tensor, slot in zip(model.inputs, given, strict=True)}
        # Keras offers its graph under no public name. The nodes are deepest, that is nearest to the input, first.
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input or any(id(tensor) not in slots for tensor in node.input_tensors):
                    continue
                path = self._new_path(prefix + node.operation.name)
                reads = [slots[id(tensor)] for tensor in node.input_tensors]
                inner = graph_of(node.operation)
                if inner is not None and len(inner.inputs) == len(reads):
                    entered = [self._cast(slot, tensor.dtype) for slot, tensor in zip(reads, inner.inputs, strict=True)]
                    fills = self._unroll(inner, path + "/", entered)
                else:
                    fills = [self.new_slot() for _ in node.outputs]
                    self.steps.append(Step(path, _caller(node, reads), node.operation, tuple(reads), tuple(fills)))
                for place, slot in enumerate(fills):
                    self.slot_of[path if place == 0 else f"{path}:{place}"] = slot
                slots.update((id(tensor), slot) for tensor, slot in zip(node.outputs, fills, strict=True))
        return [slots[id(tensor)] for tensor in model.outputs]

    def _new_path(self, path: str) -> str:
        count = self._counts.get(path, 0)
        self._counts[path] = count + 1
        return path if count == 0 else f"{path}@{count}"

    def _cast(self, slot: int, dtype: str) -> int:
        """An inner model's input takes what it declares, whatever precision comes in."""
        return self.add(lambda value: tf.cast(value, dtype), slot)


def graph_of(model: Any) -> Any:
    """The graph of a functional or Sequential model that runs as its graph says; None for anything else."""
    if isinstance(model, keras.Sequential):
        return getattr(model, "_functional", None)
    functional = keras.src.models.Functional
    if isinstance(model, functional) and type(model).call is functional.call:
        return model
    return None


def _caller(node: Any, reads: list[int]) -> Callable[[dict[int, Any]], list[Any]]:
    operation, arguments = node.operation, node.arguments
    ids = [id(tensor) for tensor in node.input_tensors]
    options = {"training": False} if getattr(operation, "_call_has_training_arg", False) else {}

    def call(values: dict[int, Any]) -> list[Any]:
        args, kwargs = arguments.fill_in({key: values[slot] for key, slot in zip(ids, reads, strict=True)})
        return list(keras.tree.flatten(operation(*args, **{**kwargs, **options})))

    return call
