"""InspectedNetwork: any functional Keras model, seen flat, with each operation's output under a path."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import difflib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec

# The prepared picture, and what the network says of its classes before softmax.
INPUT = "(input)"
SCORES = "(logits)"

_PROBABILITIES = ("softmax", "sigmoid")
# As functions and operations are called elsewhere.
_OTHER_NAMES = {"softmax_v2": "softmax", "log_softmax": "softmax", "log_softmax_v2": "softmax", "logsoftmax": "softmax"}
# After these, numbers are not squeezed into 0..1: they may be explained as they are.
_LINEAR_ENDS = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Rescaling,
    keras.layers.Dropout,
    keras.layers.Add,
    keras.layers.Average,
)


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


class InspectedNetwork:
    """A functional Keras model as inspection sees it: flat, in inference mode, never changed.

    Nested models and `Sequential`s are entered: their layers' paths are `"backbone/conv1"`; the nested model's own
    path stands for its output. What is called again has the path `"conv1@1"`, `"backbone@1/conv1"`, and so on;
    further outputs of one operation are `"split:1"`, `"split:2"`. `INPUT` is the prepared picture, `SCORES` the class
    scores before softmax: where the model ends in a softmax or sigmoid, what goes into it. Where it ends in something
    else that is not linear, and is not called "logits", they are its output as it is: `score_kind` is "output" then.

    Args:
        model: Any functional `keras.Model` or `keras.Sequential` with one picture as its input. Its weights are
            shared; nothing of it is changed.
        image_spec: The pixels that the model expects. Left out, it expects RGB (or luminance) within 0..255.
        labels: Class names in the order of the scores.
        output: Which of several outputs holds the scores, counted from 0.
    Raises: InspectionError, if the model has no graph to follow, several inputs, or no such output.
    """

    def __init__(
        self,
        model: keras.Model,
        image_spec: ImageSpec | None = None,
        *,
        labels: Sequence[str] | None = None,
        output: int = 0,
    ) -> None:
        graph = _graph_of(model)
        if graph is None:
            raise InspectionError(
                f"The model '{model.name}' is a subclass of keras.Model without a graph of layers; inspection follows "
                "functional and Sequential models. Build it as keras.Model(inputs, outputs), or name a functional part."
            )
        if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in graph.inputs)
            raise InspectionError(
                f"The model '{model.name}' takes {shapes}; inspection needs one input of pictures, (batch, height, "
                "width, channels). Name the part of the model that takes them."
            )
        if not 0 <= output < len(graph.outputs):
            raise InspectionError(
                f"The model '{model.name}' has {len(graph.outputs)} outputs; there is no output {output}. "
                "Outputs count from 0."
            )
        self.model = model
        self.labels = None if labels is None else tuple(labels)
        self._steps: list[Step] = []
        self._slot_of: dict[str, int] = {INPUT: 0}
        self._slots = 1
        self._functions: dict[Hashable, Any] = {}
        self._remembered: dict[Hashable, Any] = {}
        self._plans: dict[Hashable, list[Step]] = {}
        self._shapes: dict[str, tuple[int | None, ...]] | None = None
        self._counts: dict[str, int] = {}
        self._values: tuple[tuple[Any, tf.Variable], ...] = ()
        shape = tuple(graph.inputs[0].shape[1:])
        if image_spec is None:
            image_spec = _plain_spec(model, shape)
        expected = image_spec.input_shape
        if any(known not in (None, wanted) for known, wanted in zip(shape, expected, strict=True)):
            raise InspectionError(
                f"The model '{model.name}' takes pictures of {shape}, but the ImageSpec makes {expected}; both must be "
                "equal. Give the ImageSpec of this model."
            )
        self.image_spec = image_spec
        self._outer_dtype = graph.inputs[0].dtype
        outputs = self._unroll(graph, "", [0])
        self._find_scores(outputs[output])

    # ------------------------------------------------------------------ what there is

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all operations' outputs, from the input on, nested models' own ones included."""
        return tuple(path for path in self._slot_of if path not in (INPUT, SCORES))

    @property
    def own_paths(self) -> tuple[str, ...]:
        """`paths` without those of nested models, which are second names of what an inner operation fills."""
        taken: dict[int, str] = {}
        for path in self.paths:
            taken.setdefault(self._slot_of[path], path)
        return tuple(taken.values())

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a prepared picture."""
        return self.image_spec.input_shape

    @property
    def num_classes(self) -> int:
        """How many scores there are."""
        return int(self.shape_of(SCORES)[-1] or 0)

    @property
    def has_probabilities(self) -> bool:
        """Whether `probabilities` are some: not those of an output explained as it is, nor of a single linear one."""
        return self.score_kind == "logits" and self.num_classes > 1

    def check_path(self, path: str) -> str:
        """`path`, if it is one.

        Raises: InspectionError, if it is none; the sentence names those that are similar.
        """
        if path in self._slot_of:
            return path
        close = difflib.get_close_matches(path, self.paths, n=1, cutoff=0.4)
        within = [known for known in self.paths if known.endswith("/" + path)]
        hint = f" Did you mean '{(within or close)[0]}'?" if within or close else ""
        raise InspectionError(
            f"The network '{self.model.name}' has no layer '{path}'; a layer is named as its model names it, those of "
            f"an inner model as 'model/layer'.{hint} `garden inspect … --list-layers` names all."
        )

    def operation_of(self, path: str) -> Any:
        """The Keras layer or operation that fills `path`; for a nested model's path, its last operation."""
        slot = self._slot_of[self.check_path(path)]
        return next((step.operation for step in self._steps if slot in step.fills), None)

    def shape_of(self, path: str) -> tuple[int | None, ...]:
        """Shape of a path's output for pictures of the network's size, without the batch."""
        if self._shapes is None:
            found: dict[str, tuple[int | None, ...]] = {}
            everything = list(self._slot_of)

            @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *self.input_shape), tf.float32)])
            def trace(x: tf.Tensor) -> tf.Tensor:
                for name, tensor in self.run(x, everything).items():
                    found[name] = tuple(tensor.shape[1:])
                return x

            trace.get_concrete_function()
            self._shapes = found
        return self._shapes[self.check_path(path)]

    def map_paths(self) -> tuple[str, ...]:
        """Paths whose output is a map, (height, width, channels), with more than one position."""
        return tuple(
            path
            for path in self.own_paths
            if len(shape := self.shape_of(path)) == 3
            and (shape[0] or 2) * (shape[1] or 2) > 1
            and not isinstance(self.operation_of(path), (keras.layers.Dropout, keras.layers.SpatialDropout2D))
        )

    def last_map_path(self) -> str:
        """The deepest map before the network forgets where things are; the layer that Grad-CAM explains.

        Raises: InspectionError, if no layer gives a map.
        """
        maps = [path for path in self.map_paths() if self._depends(SCORES, path) and not self._is_class_map(path)]
        if not maps:
            raise InspectionError(
                f"No layer of '{self.model.name}' gives a map of positions (height, width, channels), which this "
                "method needs. Choose another method."
            )
        return maps[-1]

    def convolution_paths(self) -> tuple[str, ...]:
        """Paths of the convolutions over pictures, from the input on."""
        found = []
        for step in self._steps:
            if hasattr(step.operation, "kernel") and len(step.operation.kernel.shape) == 4:
                found.append(step.path)
        return tuple(found)

    def features_path(self) -> str:
        """The last vector before the scores: the picture's code. The pooled last map where there is none before it."""
        vectors = [
            path
            for path in self.own_paths
            if len(self.shape_of(path)) == 1
            and self._slot_of[path] not in self._score_slots
            and self._depends(SCORES, path)
        ]
        # Dropout and flattening repeat the vector; what comes after the scores does not reach here.
        vectors = [path for path in vectors if not isinstance(self.operation_of(path), keras.layers.Dropout)]
        wide = [path for path in vectors if self.shape_of(path)[-1] != self.num_classes]
        return (wide or vectors or [self.last_map_path()])[-1]

    # ------------------------------------------------------------------ running it

    def run(
        self, x: tf.Tensor | None, paths: Sequence[str], *, given: Mapping[str, tf.Tensor] | None = None
    ) -> dict[str, tf.Tensor]:
        """Outputs of paths, in inference mode. Only what they depend on runs; call it inside a `tf.function`.

        Args:
            x: Prepared pictures, `(batch, height, width, channels)`; None where `given` is all that is needed. Any
                height and width that the layers in between can take.
            paths: What is wanted; `INPUT` and `SCORES` are paths too.
            given: Outputs that are not computed but put in place: path → tensor. Runs the rest of the network from
                there.
        Returns: path → tensor.
        Raises: InspectionError, if a path does not exist, or needs a picture where `x` is None.
        """
        given = dict(given or {})
        values: dict[int, Any] = {self._slot_of[self.check_path(path)]: value for path, value in given.items()}
        if x is not None:
            values.setdefault(0, tf.cast(x, self._outer_dtype))
        with keras.StatelessScope(state_mapping=self._values) if self._values else contextlib.nullcontext():
            for step in self._plan(tuple(paths), tuple(given), x is not None):
                for slot, value in zip(step.fills, step.call(values), strict=True):
                    values.setdefault(slot, value)
        return {path: values[self._slot_of[path]] for path in paths}

    @property
    def steps(self) -> tuple[Step, ...]:
        """All calls of all operations, in the order in which they run."""
        return tuple(self._steps)

    def slot_of(self, path: str) -> int:
        """The slot that holds the output of `path`; `steps` read and fill slots."""
        return self._slot_of[self.check_path(path)]

    def remembered(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make()` found out about this network, found out once."""
        if key not in self._remembered:
            self._remembered[key] = make()
        return self._remembered[key]

    def weighted_operations(self) -> tuple[tuple[str, Any], ...]:
        """Paths and operations that have weights, from the input on, each once: where it is used last."""
        last = {id(step.operation): step for step in self._steps if getattr(step.operation, "weights", ())}
        # Scores are also computed by a step of ours on a layer of theirs.
        named = {id(step.operation): step.path for step in self._steps if step.path}
        return tuple((named[key], step.operation) for key, step in last.items())

    def operations_for(self, paths: Sequence[str]) -> tuple[Any, ...]:
        """The Keras layers and operations that run for these paths, from the input on."""
        plan = self._plan(tuple(paths), (), True)
        return tuple(step.operation for step in plan if step.operation is not None)

    def with_values(self, values: Sequence[tuple[Any, tf.Variable]]) -> InspectedNetwork:
        """The same network with other numbers in place of some of its variables; the model itself keeps its own.

        What is traced of it reads the `tf.Variable`s: assign to them, and it need not be traced again.

        Args:
            values: Pairs of a variable of the model and what is read instead.
        """
        other = copy.copy(self)
        other._functions = {}
        other._values = tuple(values)
        return other

    def compiled(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The traced function for `key`, made once for this network: `make()` returns a `tf.function`."""
        if key not in self._functions:
            self._functions[key] = made = make()
            # One line of code makes a function for each key; TensorFlow would warn that it traces again and again.
            made._omit_frequent_tracing_warning = True
        return self._functions[key]

    def trace_counts(self) -> dict[Hashable, int]:
        """How often each function of `compiled` was traced."""
        return {key: made.experimental_get_tracing_count() for key, made in self._functions.items()}

    def outputs(self, images: np.ndarray, paths: Sequence[str], *, batch_size: int = 32) -> dict[str, np.ndarray]:
        """Outputs of paths for prepared pictures, as float32 arrays.

        Input shape: `(pictures, height, width, channels)`.
        Returns: path → `(pictures, …)`.
        """
        paths = tuple(paths)

        def make() -> Any:
            @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, *images.shape[1:]), tf.float32)])
            def forward(x: tf.Tensor) -> list[tf.Tensor]:
                return [tf.cast(tensor, tf.float32) for tensor in self.run(x, paths).values()]

            return forward

        forward = self.compiled(("outputs", paths, images.shape[1:]), make)
        parts = [
            forward(tf.constant(images[start : start + batch_size], tf.float32))
            for start in range(0, len(images), batch_size)
        ]
        return {path: np.concatenate([part[place] for part in parts]) for place, path in enumerate(paths)}

    def logits(self, images: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
        """Class scores before softmax, `(pictures, classes)`."""
        return self.outputs(images, [SCORES], batch_size=batch_size)[SCORES]

    def probabilities(self, logits: Any) -> np.ndarray:
        """What the network's users see: softmax of the scores, or sigmoid where the model ends in one."""
        logits = np.asarray(logits, np.float32)
        if self.score_kind == "output" or logits.shape[-1] == 1:
            return logits
        if self.activation == "sigmoid" and not self._two_sided:
            return np.asarray(tf.sigmoid(logits))
        if self._two_sided:
            return np.asarray(tf.sigmoid(logits))
        return np.asarray(tf.nn.softmax(logits))

    # ------------------------------------------------------------------ following the graph

    def _unroll(self, model: Any, prefix: str, given: list[int]) -> list[int]:
        slots = {id(tensor): slot for tensor, slot in zip(model.inputs, given, strict=True)}
        # Keras offers its graph under no public name. The nodes are deepest, that is nearest to the input, first.
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input or any(id(tensor) not in slots for tensor in node.input_tensors):
                    continue
                path = self._new_path(prefix + node.operation.name)
                reads = [slots[id(tensor)] for tensor in node.input_tensors]
                inner = _graph_of(node.operation)
                if inner is not None and len(inner.inputs) == len(reads):
                    entered = [self._cast(slot, tensor.dtype) for slot, tensor in zip(reads, inner.inputs, strict=True)]
                    fills = self._unroll(inner, path + "/", entered)
                    for place, slot in enumerate(fills):
                        self._slot_of[path if place == 0 else f"{path}:{place}"] = slot
                else:
                    fills = [self._new_slot() for _ in node.outputs]
                    self._steps.append(Step(path, _caller(node, reads), node.operation, tuple(reads), tuple(fills)))
                    for place, slot in enumerate(fills):
                        self._slot_of[path if place == 0 else f"{path}:{place}"] = slot
                slots.update((id(tensor), slot) for tensor, slot in zip(node.outputs, fills, strict=True))
        return [slots[id(tensor)] for tensor in model.outputs]

    def _new_path(self, path: str) -> str:
        count = self._counts.get(path, 0)
        self._counts[path] = count + 1
        return path if count == 0 else f"{path}@{count}"

    def _new_slot(self) -> int:
        self._slots += 1
        return self._slots - 1

    def _cast(self, slot: int, dtype: str) -> int:
        """An inner model's input takes what it declares, whatever precision comes in."""
        new = self._new_slot()
        self._steps.append(Step("", lambda values: [tf.cast(values[slot], dtype)], None, (slot,), (new,)))
        return new

    def _plan(self, paths: tuple[str, ...], given: tuple[str, ...], has_picture: bool) -> list[Step]:
        key = (paths, given, has_picture)
        if key not in self._plans:
            filled = {self._slot_of[path] for path in given} | ({0} if has_picture else set())
            wanted = {self._slot_of[self.check_path(path)] for path in paths}
            plan: list[Step] = []
            for step in reversed(self._steps):
                if wanted & set(step.fills) - filled:
                    plan.append(step)
                    wanted |= set(step.reads) - filled
            if 0 in wanted and not has_picture:
                raise InspectionError(
                    f"'{paths[0]}' reads the picture on a way around '{given[0] if given else INPUT}', which was "
                    "given. Name a layer that everything later depends on alone."
                )
            self._plans[key] = plan[::-1]
        return self._plans[key]

    def _depends(self, later: str, earlier: str) -> bool:
        """Whether `later` reads `earlier`."""
        wanted, start = {self._slot_of[later]}, self._slot_of[earlier]
        for step in reversed(self._steps):
            if start in wanted:
                return True
            if wanted & set(step.fills):
                wanted |= set(step.reads)
        return start in wanted

    def _is_class_map(self, path: str) -> bool:
        """Whether a map has one channel per class and is but averaged into the scores (NiN, SqueezeNet)."""
        return self.shape_of(path)[-1] == self.num_classes and not any(
            hasattr(self.operation_of(later), "kernel")
            for later in self.paths[self.paths.index(path) + 1 :]
            if self._depends(later, path) and self._depends(SCORES, later)
        )

    # ------------------------------------------------------------------ scores

    def _find_scores(self, slot: int) -> None:
        """Where the class scores are before they become probabilities."""
        step = self._step_filling(slot)
        self._score_slots = {slot}
        while step is not None and _is_identity(step.operation):
            slot = step.reads[0]
            step = self._step_filling(slot)
            self._score_slots.add(slot)
        operation = None if step is None else step.operation
        self.activation = _activation_name(operation)
        self.score_kind = "logits"
        self._two_sided = False
        if self.activation in _PROBABILITIES and step is not None:
            if isinstance(operation, keras.layers.Dense) or hasattr(operation, "convolution_op"):
                slot = self._linear(step)
            elif _is_activation_alone(operation):
                slot = step.reads[0]
            else:
                self.score_kind = "output"
        elif not self._ends_linear(step):
            self.score_kind = "output"
        if self.activation == "sigmoid" and self.score_kind == "logits":
            slot = self._both_sides(slot)
        self._score_slots.add(slot)
        new = self._new_slot()
        end = slot
        self._steps.append(Step("", lambda values: [_flat_scores(values[end])], None, (end,), (new,)))
        self._slot_of[SCORES] = new

    def _ends_linear(self, step: Step | None) -> bool:
        """Whether scores are any numbers, and nothing squeezed them before they were arranged or averaged."""
        operation = None if step is None else step.operation
        if step is not None and step.operation.name == "logits" and not self._arranges_probabilities(step):
            return True  # Whatever makes them (capsules, distances), this is what their author takes the softmax of.
        if step is None or self.activation != "linear":
            return False
        is_linear = isinstance(operation, (*_LINEAR_ENDS, keras.layers.Activation))
        return is_linear and not self._arranges_probabilities(step)

    def _arranges_probabilities(self, step: Step) -> bool:
        """Whether what a step gives are probabilities, averaged or in another shape: softmax, then flattening."""
        if hasattr(step.operation, "kernel") or isinstance(step.operation, keras.layers.BatchNormalization):
            return False
        for earlier in filter(None, map(self._step_filling, step.reads)):
            if _activation_name(earlier.operation) in _PROBABILITIES:
                return True
            is_linear = isinstance(earlier.operation, _LINEAR_ENDS) or _is_identity(earlier.operation)
            if is_linear and self._arranges_probabilities(earlier):
                return True
        return False

    def _step_filling(self, slot: int) -> Step | None:
        return next((step for step in self._steps if slot in step.fills), None)

    def _linear(self, step: Step) -> int:
        """The output of a dense layer or convolution without its activation; the layer itself stays as it is."""
        layer, read, new = step.operation, step.reads[0], self._new_slot()

        def call(values: dict[int, Any]) -> list[Any]:
            dtype = layer.compute_dtype
            x, kernel = tf.cast(values[read], dtype), tf.cast(keras.ops.convert_to_tensor(layer.kernel), dtype)
            if isinstance(layer, keras.layers.Dense):
                y = keras.ops.matmul(x, kernel)
            else:
                y = layer.convolution_op(x, kernel)
            if layer.use_bias:
                y = y + tf.cast(keras.ops.convert_to_tensor(layer.bias), dtype)
            return [y]

        self._steps.append(Step("", call, layer, (read,), (new,)))
        return new

    def _both_sides(self, slot: int) -> int:
        """One sigmoid tells two classes apart: the score of the other is the negative."""
        new = self._new_slot()
        network = self

        def call(values: dict[int, Any]) -> list[Any]:
            z = _flat_scores(values[slot])
            network._two_sided = z.shape[-1] == 1
            return [tf.concat([-z, z], axis=-1) if z.shape[-1] == 1 else z]

        self._steps.append(Step("", call, None, (slot,), (new,)))
        return new


def _graph_of(model: Any) -> Any:
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


def _plain_spec(model: Any, shape: tuple[int | None, ...]) -> ImageSpec:
    height, width, channels = shape
    if height is None or width is None or channels not in (1, 3):
        raise InspectionError(
            f"The model '{model.name}' takes pictures of {shape}; inspection needs to know their size, and 1 or 3 "
            "channels. Give an ImageSpec with it."
        )
    return ImageSpec(height, width, channels, mean=(0.0,) * channels, std=(1.0,) * channels, resize="stretch")


def _is_identity(operation: Any) -> bool:
    if isinstance(operation, (keras.layers.Dropout, keras.layers.Identity)) or operation is None:
        return True
    return type(operation) is keras.layers.Activation and _activation_name(operation) == "linear"


def _activation_name(operation: Any) -> str:
    """Name of the activation that an operation ends in; "linear" where it has none."""
    if isinstance(operation, keras.layers.Softmax):
        return "softmax"
    kind = type(operation).__name__.lower()
    kind = _OTHER_NAMES.get(kind, kind)
    if kind in _PROBABILITIES:  # keras.ops.softmax(x) in a functional model
        return kind
    function = getattr(operation, "activation", None)
    if function is None:
        return "linear"
    name = str(getattr(function, "__name__", type(function).__name__)).lower()
    return _OTHER_NAMES.get(name, name)


def _is_activation_alone(operation: Any) -> bool:
    """Whether an operation is but its activation: what it reads is what goes into it."""
    is_layer = isinstance(operation, (keras.layers.Activation, keras.layers.Softmax))
    return is_layer or not isinstance(operation, keras.layers.Layer)


def _flat_scores(scores: Any) -> tf.Tensor:
    """Scores as `(batch, classes)`, float32: a 1×1 map of them is flattened."""
    scores = tf.cast(scores, tf.float32)
    if len(scores.shape) > 2 and all(side == 1 for side in scores.shape[1:-1]):
        scores = tf.reshape(scores, (-1, scores.shape[-1]))
    return scores
