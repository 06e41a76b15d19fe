"""Tiny SavedModels with answers known on paper; the fixture is in `conftest.py`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SavedModels:
    """Directories of SavedModels, each one version, to be copied under base paths.

    Attributes:
        arithmetic: `serving_default`: a, b float [?] → sum, difference; `text`: text string [?] → reversed_bytes,
            length; `classify`: serialized tf.Examples with feature x → classes, scores; `scalar`: → rank 0.
        arithmetic_plus_100: The same, with 100 added to every sum.
        slow: `serving_default`: steps int64 [] → done, after so many steps of a loop that takes time.
        defaults: `serving_default`: a, b float [?] with b = 10 as the signature's default → sum.
    """

    arithmetic: Path
    arithmetic_plus_100: Path
    slow: Path
    defaults: Path


def save_all(root: Path) -> SavedModels:
    """Make each of them below a folder."""
    import tensorflow as tf

    class Arithmetic(tf.Module):
        def __init__(self, added: float) -> None:
            super().__init__()
            self.added = tf.Variable(added)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "a"), tf.TensorSpec([None], tf.float32, "b")])
        def add(self, a: Any, b: Any) -> dict[str, Any]:
            return {"sum": a + b + self.added, "difference": a - b}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def text(self, text: Any) -> dict[str, Any]:
            characters = tf.strings.bytes_split(text)
            joined = tf.strings.reduce_join(tf.reverse(characters.to_tensor(""), [1]), axis=1)
            return {"reversed_bytes": joined, "length": tf.strings.length(text)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
        def classify(self, inputs: Any) -> dict[str, Any]:
            x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
            labels = tf.tile(tf.constant([["small", "large"]]), [tf.shape(x)[0], 1])
            return {"classes": labels, "scores": tf.concat([1.0 - x, x], axis=1)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def scalar(self, x: Any) -> dict[str, Any]:
            return {"total": tf.reduce_sum(x)}

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32, "numbers")])
        def integers(self, numbers: Any) -> dict[str, Any]:
            return {"doubled": numbers * 2}

    def save(module: Any, name: str, signatures: dict[str, Any]) -> Path:
        tf.saved_model.save(module, str(root / name), signatures=signatures)
        return root / name

    def save_arithmetic(added: float, name: str) -> Path:
        module = Arithmetic(added)
        return save(
            module,
            name,
            {
                "serving_default": module.add,
                "text": module.text,
                "classify": module.classify,
                "scalar": module.scalar,
                "integers": module.integers,
            },
        )

    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "steps")])
        def loop(self, steps: Any) -> dict[str, Any]:
            def body(i: Any, x: Any) -> tuple[Any, Any]:
                return i + 1, tf.linalg.matmul(x, x) / 64.0

            i, x = tf.while_loop(lambda i, x: i < steps, body, (tf.constant(0, tf.int64), tf.ones([64, 64])))
            return {"done": i + tf.cast(x[0, 0] * 0, tf.int64)}

    slow = Slow()
    defaults = root / "defaults"
    plain = save_arithmetic(0.0, "arithmetic")
    shutil.copytree(plain, defaults)
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel.FromString((defaults / "saved_model.pb").read_bytes())
    signature = message.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
    (defaults / "saved_model.pb").write_bytes(message.SerializeToString())
    return SavedModels(
        arithmetic=plain,
        arithmetic_plus_100=save_arithmetic(100.0, "arithmetic_plus_100"),
        slow=save(slow, "slow", {"serving_default": slow.loop}),
        defaults=defaults,
    )
