"""WeightsReport: what became of every tensor of a network and of a file."""

from __future__ import annotations

import dataclasses

MATCHED = "matched"
TRANSPOSED = "transposed"
ADAPTED = "adapted"
INITIALISED = "initialised anew"
FOLDED = "folded"
LEFT_OUT = "left out"


@dataclasses.dataclass(frozen=True)
class TensorRecord:
    """What became of one tensor.

    Args:
        fate: "matched", "transposed", "adapted", "initialised anew", "folded" or "left out".
        name: Ours, "layer/role"; "" for a tensor of the file that was folded or left out.
        shape: Ours.
        stored_name: The file's; "" for a tensor of ours that was initialised anew.
        stored_shape: The file's.
        reason: Why, where it is not plain.
    """

    fate: str
    name: str = ""
    shape: tuple[int, ...] = ()
    stored_name: str = ""
    stored_shape: tuple[int, ...] = ()
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class WeightsReport:
    """What became of every tensor; `str` makes a table.

    Args:
        records: One for each tensor of the network, in its order, then one for each further one of the file.
        source: The file, or the package and the file in it.
        sha256: Hash of the file.
        notes: Sentences on what a user of the network must know, such as a changed meaning of its input.
    """

    records: tuple[TensorRecord, ...]
    source: str
    sha256: str
    notes: tuple[str, ...] = ()

    def _with(self, fate: str) -> tuple[TensorRecord, ...]:
        return tuple(record for record in self.records if record.fate == fate)

    @property
    def matched(self) -> tuple[TensorRecord, ...]:
        """Copied as they were."""
        return self._with(MATCHED)

    @property
    def transposed(self) -> tuple[TensorRecord, ...]:
        """Copied with their axes in another order."""
        return self._with(TRANSPOSED)

    @property
    def adapted(self) -> tuple[TensorRecord, ...]:
        """Copied into another number of input channels."""
        return self._with(ADAPTED)

    @property
    def initialised(self) -> tuple[TensorRecord, ...]:
        """Ours that keep their random start."""
        return self._with(INITIALISED)

    @property
    def folded(self) -> tuple[TensorRecord, ...]:
        """The file's biases that went into moving means."""
        return self._with(FOLDED)

    @property
    def left_out(self) -> tuple[TensorRecord, ...]:
        """The file's that went nowhere."""
        return self._with(LEFT_OUT)

    @property
    def summary(self) -> str:
        """One line with the counts."""
        fates = (MATCHED, TRANSPOSED, ADAPTED, INITIALISED, FOLDED, LEFT_OUT)
        counts = [f"{len(self._with(fate))} {fate}" for fate in fates if self._with(fate)]
        return f"{self.source}: tensors {', '.join(counts)}"

    def __str__(self) -> str:
        lines = [self.summary, *self.notes]
        width = max((len(record.name) for record in self.records), default=0)
        for record in self.records:
            ours = f"{record.name.ljust(width)}  {shape_text(record.shape)}  " if record.name else ""
            theirs = f"← {record.stored_name} {shape_text(record.stored_shape)}  " if record.stored_name else ""
            reason = f"({record.reason})" if record.reason else ""
            lines.append(f"  {record.fate.ljust(len(INITIALISED))}  {ours}{theirs}{reason}".rstrip())
        return "\n".join(lines)


def shape_text(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
