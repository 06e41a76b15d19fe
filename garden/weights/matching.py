"""Which tensor of a file belongs to which of a network: by names, else by order, and always by shapes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np

from garden.errors import WeightsError
from garden.weights import bias_folding, report
from garden.weights.report import TensorRecord
from garden.weights.tensor_files import StoredTensor, TensorFile

_NAMED_IN_ERRORS = 8

Transform = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Target:
    """A layer that owns weights."""

    layer: keras.layers.Layer
    is_head: bool
    is_stem: bool

    @property
    def name(self) -> str:
        return self.layer.name

    @property
    def roles(self) -> dict[str, keras.Variable]:
        """What each variable is to the layer → the variable, in the layer's order."""
        return {variable.name: variable for variable in self.layer.weights}


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A tensor of the file for a variable of the network."""

    variable: keras.Variable
    stored: StoredTensor
    transform: Transform
    record: TensorRecord


@dataclasses.dataclass(frozen=True)
class Plan:
    """What shall become of every tensor."""

    assignments: tuple[Assignment, ...]
    records: tuple[TensorRecord, ...]


def plan(
    model: keras.Model,
    file: TensorFile,
    *,
    head_layers: Iterable[str],
    foreign_names: Mapping[str, tuple[str, ...]],
) -> Plan:
    """Decide where each tensor of `file` goes. Reads no numbers and changes nothing.

    Only layers of the head may stay as they are; every other tensor of the network must find its like.

    Args:
        head_layers: Names of the layers that are new where they do not fit.
        foreign_names: Our layer names → names in files of other programs. "conv2d#3" stands for the fourth of the
            layers that Keras itself named "conv2d", "conv2d_1" and so on, whatever number it began with.
    Raises: WeightsError, if a tensor outside the head finds none; the sentence names such tensors.
    """
    targets = _targets(model, frozenset(head_layers))
    body = [target for target in targets if not target.is_head]
    layers = _by_layer(file, targets)
    pairs = _pairs_by_name(targets, layers, foreign_names)
    # Some names alone prove nothing: Keras numbers unnamed layers anew in every process.
    if not all(target.name in pairs for target in body):
        ordered = _pairs_by_order(model, targets, layers, file)
        fits = ordered and all(_fit(target, layers[ordered[target.name]])[0] for target in body)
        pairs = ordered if ordered and (fits or not pairs) else pairs
    _pair_lone_head(targets, layers, pairs)

    assignments: list[Assignment] = []
    records: list[TensorRecord] = []
    misfits: list[str] = []
    for target in targets:
        found, why = _fit(target, layers.get(pairs.get(target.name, ""), []))
        assignments.extend(found)
        records.extend(assignment.record for assignment in found)
        if not found and target.is_head:
            for role, variable in target.roles.items():
                name = f"{target.name}/{role}"
                reason = why.get(name, "goes with the rest of its layer")
                records.append(TensorRecord(report.INITIALISED, name, tuple(variable.shape), reason=reason))
        elif not found:
            shapes = {f"{target.name}/{role}": variable.shape for role, variable in target.roles.items()}
            misfits.extend(f"{name} {report.shape_text(shapes[name])} ({reason})" for name, reason in why.items())
    if misfits:
        raise WeightsError(_misfit_sentence(model, file, misfits, sum(len(target.roles) for target in targets)))
    partners = [(target.layer, layers.get(pairs.get(target.name, ""), [])) for target in targets]
    assignments, folded = bias_folding.fold(assignments, partners)
    records.extend(folded.values())
    used = {*(id(assignment.stored) for assignment in assignments), *folded}
    records.extend(
        TensorRecord(report.LEFT_OUT, stored_name=tensor.name, stored_shape=tensor.shape, reason=_why_left(tensor))
        for tensor in file.tensors
        if id(tensor) not in used and not _is_regrouped(tensor, assignments)
    )
    return Plan(tuple(assignments), tuple(records))


def _why_left(tensor: StoredTensor) -> str:
    return "a counter that Keras does not keep" if tensor.role == "num_batches_tracked" else ""


def _is_regrouped(tensor: StoredTensor, assignments: Sequence[Assignment]) -> bool:
    """Whether a tensor without a layer was assigned under the layer that its place gave it."""
    return not tensor.layer and any(assignment.stored.name == tensor.name for assignment in assignments)


def _targets(model: keras.Model, head_layers: frozenset[str]) -> list[Target]:
    layers = [layer for layer in model.layers if layer.weights]
    inner = [layer.name for layer in layers if isinstance(layer, keras.Model)]
    if inner:
        raise ValueError(f"`model` must hold no model inside. Received: the inner model {inner[0]!r}.")
    return [
        Target(layer, is_head=layer.name in head_layers, is_stem=position == 0) for position, layer in enumerate(layers)
    ]


def _by_layer(file: TensorFile, targets: Sequence[Target]) -> dict[str, list[StoredTensor]]:
    """Tensors of the file by the layer that owns them, in the file's order."""
    layers: dict[str, list[StoredTensor]] = {}
    if not any(tensor.layer for tensor in file.tensors):
        return _by_place(file, targets)
    for tensor in file.tensors:
        layers.setdefault(tensor.layer, []).append(tensor)
    return layers


def _by_place(file: TensorFile, targets: Sequence[Target]) -> dict[str, list[StoredTensor]]:
    """Tensors without names, dealt out to layers as many as each has weights."""
    layers: dict[str, list[StoredTensor]] = {}
    waiting = list(file.tensors)
    for place, target in enumerate(targets):
        count = len(target.roles)
        taken, waiting = waiting[:count], waiting[count:]
        if taken:
            # No layer has this name, so that nothing is paired by it.
            layers[f"\0{place}"] = [dataclasses.replace(tensor, role=str(index)) for index, tensor in enumerate(taken)]
    if waiting:
        layers["\0rest"] = waiting
    return layers


def _pairs_by_name(
    targets: Sequence[Target],
    layers: Mapping[str, list[StoredTensor]],
    foreign_names: Mapping[str, tuple[str, ...]],
) -> dict[str, str]:
    counted = {name.partition("#")[0] for names in foreign_names.values() for name in names if "#" in name}
    numbered = {f"{base}#{place}": name for base in counted for place, name in enumerate(_numbered(base, layers))}
    pairs = {}
    for target in targets:
        for name in (target.name, *foreign_names.get(target.name, ())):
            name = numbered.get(name, name)
            if name in layers:
                pairs[target.name] = name
                break
    return pairs


def _numbered(base: str, names: Iterable[str]) -> list[str]:
    """Those of the names that are the base or the base and a number, by their numbers.

    Keras numbers layers without names through a whole session, so that only their order says which is which.
    """
    found = {name: re.fullmatch(rf"{re.escape(base)}(?:_(\d+))?", name) for name in names}
    numbers = {name: int(match[1] or 0) for name, match in found.items() if match}
    return sorted(numbers, key=lambda name: numbers[name])


def _pairs_by_order(
    model: keras.Model, targets: Sequence[Target], layers: Mapping[str, list[StoredTensor]], file: TensorFile
) -> dict[str, str] | None:
    """Layer by layer, where the file has an order that can only mean one thing; None where it has not."""
    if file.order == "graph" or (file.order == "written" and not has_interchangeable_layers(model)):
        return _zip_layers(targets, list(layers))
    if file.order != "class":
        return None
    pairs: dict[str, str] = {}
    for kind in sorted({_class_of(target.layer) for target in targets}):
        ours = [target for target in targets if _class_of(target.layer) == kind]
        theirs = [name for name, tensors in layers.items() if tensors[0].layer_class == kind]
        found = _zip_layers(ours, theirs)
        if found is None:
            return None
        pairs.update(found)
    return pairs


def _class_of(layer: keras.layers.Layer) -> str:
    """A layer's class as `.weights.h5` spells it."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()


def has_interchangeable_layers(model: keras.Model) -> bool:
    """Whether two layers with the same shapes stand side by side, neither reading the other's output.

    Which of them a file writes first is then a matter of taste.
    """
    before: dict[int, int] = {}  # Tensor → which weighted layers it depends on, one bit each.
    seen: dict[tuple[tuple[int, ...], ...], list[int]] = {}  # Shapes → the bits of the layers that have them.
    bit = 1
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            ancestors = 0
            for tensor in node.input_tensors:
                ancestors |= before[id(tensor)]
            shapes = tuple(tuple(variable.shape) for variable in getattr(node.operation, "weights", ()))
            if shapes:
                # Nodes come in the order of the graph: an earlier like that is no ancestor stands beside.
                if any(not ancestors & earlier for earlier in seen.get(shapes, [])):
                    return True
                seen.setdefault(shapes, []).append(bit)
                ancestors |= bit
                bit <<= 1
            before.update((id(tensor), ancestors) for tensor in node.output_tensors)
    return False


def _zip_layers(targets: Sequence[Target], names: Sequence[str]) -> dict[str, str] | None:
    body = [target for target in targets if not target.is_head]
    # As many layers as ours, or ours without the head, or with another head.
    if len(names) < len(body) or len(names) > len(targets):
        return None
    return {target.name: name for target, name in zip(targets, names, strict=False)}


def _pair_lone_head(targets: Sequence[Target], layers: Mapping[str, list[StoredTensor]], pairs: dict[str, str]) -> None:
    """Pair a single layer of the head that found none with the single layer that nobody took."""
    heads = [target for target in targets if target.is_head and target.name not in pairs]
    left = [name for name in layers if name not in pairs.values()]
    if pairs and len(heads) == len(left) == 1:
        pairs[heads[0].name] = left[0]


def _fit(target: Target, stored: Sequence[StoredTensor]) -> tuple[list[Assignment], dict[str, str]]:
    """Assignments for all variables of a layer; or none, and for each that does not fit the reason."""
    by_role = {tensor.role: tensor for tensor in stored}
    assignments: list[Assignment] = []
    why: dict[str, str] = {}
    for index, (role, variable) in enumerate(target.roles.items()):
        name, shape = f"{target.name}/{role}", tuple(variable.shape)
        tensor = next((by_role[key] for key in (role, *_other_roles(role, index)) if key in by_role), None)
        found = None if tensor is None else _transform(target, tensor, shape)
        if tensor is None:
            why[name] = "nothing like it in the file"
        elif found is None:
            why[name] = f"the file's {tensor.name} is {report.shape_text(tensor.shape)}"
        else:
            fate, transform = found
            record = TensorRecord(fate, name, shape, tensor.name, tensor.shape)
            assignments.append(Assignment(variable, tensor, transform, record))
    return ([], why) if why else (assignments, why)


def _other_roles(role: str, index: int) -> tuple[str, ...]:
    """What else a file may call a variable: the name in PyTorch or elsewhere, or its number within the layer."""
    others = {
        "kernel": ("weight",),
        "gamma": ("weight",),
        "beta": ("bias",),
        "depthwise_kernel": ("kernel",),  # As `split_name` calls it, for layers that have no other kernel.
    }
    return (*others.get(role, ()), str(index))


def _transform(target: Target, tensor: StoredTensor, shape: tuple[int, ...]) -> tuple[str, Transform] | None:
    """How the tensor gets our shape; None if it cannot."""
    transform, converted = _layout(target, tensor, shape)
    fate = report.MATCHED if transform is _unchanged else report.TRANSPOSED
    if converted == shape:
        return fate, transform
    if target.is_stem and len(shape) == len(converted) == 4 and converted[2] == 3:
        if (*converted[:2], 1, converted[3]) == shape:
            return report.ADAPTED, lambda array: transform(array).sum(axis=2, keepdims=True)
        if (*converted[:2], 4, converted[3]) == shape:
            return report.ADAPTED, lambda array: np.pad(transform(array), ((0, 0), (0, 0), (0, 1), (0, 0)))
    return None


def _unchanged(array: np.ndarray) -> np.ndarray:
    return array


def _layout(target: Target, tensor: StoredTensor, shape: tuple[int, ...]) -> tuple[Transform, tuple[int, ...]]:
    """From the file's order of axes to ours, and the shape that this gives.

    PyTorch's "weight" has outputs before inputs before space; a "kernel" has Keras' order.
    """
    stored = tensor.shape
    if isinstance(target.layer, keras.layers.Dense) and len(stored) == 4:
        return _as_dense(tensor)
    if tensor.role != "weight" or len(stored) < 2:
        return _unchanged, stored
    if len(stored) == 2:
        places = _flattened_map(target.layer)
        outputs, inputs = stored
        if places is None or inputs != places[0] * places[1] * places[2]:
            return np.transpose, (inputs, outputs)
        height, width, channels = places
        # PyTorch flattens channel by channel, we position by position.
        return (
            lambda array: (
                array.reshape(outputs, channels, height, width).transpose(2, 3, 1, 0).reshape(inputs, outputs)
            ),
            (inputs, outputs),
        )
    space = tuple(range(2, len(stored)))
    if type(target.layer).__name__.startswith("DepthwiseConv"):
        multiplier = shape[-1]
        if stored[1] != 1 or stored[0] % multiplier:
            return _unchanged, stored
        split = (stored[0] // multiplier, multiplier, *stored[2:])
        axes = (*space, 0, 1)
        return lambda array: array.reshape(split).transpose(axes), (*stored[2:], *split[:2])
    axes = (*space, 1, 0)
    return lambda array: array.transpose(axes), tuple(stored[axis] for axis in axes)


def _as_dense(tensor: StoredTensor) -> tuple[Transform, tuple[int, ...]]:
    """A 1×1 convolution on a map of one position, which is what some programs use in place of a dense layer."""
    height, width, inputs, outputs = tensor.shape
    if tensor.role == "weight":
        outputs, inputs, height, width = tensor.shape
    if (height, width) != (1, 1):
        return _unchanged, tensor.shape
    if tensor.role == "weight":
        return lambda array: array.reshape(outputs, inputs).T, (inputs, outputs)
    return lambda array: array.reshape(inputs, outputs), (inputs, outputs)


def _flattened_map(layer: keras.layers.Layer) -> tuple[int, int, int] | None:
    """Height, width and channels of the map that a dense layer reads flattened; None if it reads none."""
    before = layer.input._keras_history.operation if isinstance(layer, keras.layers.Dense) else None
    if not isinstance(before, keras.layers.Flatten) or len(before.input.shape) != 4:
        return None
    return tuple(before.input.shape[1:])


def _misfit_sentence(model: keras.Model, file: TensorFile, misfits: Sequence[str], count: int) -> str:
    shown = "; ".join(misfits[:_NAMED_IN_ERRORS])
    more = f"; and {len(misfits) - _NAMED_IN_ERRORS} more" if len(misfits) > _NAMED_IN_ERRORS else ""
    return (
        f"{file.path} does not hold the weights of {model.name}: {len(misfits)} of its {count} tensors did "
        f"not fit: {shown}{more}. Only the head may differ. Give weights of the same architecture and, where "
        "its size depends on it, the same input shape."
    )
