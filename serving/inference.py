"""What the server can be asked, free of any wire: predict, classify, describe, report."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from serving import proto_tensors
from serving.batching import Runner
from serving.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    ShuttingDown,
)
from serving.manager import Manager
from serving.messages import (
    DEFAULT_SIGNATURE,
    Classification,
    ModelMetadata,
    ModelSpec,
    Prediction,
    PredictRequest,
    ServableId,
    Signature,
    VersionStatus,
)
from serving.metrics import Metrics
from serving.servable import Servable

_DT_FLOAT, _DT_STRING = 1, 7

ReadExamples = Callable[[], Sequence[bytes]]


class Inference:
    """Answers requests with the versions that the manager lends."""

    def __init__(
        self,
        manager: Manager,
        runner: Runner,
        *,
        metrics: Metrics | None = None,
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """
        Args:
            manager: Lends the loaded versions.
            runner: Carries out computations, alone or in batches.
            metrics: Where run times are counted.
            labels: Version by label by model name.
        """
        self._manager = manager
        self._runner = runner
        self._metrics = metrics or Metrics()
        self._labels = labels or {}
        self._in_flight = 0
        self._idle = threading.Condition()
        self._thread = threading.local()  # whose `is_admitted` tells of the request that the thread answers
        self._draining = False

    @property
    def is_draining(self) -> bool:
        """Whether new work is refused."""
        return self._draining

    def drain(self, timeout_seconds: float) -> bool:
        """Refuse new work from now on and wait for what is in flight.

        Args:
            timeout_seconds: How long to wait at most.
        Returns: whether all of it ended in time.
        """
        with self._idle:
            self._draining = True
            return self._idle.wait_for(lambda: self._in_flight == 0, timeout_seconds)

    def admit(self) -> Admission:
        """Count a request as in flight from now on; a refused one, if the server drains."""
        with self._idle:
            is_admitted = not self._draining
            self._in_flight += is_admitted
        return Admission(self, is_admitted=is_admitted)

    def _leave(self) -> None:
        with self._idle:
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.notify_all()

    @contextlib.contextmanager
    def borrow(self, spec: ModelSpec) -> Iterator[tuple[ServableId, Servable]]:
        """The version that a spec asks for, kept loaded for the length of the `with` block.

        Raises: ShuttingDown; InvalidArgument, for a spec without a name or with an unknown label;
            ServableNotFound.
        """
        with self._idle:
            if self._draining and not getattr(self._thread, "is_admitted", False):
                raise ShuttingDown()
            self._in_flight += 1
        try:
            if not spec.name:
                raise InvalidArgument("ModelSpec has no name specified.")
            with self._manager.lend(spec.name, self._version(spec)) as lent:
                yield lent
        finally:
            self._leave()

    def _version(self, spec: ModelSpec) -> int | None:
        if spec.version is not None or spec.version_label is None:
            return spec.version
        try:
            return self._labels[spec.name][spec.version_label]
        except KeyError:
            raise InvalidArgument(f"Unrecognized servable version label: {spec.version_label}") from None

    def is_quick(self, spec: ModelSpec, request_bytes: int) -> bool:
        """Whether a request may be answered where it arrived, with `at_once`: it takes next to no time.

        Args:
            spec: The model that it is for.
            request_bytes: Its size on the wire.
        """
        if not self._runner.may_be_skipped:
            return False
        try:
            servable = self._manager.peek(spec.name, self._version(spec))
        except ServingError:
            return False
        return servable is not None and servable.is_quick(request_bytes)

    def predict(
        self, request: PredictRequest, *, timeout_seconds: float | None = None, at_once: bool = False
    ) -> Prediction:
        """Run a signature on named tensors.

        Args:
            request: Model, inputs and wanted outputs.
            timeout_seconds: How long the client still waits; None: as long as it takes.
            at_once: Compute in the calling thread without waiting for a turn; only where `is_quick`.
        Raises: ServingError.
        """
        with self.borrow(request.model) as (id, servable):
            return self.predict_with(id, servable, request, timeout_seconds=timeout_seconds, at_once=at_once)

    def predict_with(
        self,
        id: ServableId,
        servable: Servable,
        request: PredictRequest,
        *,
        timeout_seconds: float | None = None,
        at_once: bool = False,
    ) -> Prediction:
        """As `predict`, with a version that is already borrowed."""
        signature_name = request.model.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(signature_name)
        if signature is None:
            raise FailedPrecondition(f'Serving signature key "{signature_name}" not found.')
        feeds = _feeds(signature, request.inputs)
        aliases = _wanted_outputs(signature, request.output_filter)
        names = [signature.outputs[alias].name for alias in aliases]
        arrays = self._run(id, servable, feeds, names, "Predict", timeout_seconds, at_once)
        return Prediction(id, signature_name, dict(zip(aliases, arrays, strict=True)))

    def classify(
        self, spec: ModelSpec, read_examples: ReadExamples, *, timeout_seconds: float | None = None
    ) -> Classification:
        """Run a classification signature on serialized tf.Examples.

        Args:
            spec: Model, version and signature.
            read_examples: Called once the signature fits; returns at least one serialized tf.Example.
            timeout_seconds: How long the client still waits; None: as long as it takes.
        Raises: ServingError.
        """
        with self.borrow(spec) as (id, servable):
            return self.classify_with(id, servable, spec, read_examples, timeout_seconds=timeout_seconds)

    def classify_with(
        self,
        id: ServableId,
        servable: Servable,
        spec: ModelSpec,
        read_examples: ReadExamples,
        *,
        timeout_seconds: float | None = None,
    ) -> Classification:
        """As `classify`, with a version that is already borrowed."""
        signature_name = spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(signature_name)
        if signature is None:
            raise InvalidArgument(f"No signature was found with the name: {signature_name}")
        aliases = _classification_outputs(signature)
        examples = read_examples()
        batch = np.empty(len(examples), object)
        batch[:] = examples
        feeds = {signature.inputs["inputs"].name: batch}
        names = [signature.outputs[alias].name for alias in aliases]
        arrays = self._run(id, servable, feeds, names, "Classify", timeout_seconds)
        outputs = dict(zip(aliases, arrays, strict=True))
        _check_classification(outputs, len(examples))
        return Classification(id, signature_name, outputs.get("classes"), outputs.get("scores"))

    def metadata(self, spec: ModelSpec) -> ModelMetadata:
        """The signatures of the version that a spec asks for.

        Raises: ServingError, if it is not available.
        """
        with self.borrow(spec) as (id, servable):
            return ModelMetadata(id, servable.signature_def_map)

    def status(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """The states of a model's versions, highest number first. Also answered while draining.

        Args:
            name: The model.
            version: Only this version; None: all that were ever seen.
        Raises: NotFound.
        """
        statuses = self._manager.status(name)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise NotFound(f"Could not find version {version} of model {name}")
        if not statuses:
            raise NotFound(f"Could not find any versions of model {name}")
        return statuses

    def _run(
        self,
        id: ServableId,
        servable: Servable,
        feeds: Mapping[str, np.ndarray],
        names: Sequence[str],
        api: str,
        timeout_seconds: float | None,
        at_once: bool = False,
    ) -> list[np.ndarray]:
        started = time.perf_counter()
        run = (
            functools.partial(servable.run, at_once=True) if at_once else functools.partial(self._runner.run, servable)
        )
        arrays = run(feeds, names, timeout_seconds=timeout_seconds)
        self._metrics.record_runtime(id.name, api, time.perf_counter() - started)
        if len(arrays) != len(names):
            raise ServingError("Predict internal error")
        return arrays


class Admission:
    """One request's place among those in flight, from its arrival to its end."""

    def __init__(self, inference: Inference, *, is_admitted: bool) -> None:
        self._inference = inference
        self._is_admitted = is_admitted

    @contextlib.contextmanager
    def used_here(self) -> Iterator[None]:
        """What this thread asks in the `with` block is asked by this request."""
        self._inference._thread.is_admitted = self._is_admitted
        try:
            yield
        finally:
            self._inference._thread.is_admitted = False

    def give_back(self) -> None:
        """The request has ended; called once."""
        if self._is_admitted:
            self._inference._leave()


def _names(names: object) -> str:
    """Names as TF Serving prints a set of them: sorted, in braces, no blanks."""
    return "{" + ",".join(sorted(names)) + "}"  # type: ignore[call-overload]


def _feeds(signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by tensor name, from the request or the defaults, in TF Serving's order of checks."""
    expected = signature.inputs
    if len(inputs) > len(expected) or (len(inputs) < len(expected) and not signature.defaults):
        raise InvalidArgument(
            f"input size does not match signature: {len(inputs)}!={len(expected)} "
            f"len({_names(inputs)}) != len({_names(expected)}). "
            f"Sent extra: {_names(set(inputs) - set(expected))}. "
            f"Missing but required: {_names(set(expected) - set(inputs) - set(signature.defaults))}."
        )
    feeds = {}
    for alias, spec in expected.items():
        if alias in inputs:
            feeds[spec.name] = inputs[alias]
        elif alias in signature.defaults:
            feeds[spec.name] = signature.defaults[alias]
        else:
            required = set(expected) - set(signature.defaults)
            raise InvalidArgument(
                f"Signature input alias: {alias}(feed name: {spec.name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_names(required)}, or default input "
                f"alias set: {_names(signature.defaults)}"
            )
    if set(inputs) - set(expected):
        raise InvalidArgument(
            f"Inputs contains invalid name. Used request inputs: {_names(set(inputs) & set(expected))}, "
            f"request input: {_names(inputs)}"
        )
    return feeds


def _wanted_outputs(signature: Signature, output_filter: Sequence[str]) -> list[str]:
    wanted: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise InvalidArgument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_names(signature.outputs)}."
            )
        if alias in wanted:
            raise InvalidArgument(f"duplicate output tensor alias: {alias}")
        wanted.append(alias)
    return wanted or list(signature.outputs)


def _classification_outputs(signature: Signature) -> list[str]:
    if len(signature.inputs) != 1:
        raise InvalidArgument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise InvalidArgument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise InvalidArgument(f"No classification inputs found in SignatureDef: {signature.debug_string}")
    aliases = [alias for alias in ("classes", "scores") if alias in signature.outputs]
    if not aliases:
        raise InvalidArgument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature.debug_string}"
        )
    return aliases


def _check_classification(outputs: Mapping[str, np.ndarray], num_examples: int) -> None:
    for alias, expected in (("classes", _DT_STRING), ("scores", _DT_FLOAT)):
        if alias not in outputs:
            continue
        array = outputs[alias]
        if array.ndim != 2:
            shape = "[" + ",".join(str(size) for size in array.shape) + "]"
            raise InvalidArgument(f"Expected Tensor shape: [batch_size num_classes] but got {shape}")
        dtype = proto_tensors.type_number(array)
        if dtype != expected:
            raise InvalidArgument(
                f"Expected {alias} Tensor of DT_{proto_tensors.TYPE_NAMES[expected].upper()}. "
                f"Got: DT_{proto_tensors.TYPE_NAMES[dtype].upper()}"
            )
        if array.shape[0] != num_examples:
            raise InvalidArgument(f"Expected {alias} output batch size of {num_examples}. Got: {array.shape[0]}")
    if len(outputs) == 2 and outputs["classes"].shape[1] != outputs["scores"].shape[1]:
        raise InvalidArgument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {outputs['classes'].shape[1]} vs. {outputs['scores'].shape[1]}"
        )
