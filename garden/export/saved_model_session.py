"""A SavedModel in a TF1 Session: the runtime that stock TF Serving uses, without the server."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import tensorflow as tf

from garden.errors import ExportError


class SavedModelSession:
    """Loads a SavedModel for as long as the `with` block lasts.

    Args:
        path: A directory with `saved_model.pb`.
    Raises: ExportError, if `path` holds no SavedModel that loads.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "saved_model.pb").is_file():
            raise ExportError(
                f"{path} holds no SavedModel (there is no saved_model.pb). "
                "Name a version directory that `garden export` wrote, such as models/pets/1."
            )
        # A check needs no GPU and shall take none of its memory; and a GPU's rounding is not the CPU's.
        config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            # The loader is deprecated for new code, but it is the one that TF Serving's runtime corresponds to.
            with quiet_tensorflow(), self._session.graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
            self._session.close()
            reason = first_line(error)
            raise ExportError(
                f"{path} does not load in a TensorFlow session, so TF Serving would refuse it too: {reason}. "
                "Export the run again."
            ) from error
        self.signatures = dict(meta_graph.signature_def)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The answer of one signature.

        Args:
            signature: Its name.
            inputs: Arrays by input name; bytes as object arrays.
        Raises: ExportError, if the signature is missing or the graph fails.
        """
        if signature not in self.signatures:
            known = ", ".join(sorted(self.signatures))
            raise ExportError(f"The SavedModel has no signature {signature!r}; it has {known}. Export the run again.")
        definition = self.signatures[signature]
        feeds = {definition.inputs[name].name: value for name, value in inputs.items()}
        fetches = {name: output.name for name, output in definition.outputs.items()}
        try:
            return self._session.run(fetches, feeds)
        except tf.errors.OpError as error:
            raise ExportError(f"The signature {signature!r} fails: {first_line(error)}") from error

    def __enter__(self) -> SavedModelSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keep back what TensorFlow tells of written files, untraced functions and deprecated loaders."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def first_line(error: BaseException) -> str:
    """What a runtime error says, without TensorFlow's stack of graph nodes."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A session puts this heading before the message itself.
    told = [line for line in lines if line != "Graph execution error:" and not line.startswith("Detected at node")]
    return told[0] if told else type(error).__name__
