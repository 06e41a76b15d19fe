"""Tiny SavedModels of TF1, made as graphs; the fixture is in `conftest.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ClassicModels:
    """Directories of SavedModels of TF1, made as graphs, with signatures that TF2 would not let one make.

    Attributes:
        half_plus_two: As upstream's test model. Predict: x → y = x/2 + 2. Of tf.Examples with the feature x and perhaps
            x2: `regress_x_to_y`: y; `regress_x_to_y2`: x/2 + 3; `regress_flat`: y of rank 1; `classify_x_to_y`: y as
            scores; `classify_x_to_label`: large or small; `classify_x_to_both`. `regress_x2_to_y3` is fed floats.
        odd: Signatures whose tensors are not as Classify and Regress want them, one name each: see `_odd_signatures`.
            None of them reads the examples.
        echo: `{type}` for every type: x of any shape → y, the same.
    """

    half_plus_two: Path
    odd: Path
    echo: Path


# numpy's names; those that TensorFlow's session takes and gives.
ECHOED_TYPES = (
    "float32", "float64", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool", "qint8",
    "quint8", "qint32", "bfloat16", "qint16", "quint16", "uint16", "complex128", "float16", "uint32", "uint64",
    "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4",
)  # fmt: skip


def save_all(root: Path) -> ClassicModels:
    """Make each of them below a folder."""
    import tensorflow as tf

    def save(name: str, make: Callable[[], dict[str, Any]]) -> Path:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            signatures = make()
            session.run(tf.compat.v1.global_variables_initializer())
            builder = tf.compat.v1.saved_model.Builder(str(root / name))
            builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
            builder.save()
        return root / name

    return ClassicModels(
        half_plus_two=save("half_plus_two", _half_plus_two_signatures),
        odd=save("odd", _odd_signatures),
        echo=save("echo", _echo_signatures),
    )


def _classic_signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    import tensorflow as tf

    def info(tensors: dict[str, Any]) -> dict[str, Any]:
        return {alias: tf.compat.v1.saved_model.build_tensor_info(tensor) for alias, tensor in tensors.items()}

    method = f"tensorflow/serving/{method}" if method in ("predict", "classify", "regress") else method
    return tf.compat.v1.saved_model.build_signature_def(info(inputs), info(outputs), method)


def _half_plus_two_signatures() -> dict[str, Any]:
    import tensorflow as tf

    examples = tf.compat.v1.placeholder(tf.string, [None], name="tf_example")
    features = {
        "x": tf.io.FixedLenFeature([1], tf.float32),
        "x2": tf.io.FixedLenFeature([1], tf.float32, default_value=[0.0]),
    }
    parsed = tf.io.parse_example(examples, features)
    half, two, three = (tf.compat.v1.get_variable(n, initializer=v) for n, v in (("a", 0.5), ("b", 2.0), ("c", 3.0)))
    x = tf.identity(parsed["x"], name="x")
    x2 = tf.identity(parsed["x2"], name="x2")
    y = tf.add(half * x, two, name="y")
    y2 = tf.add(half * x, three, name="y2")
    y3 = tf.add(half * x2, three, name="y3")
    flat = tf.reshape(y, [-1], name="flat")
    labels = tf.where(y > 10.0, tf.fill(tf.shape(y), "large"), tf.fill(tf.shape(y), "small"), name="labels")
    of_examples = {"inputs": examples}
    return {
        "serving_default": _classic_signature("predict", {"x": x}, {"y": y}),
        "regress_x_to_y": _classic_signature("regress", of_examples, {"outputs": y}),
        "regress_x_to_y2": _classic_signature("regress", of_examples, {"outputs": y2}),
        "regress_flat": _classic_signature("regress", of_examples, {"outputs": flat}),
        "regress_x2_to_y3": _classic_signature("regress", {"inputs": x2}, {"outputs": y3}),
        "classify_x_to_y": _classic_signature("classify", of_examples, {"scores": y}),
        "classify_x_to_label": _classic_signature("classify", of_examples, {"classes": labels}),
        "classify_x_to_both": _classic_signature("classify", of_examples, {"classes": labels, "scores": y}),
    }


def _odd_signatures() -> dict[str, Any]:
    import tensorflow as tf

    examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
    other = tf.compat.v1.placeholder(tf.string, [None], name="other")
    count = tf.size(examples)

    def filled(value: Any, *sizes: Any) -> Any:
        return tf.fill(tf.stack([count if size is None else size for size in sizes]), value)

    def classify(inputs: dict[str, Any] | None = None, **outputs: Any) -> Any:
        return _classic_signature("classify", inputs or {"inputs": examples}, outputs)

    def regress(inputs: dict[str, Any] | None = None, **outputs: Any) -> Any:
        return _classic_signature("regress", inputs or {"inputs": examples}, outputs)

    labels, scores = filled("a", None, 2), filled(0.5, None, 2)
    numbers = filled(0.5, None)
    failing = tf.debugging.check_numerics(numbers / 0.0, "divided by zero")
    return {
        "two_inputs": classify({"inputs": examples, "other": other}, scores=scores),
        "no_outputs": classify(),
        "three_outputs": classify(classes=labels, scores=scores, more=numbers),
        "no_inputs": classify({"examples": examples}, scores=scores),
        "neither": classify(probabilities=scores),
        "integer_classes": classify(classes=filled(1, None, 2)),
        "double_scores": classify(scores=filled(tf.constant(0.5, tf.float64), None, 2)),
        "flat_classes": classify(classes=filled("a", None)),
        "deep_scores": classify(scores=filled(0.5, None, 2, 3)),
        "scalar_scores": classify(scores=tf.constant(0.5)),
        "short_classes": classify(classes=filled("a", 1, 2), scores=scores),
        "short_scores": classify(scores=filled(0.5, 1, 2)),
        "two_of_three": classify(classes=labels, scores=filled(0.5, None, 3)),
        "all_wrong": classify(classes=filled("a", None), scores=filled(tf.constant(0.5, tf.float64), None, 2)),
        "no_columns": classify(scores=filled(0.5, None, 0)),
        "not_utf8": classify(classes=filled(b'\xff"\n', None, 1)),
        "regress_two_inputs": regress({"inputs": examples, "other": other}, outputs=numbers),
        "regress_two_outputs": regress(outputs=numbers, more=numbers),
        "regress_no_inputs": regress({"examples": examples}, outputs=numbers),
        "regress_no_outputs": regress(values=numbers),
        "regress_wide": regress(outputs=scores),
        "regress_no_columns": regress(outputs=filled(0.5, None, 0)),
        "regress_scalar": regress(outputs=tf.constant(0.5)),
        "regress_short": regress(outputs=filled(0.5, 1)),
        "regress_integers": regress(outputs=filled(1, None)),
        "regress_specials": regress(outputs=tf.stack([0.1, float("nan"), float("inf"), -float("inf")])),
        "own_method": _classic_signature("some/method", {"inputs": examples}, {"outputs": numbers, "scores": scores}),
        "no_method": _classic_signature("", {"inputs": examples}, {"scores": scores}),
        "predict_method": _classic_signature("predict", {"inputs": examples}, {"outputs": numbers}),
        "no_inputs_at_all": _classic_signature("predict", {}, {"y": tf.constant([1.0, 2.0])}),
        "twice": _classic_signature("predict", {"x": examples}, {"a": numbers, "b": numbers}),
        "passed_through": _classic_signature("predict", {"x": examples}, {"y": examples}),
        "good_and_bad": _classic_signature("predict", {"x": examples}, {"good": numbers, "bad": failing}),
        "ragged": _classic_signature("predict", {"x": examples}, {"long": numbers, "short": filled(0.5, 1)}),
    }


def _echo_signatures() -> dict[str, Any]:
    import tensorflow as tf

    signatures = {}
    for name in ECHOED_TYPES:
        x = tf.compat.v1.placeholder(getattr(tf, name, None) or name, name=f"{name}_x")
        signatures[name] = _classic_signature("predict", {"x": x}, {"y": tf.identity(x)})
    return signatures
