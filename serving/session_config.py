"""TensorFlow's session options from the command line: a ConfigProto file, and the flags beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving import engine_choice
from serving.errors import InvalidArgument

_XLA_FLAGS = "TF_XLA_FLAGS"
_XLA_ON_CPU = "--tf_xla_cpu_global_jit"


def make(
    *,
    file: Path | None = None,
    gpu_memory_fraction: float = 0.0,
    xla_on_cpu: bool = False,
    xla_on_gpu: bool = False,
    mixed_precision: str = "",
) -> Any:
    """A `tensorflow.ConfigProto`; a flag that is given wins over the file.

    Args:
        file: A text ConfigProto; None for an empty one.
        gpu_memory_fraction: Share of each GPU's memory that TensorFlow may take; 0: as it needs.
        xla_on_cpu: Compile graphs on the CPU. A setting of the process, which reaches every session.
        xla_on_gpu: Compile graphs on GPUs.
        mixed_precision: "bfloat16" or "".
    Raises: InvalidArgument, for a file that cannot be read or parsed and for an unknown precision.
    """
    engine_choice.check_session(gpu_memory_fraction=gpu_memory_fraction, mixed_precision=mixed_precision)
    import tensorflow as tf
    from tensorflow.core.protobuf import rewriter_config_pb2

    config = tf.compat.v1.ConfigProto()
    if file is not None:
        try:
            text_format.Parse(file.read_text(encoding="utf-8"), config)
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"Invalid protobuf file: '{file}' ({error})") from error
        except text_format.ParseError as error:
            raise InvalidArgument(
                f"Invalid protobuf file: '{file}'\nError parsing text-format tensorflow.ConfigProto: {error}"
            ) from error
    if gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = gpu_memory_fraction
    if xla_on_cpu or xla_on_gpu:
        config.graph_options.optimizer_options.global_jit_level = tf.compat.v1.OptimizerOptions.ON_1
    if xla_on_cpu and _XLA_ON_CPU not in os.environ.get(_XLA_FLAGS, ""):
        # Read once, when the first graph is compiled. Without it the level above means GPUs only.
        os.environ[_XLA_FLAGS] = f"{os.environ.get(_XLA_FLAGS, '')} {_XLA_ON_CPU}".strip()
    if mixed_precision == engine_choice.BFLOAT16:
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = (
            rewriter_config_pb2.RewriterConfig.ON
        )
    return config
