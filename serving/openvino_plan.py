"""How an OpenVINO model answers: TensorFlow's part before the network, the network, TensorFlow's part after it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving import graph_nodes
from serving.graph_split import Split
from serving.openvino_network import Network
from serving.session_engine import SessionServable


@dataclass(frozen=True)
class Plan:
    """How the signatures that share their inputs are computed.

    Attributes:
        split: The parts.
        network: The compiled one.
        prefix: What the names of the other parts begin with in the session's graph.
        assumptions: Outputs that must be true.
    """

    split: Split
    network: Network
    prefix: str
    assumptions: tuple[str, ...]

    def run(
        self, session: SessionServable, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], deadline: float | None
    ) -> list[np.ndarray] | None:
        """The outputs; None if an assumption turns out wrong."""
        split = self.split
        wanted = [split.sources[name] for name in (*outputs, *self.assumptions)]
        values = dict(inputs)
        from_network = self._from_network
        after = [name for name in dict.fromkeys(wanted) if name in self._from_after]
        needed = [boundary.name for boundary in (*split.network_inputs, *split.carried)]
        needed += [name for name in wanted if name not in from_network and name not in after]
        before = [name for name in dict.fromkeys(needed) if name not in values]
        if before:
            feeds = {self._placed("before", name): value for name, value in inputs.items()}
            arrays = session.run(
                feeds, [self._placed("before", name) for name in before], timeout_seconds=left(deadline)
            )
            values.update(zip(before, arrays, strict=True))
        results = self.network.run([values[boundary.name] for boundary in split.network_inputs], deadline=deadline)
        values.update(zip((boundary.name for boundary in split.network_outputs), results, strict=True))
        if after:
            fed = (*split.carried, *split.network_outputs)
            feeds = {self._placed("after", boundary.placeholder): values[boundary.name] for boundary in fed}
            arrays = session.run(feeds, [self._placed("after", name) for name in after], timeout_seconds=left(deadline))
            values.update(zip(after, arrays, strict=True))
        if not all(values[split.sources[name]].all() for name in self.assumptions):
            return None
        return [values[split.sources[name]] for name in outputs]

    @property
    def for_any_rows(self) -> Plan:
        """The same without what was compiled for one row."""
        network = self.network.for_any_rows
        return self if network is self.network else dataclasses.replace(self, network=network)

    @functools.cached_property
    def _from_network(self) -> frozenset[str]:
        return frozenset(boundary.name for boundary in self.split.network_outputs)

    @functools.cached_property
    def _from_after(self) -> frozenset[str]:
        """The outputs that the part after the network computes."""
        operations = {node.name for node in self.split.after.node}
        return (
            frozenset(name for name in self.split.sources.values() if graph_nodes.node_name(name) in operations)
            - self._from_network
        )

    def _placed(self, part: str, name: str) -> str:
        return f"{self.prefix}/{part}/{name}"


def left(deadline: float | None) -> float | None:
    """The seconds until a time by `time.monotonic`; None where there is no end."""
    return None if deadline is None else deadline - time.monotonic()
