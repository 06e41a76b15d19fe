#!/usr/bin/env python3
"""Pooling of regions beside onnxruntime and beside plain TensorFlow that goes region by region, in turns.

300 regions of a map of 38 × 50 cells with 512 channels, pooled to 7 × 7: what Fast R-CNN does with a picture. Region
by region means: cut out, resize to 14 × 14, pool by 2, in a Python loop as it is first written, the same loop under
`tf.function`, and as a `tf.map_fn`. Ratios are the others' times over ours; what is judged is the fastest of them.
Memory is what a fresh process needs at its peak, above what it held before the measured pass.

example:
  scripts/benchmarks/roi.py
  scripts/benchmarks/roi.py --regions 1000 --rounds 30
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnx
import onnxruntime
import side_by_side
import tensorflow as tf

from garden import layers

HEIGHT, WIDTH, CHANNELS, BINS, STRIDE = 38, 50, 512, 7, 16
FORWARD_GOAL, TRAINING_GOAL = 2.0, 4.0


def inputs(num_regions: int) -> tuple[np.ndarray, np.ndarray]:
    """A random map and regions with random corners, in pixels."""
    chance = np.random.default_rng(0)
    corners = chance.uniform(0, (WIDTH * STRIDE, HEIGHT * STRIDE), (2, 1, num_regions, 2))
    regions = np.concatenate([corners.min(0), corners.max(0)], axis=-1).astype(np.float32)
    return chance.normal(size=(1, HEIGHT, WIDTH, CHANNELS)).astype(np.float32), regions


def cut_resize_pool(features: Any, region: Any) -> Any:
    """One region as one would write it first: (1, bins, bins, channels)."""
    left, top, right, bottom = tf.unstack(tf.cast(tf.round(region / STRIDE), tf.int32))
    cut = features[:, top : bottom + 1, left : right + 1]
    return tf.nn.max_pool2d(tf.image.resize(cut, (2 * BINS, 2 * BINS)), 2, 2, "VALID")


def by_loop(features: Any, regions: Any) -> Any:
    """All regions, one after the other."""
    return tf.concat([cut_resize_pool(features, regions[0, place]) for place in range(regions.shape[1])], axis=0)


def by_map(features: Any, regions: Any) -> Any:
    """All regions by `tf.map_fn`."""
    return tf.map_fn(lambda region: cut_resize_pool(features, region)[0], regions[0])


def with_gradient(pool: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The function, and the gradient of the sum of its output by the map."""

    def both(features: Any, regions: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = pool(features, regions)
        return pooled, tape.gradient(pooled, features, output_gradients=tf.ones_like(pooled))

    return both


def in_onnxruntime(features: np.ndarray, regions: np.ndarray, **node: Any) -> Callable[[], np.ndarray]:
    """A call of one node of ONNX over the same numbers; its map is (1, channels, height, width)."""
    rows = regions[0]
    feeds = {"features": np.ascontiguousarray(features.transpose(0, 3, 1, 2))}
    if node["op_type"] == "MaxRoiPool":
        feeds["regions"] = np.concatenate([np.zeros((len(rows), 1), np.float32), rows], axis=1)
    else:
        feeds |= {"regions": rows, "images": np.zeros(len(rows), np.int64)}
    kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feeds.items()}
    infos = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    output = onnx.helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, None)
    made = onnx.helper.make_node(inputs=list(feeds), outputs=["pooled"], spatial_scale=1 / STRIDE, **node)
    graph = onnx.helper.make_graph([made], "benchmark", infos, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)[0]


def calls_of(features: Any, regions: Any) -> dict[str, dict[str, Callable[[], Any]]]:
    """Pass → whose → call."""
    pooling = layers.ROIPooling2D(BINS, spatial_scale=1 / STRIDE)
    align = layers.ROIAlign2D(BINS, spatial_scale=1 / STRIDE)

    def compiled(pool: Callable[[Any, Any], Any]) -> Callable[[], Any]:
        function = tf.function(pool)
        return lambda: function(features, regions)

    def ours(features: Any, regions: Any) -> Any:
        return pooling([features, regions])

    arrays = features.numpy(), regions.numpy()
    return {
        "forward": {
            "garden": compiled(ours),
            "onnxruntime": in_onnxruntime(*arrays, op_type="MaxRoiPool", pooled_shape=[BINS, BINS]),
            "loop, compiled": compiled(by_loop),
            "map_fn, compiled": compiled(by_map),
        },
        "forward and backward": {
            "garden": compiled(with_gradient(ours)),
            "loop": lambda: with_gradient(by_loop)(features, regions),
            "loop, compiled": compiled(with_gradient(by_loop)),
            "map_fn, compiled": compiled(with_gradient(by_map)),
        },
        "RoI align, forward": {
            "garden": compiled(lambda features, regions: align([features, regions])),
            "onnxruntime": in_onnxruntime(
                *arrays,
                op_type="RoiAlign",
                output_height=BINS,
                output_width=BINS,
                sampling_ratio=2,
                coordinate_transformation_mode="half_pixel",
            ),
        },
    }


def kilobytes(field: str) -> int:
    """Memory of this process: VmRSS is what it holds, VmHWM the most that it has held.

    (`getrusage` would count the process that started this one.)
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


def print_memory_of(arguments: argparse.Namespace) -> None:
    """The role of a fresh process: MB at the peak of one pass."""
    features, regions = (tf.constant(array) for array in inputs(arguments.regions))
    kind, whose = arguments.memory_of
    # The libraries' own buffers and threads are no pass's memory.
    tf.matmul(tf.ones((256, 256)), tf.ones((256, 256)))
    call = calls_of(features, regions)[kind][whose]
    before = kilobytes("VmRSS")
    call()
    print((kilobytes("VmHWM") - before) // 1024)


def print_table_sizes() -> None:
    """What the tables of range maxima take, by arithmetic; a few cells less, as taller levels end earlier."""
    levels = [min(size, -(-size // BINS) + 1).bit_length() for size in (HEIGHT, WIDTH)]
    numbers = levels[0] * levels[1] * HEIGHT * WIDTH * CHANNELS
    print(
        f"# table of range maxima: {levels[0]} × {levels[1]} maps, {numbers * 4 / 1e6:.0f} MB "
        f"(for the gradient once more with 8 bytes a number: {numbers * 8 / 1e6:.0f} MB)"
    )


def main() -> int:
    """Print tables; exit code 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print_memory_of(arguments)
        return 0
    features, regions = (tf.constant(array) for array in inputs(arguments.regions))
    calls = calls_of(features, regions)
    for kind in ("forward", "RoI align, forward"):
        ours, theirs = (np.asarray(calls[kind][whose]()) for whose in ("garden", "onnxruntime"))
        difference = np.abs(ours[0].transpose(0, 3, 1, 2) - theirs).max()
        if difference > (0 if kind == "forward" else 1e-4):
            raise SystemExit(f"{kind}: onnxruntime's answer differs by {difference:.2g}.")
    print(f"# {side_by_side.machine()}; TensorFlow {tf.__version__}, onnxruntime {onnxruntime.__version__}")
    print(f"# {arguments.regions} regions of {HEIGHT}×{WIDTH}×{CHANNELS} to {BINS}×{BINS}; ", end="")
    print(f"median of {arguments.rounds} rounds; the answers agree")
    print_table_sizes()
    print(f"{'pass':22}{'whose':18}{'ms':>9}{'ratio':>8}{'peak MB':>9}")
    ratios = {}
    for kind, contenders in calls.items():
        seconds = side_by_side.medians(contenders, rounds=arguments.rounds, warm_up=2)
        ratios[kind] = {whose: one / seconds["garden"] for whose, one in seconds.items() if whose != "garden"}
        for whose, one in seconds.items():
            role = [sys.executable, __file__, "--regions", str(arguments.regions), "--memory-of", kind, whose]
            peak = subprocess.run(role, check=True, capture_output=True, text=True).stdout.strip()
            ratio = f"{ratios[kind][whose]:.2f}" if whose in ratios[kind] else ""
            print(f"{kind:22}{whose:18}{one * 1e3:9.1f}{ratio:>8}{peak:>9}", flush=True)
    forward, training = ratios["forward"]["onnxruntime"], min(ratios["forward and backward"].values())
    print(f"# onnxruntime's time over ours, forward: {forward:.2f} (goal: {FORWARD_GOAL} at least)")
    print(f"# fastest other's time over ours, forward and backward: {training:.2f} (goal: {TRAINING_GOAL} at least)")
    return int(forward < FORWARD_GOAL or training < TRAINING_GOAL)


if __name__ == "__main__":
    sys.exit(main())
