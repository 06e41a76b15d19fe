"""Runs the signatures of a version that is already borrowed: checks, feeds, runs, and checks what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving import classification, multi_inference, prediction, regression, sequences, trace_stages
from serving.errors import FailedPrecondition, InvalidArgument, ServingError
from serving.messages import (
    DEFAULT_SIGNATURE,
    Classification,
    InferenceTask,
    ModelSpec,
    Prediction,
    PredictRequest,
    Regression,
    ServableId,
    Signature,
)
from serving.metrics import Metrics
from serving.runners import Runner
from serving.servable import Servable

ReadExamples = Callable[[], Sequence[bytes]]


class Execution:
    """How requests become runs, and runs answers."""

    def __init__(
        self,
        runner: Runner,
        metrics: Metrics,
        *,
        check_method_names: bool = False,
        open_sequences: sequences.Sequences | None = None,
        unbatched: Runner | None = None,
    ) -> None:
        """
        Args:
            runner: Carries out computations, alone or in batches.
            metrics: Where run times are counted.
            check_method_names: Whether a signature must have been exported for the method that is asked of it.
            open_sequences: Remembers the state of signatures that have some.
            unbatched: Carries out the steps of sequences, which never share a batch; None: `runner`.
        """
        self._runner = runner
        self._metrics = metrics
        self._check_method_names = check_method_names
        self._sequences = open_sequences or sequences.Sequences()
        self._unbatched = unbatched or runner

    def predict(
        self,
        id: ServableId,
        servable: Servable,
        request: PredictRequest,
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> Prediction:
        """Run a signature on named tensors.

        Args:
            id: What is run.
            servable: As it was lent.
            request: Inputs and wanted outputs.
            timeout_seconds: How long the client still waits; None: as long as it takes.
            at_once: Compute in the calling thread without waiting for a turn.
        Raises: ServingError.
        """
        signature_name = request.model.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(signature_name)
        if signature is None:
            raise FailedPrecondition(f'Serving signature key "{signature_name}" not found.')
        if self._check_method_names:
            prediction.check_method(signature)
        if sequences.is_step(signature, request.inputs):
            return self._predict_step(id, servable, signature_name, signature, request, timeout_seconds)
        with trace_stages.stage("decode"):
            feeds = prediction.feeds(signature, request.inputs)
        aliases = prediction.wanted_outputs(signature, request.output_filter)
        names = [signature.outputs[alias].name for alias in aliases]
        arrays = self._run(id, servable, feeds, names, timeout_seconds, api="Predict", at_once=at_once)
        if len(arrays) != len(names):
            raise ServingError("Predict internal error")
        return Prediction(id, signature_name, dict(zip(aliases, arrays, strict=True)))

    def _predict_step(
        self,
        id: ServableId,
        servable: Servable,
        signature_name: str,
        signature: Signature,
        request: PredictRequest,
        timeout_seconds: float | None,
    ) -> Prediction:
        def run(
            inputs: Mapping[str, np.ndarray], aliases: Sequence[str], seconds_left: float | None
        ) -> list[np.ndarray]:
            feeds = prediction.feeds(signature, inputs)
            names = [signature.outputs[alias].name for alias in aliases]
            return self._run(id, servable, feeds, names, seconds_left, api="Predict", runner=self._unbatched)

        outputs = self._sequences.step(
            id, signature_name, signature, request.inputs, request.output_filter, run, timeout_seconds
        )
        return Prediction(id, signature_name, outputs)

    def classify(
        self,
        id: ServableId,
        servable: Servable,
        spec: ModelSpec,
        read_examples: ReadExamples,
        *,
        timeout_seconds: float | None = None,
    ) -> Classification:
        """Run a classification signature on serialized tf.Examples.

        Args:
            id: What is run.
            servable: As it was lent.
            spec: Names the signature.
            read_examples: Called once the signature fits; returns at least one serialized tf.Example.
            timeout_seconds: How long the client still waits; None: as long as it takes.
        Raises: ServingError.
        """
        name, signature = _signature_for_examples(servable, spec)
        if self._check_method_names:
            classification.check_method(signature)
        input_name, output_names = classification.tensors(signature)
        examples = read_examples()
        feeds = {input_name: _batch(examples)}
        arrays = self._run(id, servable, feeds, [*output_names.values()], timeout_seconds, api="Classify")
        if len(arrays) != len(output_names):
            raise InvalidArgument(f"Expected {len(output_names)} output tensor(s).  Got: {len(arrays)}")
        outputs = dict(zip(output_names, arrays, strict=True))
        classification.check_outputs(outputs, len(examples))
        return Classification(id, name, outputs.get("classes"), outputs.get("scores"))

    def regress(
        self,
        id: ServableId,
        servable: Servable,
        spec: ModelSpec,
        read_examples: ReadExamples,
        *,
        timeout_seconds: float | None = None,
    ) -> Regression:
        """Run a regression signature; arguments and errors as in `classify`."""
        name, signature = _signature_for_examples(servable, spec)
        if self._check_method_names:
            regression.check_method(signature)
        input_name, output_names = regression.tensors(signature)
        examples = read_examples()
        feeds = {input_name: _batch(examples)}
        arrays = self._run(id, servable, feeds, [*output_names.values()], timeout_seconds, api="Regress")
        if len(arrays) != len(output_names):
            raise InvalidArgument("Expected output_tensors and output_tensor_names to have the same size.")
        return Regression(id, name, regression.values(arrays[0], len(examples)))

    def multi_infer(
        self,
        id: ServableId,
        servable: Servable,
        tasks: Sequence[InferenceTask],
        read_examples: ReadExamples,
        *,
        timeout_seconds: float | None = None,
    ) -> list[Classification | Regression]:
        """Run the signatures of several tasks in one run; arguments and errors as in `classify`. One answer a task."""
        planned = multi_inference.plan(tasks, servable.signatures, are_methods_checked=self._check_method_names)
        examples = read_examples()
        batch = _batch(examples)
        feeds = {task.input_name: batch for task in planned}
        names = sorted({name for task in planned for name in task.output_names.values()})
        arrays = self._run(id, servable, feeds, names, timeout_seconds)
        self._metrics.record_examples(id.name, len(examples))
        if len(arrays) != len(names):
            raise InvalidArgument(f"Expected {len(names)} output tensor(s).  Got: {len(arrays)}")
        by_name = dict(zip(names, arrays, strict=True))
        return [task.result(id, by_name, len(examples)) for task in planned]

    def _run(
        self,
        id: ServableId,
        servable: Servable,
        feeds: Mapping[str, np.ndarray],
        names: Sequence[str],
        timeout_seconds: float | None,
        *,
        api: str = "",
        at_once: bool = False,
        runner: Runner | None = None,
    ) -> list[np.ndarray]:
        """Compute; timed under the name `api`, unless it has none, as TF Serving's MultiInference."""
        started = time.perf_counter()
        run = (runner or self._runner).run
        with trace_stages.stage("compute"):
            arrays = run(servable, feeds, names, timeout_seconds=timeout_seconds, at_once=at_once)
        if api:
            self._metrics.record_runtime(id.name, api, time.perf_counter() - started)
        return arrays


def _signature_for_examples(servable: Servable, spec: ModelSpec) -> tuple[str, Signature]:
    name = spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise InvalidArgument(f"No signature was found with the name: {name}")
    return name, signature


def _batch(examples: Sequence[bytes]) -> np.ndarray:
    """Serialized examples as one vector of strings."""
    batch = np.empty(len(examples), object)
    batch[:] = examples
    return batch
