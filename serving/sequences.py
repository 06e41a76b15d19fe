"""Signatures that remember: their state stays on the server from one Predict to the next, one a sequence.

A tensor whose alias begins with `state_` and that a signature has both as an input and, with the same type and shape,
as an output is state. Who sends the inputs `sequence_id` and `sequence_control_input`, as to OpenVINO Model Server's
stateful models, leaves the state out: it is kept, fed back and not returned. Without those two inputs such a
signature is like any other, and its state comes and goes with each request.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    ServingError,
)
from serving.messages import ServableId, Signature, TensorSpec
from serving.prediction import wanted_outputs
from serving.proto_tensors import DT_STRING, WIRE_TYPES
from serving.status import Code

SEQUENCE_ID = "sequence_id"
CONTROL = "sequence_control_input"
_NONE, _START, _END = 0, 1, 2
_STATE_PREFIX = "state_"
_DT_UINT32, _DT_UINT64 = 22, 23
_CONTROL_INPUTS = {
    SEQUENCE_ID: TensorSpec(SEQUENCE_ID, _DT_UINT64, (1,)),
    CONTROL: TensorSpec(CONTROL, _DT_UINT32, (1,)),
}

# Called with all inputs and the wanted outputs by alias, and the seconds left; returns their values.
Run = Callable[[Mapping[str, np.ndarray], Sequence[str], float | None], list[np.ndarray]]
_Key = tuple[ServableId, str, int]


def state_aliases(signature: Signature) -> list[str]:
    """The aliases of a signature's state; none for one that remembers nothing."""
    return [
        alias
        for alias, spec in signature.inputs.items()
        if alias.startswith(_STATE_PREFIX)
        and alias in signature.outputs
        and (spec.dtype, spec.shape) == (signature.outputs[alias].dtype, signature.outputs[alias].shape)
    ]


def is_step(signature: Signature, sent: Collection[str]) -> bool:
    """Whether a request with these inputs is a step of a sequence.

    Args:
        signature: What it asks.
        sent: The names of its inputs.
    """
    return (
        (SEQUENCE_ID in sent or CONTROL in sent)
        and not signature.inputs.keys() & _CONTROL_INPUTS.keys()
        and bool(state_aliases(signature))
    )


def wire_inputs(signature: Signature, sent: Collection[str]) -> Mapping[str, TensorSpec]:
    """The inputs that a request may have: the signature's, or those of a step; arguments as for `is_step`."""
    if not is_step(signature, sent):
        return signature.inputs
    state = state_aliases(signature)
    return {alias: spec for alias, spec in signature.inputs.items() if alias not in state} | {
        alias: spec for alias, spec in _CONTROL_INPUTS.items() if alias in sent
    }


@dataclass
class _Sequence:
    """One sequence; `tickets` are those who want its turn, in the order in which they came."""

    state: dict[str, np.ndarray]
    last_used: float
    tickets: deque[object] = field(default_factory=deque)
    has_ended: bool = False


class Sequences:
    """The sequences of all models."""

    def __init__(
        self, *, max_sequences: int = 500, idle_seconds: float = 300.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            max_sequences: How many may be remembered; a start past it is RESOURCE_EXHAUSTED.
            idle_seconds: A sequence that nobody asked for so long is forgotten.
            clock: Tells the time in seconds.
        """
        self._max_sequences = max_sequences
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._sequences: OrderedDict[_Key, _Sequence] = OrderedDict()  # the least recently used first

    def step(
        self,
        id: ServableId,
        signature_name: str,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        run: Run,
        timeout_seconds: float | None,
    ) -> dict[str, np.ndarray]:
        """Compute one step of a sequence, after those that came before it.

        Args:
            id: The version; a sequence stays with the version that it began with.
            signature_name: Names the signature.
            signature: A signature with state.
            inputs: As sent, with `sequence_id` and perhaps `sequence_control_input`.
            output_filter: Names of the wanted outputs; empty asks for all but the state.
            run: Computes.
            timeout_seconds: How long the client still waits; None: as long as it takes.
        Returns: the outputs by alias, and `sequence_id`.
        Raises: ServingError. A step that fails leaves the sequence as it was.
        """
        number, control = _scalar(inputs, SEQUENCE_ID), _scalar(inputs, CONTROL)
        if control not in (_NONE, _START, _END):
            raise InvalidArgument(f"{CONTROL} is {control}; it must be 0 (none), 1 (start) or 2 (end).")
        if number < 0 or (number == 0 and control != _START):
            raise InvalidArgument(f"{SEQUENCE_ID} is {number}; only a start may leave the choice to the server with 0.")
        given = {alias: inputs[alias] for alias in inputs if alias not in _CONTROL_INPUTS}
        state = state_aliases(signature)
        too_many = sorted(given.keys() & set(state))
        if too_many:
            raise InvalidArgument(f"The state of a sequence is the server's; leave out {', '.join(too_many)}.")
        wanted = wanted_outputs(signature, output_filter)
        if not output_filter:
            wanted = [alias for alias in wanted if alias not in state]
        names = [*wanted, *(alias for alias in state if alias not in wanted)]
        first = (lambda: _first_state(signature, state, given)) if control == _START else None
        with self._turn(id, signature_name, number, first, timeout_seconds) as (number, sequence, seconds_left):
            values = dict(zip(names, run(given | sequence.state, names, seconds_left), strict=True))
            sequence.state = {alias: values[alias] for alias in state}
            sequence.has_ended = control == _END
        outputs = {alias: values[alias] for alias in wanted}
        outputs[SEQUENCE_ID] = np.array([number], np.uint64)
        return outputs

    @contextlib.contextmanager
    def _turn(
        self,
        id: ServableId,
        signature_name: str,
        number: int,
        first_state: Callable[[], dict[str, np.ndarray]] | None,
        timeout_seconds: float | None,
    ) -> Iterator[tuple[int, _Sequence, float | None]]:
        """A sequence for as long as the `with` block; a new one where `first_state` makes its state."""
        ticket = object()
        with self._changed:
            self._forget_idle()
            if first_state is not None:
                number = number or self._free_number(id, signature_name)
                key = (id, signature_name, number)
                sequence = self._begin(key, first_state)
            else:
                key = (id, signature_name, number)
                if key not in self._sequences:
                    raise _unknown(id, number)
                sequence = self._sequences[key]
            sequence.tickets.append(ticket)
            asked = time.monotonic()
            is_mine = self._changed.wait_for(lambda: sequence.tickets[0] is ticket, timeout_seconds)
            if not is_mine or sequence.has_ended:
                sequence.tickets.remove(ticket)
                self._changed.notify_all()
                raise _unknown(id, number) if is_mine else DeadlineExceeded("Timed out waiting for notification")
        if timeout_seconds is not None:
            timeout_seconds -= time.monotonic() - asked
        try:
            yield number, sequence, timeout_seconds
        except BaseException:
            # What could not start is not there.
            sequence.has_ended = first_state is not None
            raise
        finally:
            with self._changed:
                sequence.tickets.popleft()
                sequence.last_used = self._clock()
                self._sequences.move_to_end(key)
                if sequence.has_ended:
                    del self._sequences[key]
                self._changed.notify_all()

    def _begin(self, key: _Key, first_state: Callable[[], dict[str, np.ndarray]]) -> _Sequence:
        id, _, number = key
        if key in self._sequences:
            raise ServingError(
                f"Sequence {number} of model {id.name} version {id.version} has started already; end it first, or "
                "start another.",
                code=Code.ALREADY_EXISTS,
            )
        if len(self._sequences) >= self._max_sequences:
            raise ResourceExhausted(
                f"{len(self._sequences)} sequences are open, which is as many as --max_sequences allows; end some."
            )
        sequence = _Sequence(first_state(), self._clock())
        self._sequences[key] = sequence
        return sequence

    def _free_number(self, id: ServableId, signature_name: str) -> int:
        # Numbers that nobody guesses, and that a signed 64-bit tensor holds.
        while True:
            number = secrets.randbits(62) + 1
            if (id, signature_name, number) not in self._sequences:
                return number

    def _forget_idle(self) -> None:
        oldest = self._clock() - self._idle_seconds
        for key, sequence in list(self._sequences.items()):
            if sequence.last_used >= oldest:
                return
            if not sequence.tickets:
                del self._sequences[key]


def _unknown(id: ServableId, number: int) -> NotFound:
    return NotFound(
        f"Sequence {number} of model {id.name} version {id.version} is not open: it was not started, has ended, or "
        "was idle for too long."
    )


def _scalar(inputs: Mapping[str, np.ndarray], name: str) -> int:
    """The one integer of a control input; 0 if it was not sent."""
    if name not in inputs:
        return 0
    value = inputs[name]
    if value.dtype.kind not in "iu" or value.size != 1:
        raise InvalidArgument(f"{name} must be one integer; was {value.dtype} of shape {list(value.shape)}.")
    return int(value.item())


def _first_state(
    signature: Signature, aliases: Sequence[str], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The signature's defaults, or zeros; an open first size is the request's batch size."""
    state = {}
    batch_sizes = [inputs[alias].shape[0] for alias in signature.inputs if alias in inputs and inputs[alias].ndim]
    for alias in aliases:
        if alias in signature.defaults:
            state[alias] = signature.defaults[alias]
            continue
        spec = signature.inputs[alias]
        shape = list(spec.shape or ())
        if shape and shape[0] < 0 and batch_sizes:
            shape[0] = batch_sizes[0]
        if spec.shape is None or any(size < 0 for size in shape):
            raise FailedPrecondition(
                f"State {alias} has shape {'of any rank' if spec.shape is None else list(spec.shape)}, so that zeros "
                "cannot be made; export it with fixed sizes, or with a default in the signature."
            )
        kind = WIRE_TYPES[spec.dtype].dtype
        state[alias] = np.full(shape, b"", object) if spec.dtype == DT_STRING else np.zeros(shape, kind)
    return state
