"""InspectedNetwork: any functional Keras model, seen flat, with each operation's output under a path."""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from garden.errors import InspectionError
from garden.image_spec import ImageSpec
from garden.inspection import class_scores, unrolled_graph
from garden.inspection.unrolled_graph import Step

# The prepared picture, and what the network says of its classes before softmax.
INPUT = "(input)"
SCORES = "(logits)"


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
        graph = unrolled_graph.graph_of(model)
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
        self._functions: dict[Hashable, Any] = {}
        self._remembered: dict[Hashable, Any] = {}
        self._plans: dict[Hashable, list[Step]] = {}
        self._shapes: dict[str, tuple[int | None, ...]] | None = None
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
        unrolled = unrolled_graph.UnrolledGraph(graph)
        scores = class_scores.find(unrolled, unrolled.outputs[output])
        self.activation, self.score_kind = scores.activation, scores.kind
        self._score_slots = scores.slots
        self._steps = unrolled.steps
        self._slot_of = {INPUT: 0, **unrolled.slot_of, SCORES: scores.slot}

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
        if self.activation == "sigmoid":
            return np.asarray(tf.sigmoid(logits))
        return np.asarray(tf.nn.softmax(logits))

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


def _plain_spec(model: Any, shape: tuple[int | None, ...]) -> ImageSpec:
    height, width, channels = shape
    if height is None or width is None or channels not in (1, 3):
        raise InspectionError(
            f"The model '{model.name}' takes pictures of {shape}; inspection needs to know their size, and 1 or 3 "
            "channels. Give an ImageSpec with it."
        )
    return ImageSpec(height, width, channels, mean=(0.0,) * channels, std=(1.0,) * channels, resize="stretch")
