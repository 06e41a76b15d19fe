"""Which models are answered where their requests arrive: bounded graphs whose own time is next to nothing."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from serving import pace
from serving.session_engine import SessionEngine

SMALL = [np.zeros(4, np.float32)]
LARGE = [np.zeros(pace.QUICK_REQUEST_BYTES, np.float32)]


def paced(*seconds: float, is_bounded: bool = True) -> pace.Pace:
    made = pace.Pace(is_bounded=is_bounded)
    for one in seconds:
        made.record(one)
    return made


@pytest.mark.parametrize(
    ("operations", "answer"),
    [
        ({"Placeholder", "MatMul", "Relu", "SaveV2"}, True),
        ({"Placeholder", "While"}, False),
        ({"Placeholder", "DecodeJpeg"}, False),
        ({"Placeholder", "Fill"}, False),
    ],
    ids=lambda value: "-".join(sorted(value)) if isinstance(value, set) else "",
)
def test_loops_decoding_and_shapes_from_values_are_not_bounded(operations, answer):
    assert pace.is_bounded(operations) is answer


def test_five_quick_runs_are_trusted_and_four_are_not():
    assert not paced(*[1e-5] * 4).is_quick(100)
    assert paced(*[1e-5] * 5).is_quick(100)
    assert not paced(*[1e-5] * 5, is_bounded=False).is_quick(100)
    assert not paced(*[1e-5] * 5).is_quick(pace.QUICK_REQUEST_BYTES + 1)


def test_the_first_run_does_not_count_and_a_slow_one_is_forgotten_after_six_quick_ones():
    assert paced(3.0, *[1e-5] * 4).is_quick(100)
    made = paced(*[1e-5] * 5, 3.0)
    for _ in range(6):
        assert not made.is_quick(100), "3 s count as 5 ms, and a fifth of that is far above the limit"
        made.record(1e-5)
    assert made.is_quick(100)


def test_the_first_runs_are_tried_and_then_every_eighth_but_never_large_ones():
    made = paced()
    assert all(made.shall_try(SMALL) for _ in range(5))
    assert not made.shall_try(LARGE)
    for _ in range(5):
        made.record(1.0)
    tried = [made.shall_try(SMALL) for _ in range(32)]
    assert sum(tried) == 4
    assert not any(paced(is_bounded=False).shall_try(SMALL) for _ in range(16))


def test_a_quick_model_is_found_quick_while_threads_hold_the_interpreter(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.half = tf.Variable(0.5)
    module.f = tf.function(
        lambda x: {"y": x * module.half}, input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.f})
    servable = SessionEngine().load(tmp_path)
    signature = servable.signatures["serving_default"]
    feeds = {signature.inputs["x"].name: np.ones(3, np.float32)}
    outputs = [signature.outputs["y"].name]
    is_over = threading.Event()

    def hold() -> None:
        while not is_over.is_set():
            sum(range(10_000))

    holders = [threading.Thread(target=hold) for _ in range(2)]
    for holder in holders:
        holder.start()
    try:
        # Each run waits for the lock, up to 5 ms a holder: a clock on the wall would never see six quick ones in a row,
        # the thread's sees them as soon as nothing else (a garbage collection, say) ran in this thread in between.
        assert any(servable.run(feeds, outputs) and servable.is_quick(100) for _ in range(800))
    finally:
        is_over.set()
        for holder in holders:
            holder.join()
        servable.unload()
