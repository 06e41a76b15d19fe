"""Which engine computes which model: the value of `--engine`, read without loading any of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection

from serving.errors import FailedPrecondition, InvalidArgument

TENSORFLOW, OPENVINO, TFLITE = "tensorflow", "openvino", "tflite"
EVERY_OTHER_MODEL = "*"
BFLOAT16 = "bfloat16"
# The packages that an engine needs beyond those of every installation, by the extra that brings them.
_PACKAGES = {TENSORFLOW: None, OPENVINO: "openvino", TFLITE: None}


def parse(text: str) -> dict[str, str]:
    """Engines by model; under "*" that of every model that is not named.

    Args:
        text: `ENGINE`, or `MODEL=ENGINE,OTHER=ENGINE,*=ENGINE`.
    Raises: InvalidArgument.
    """
    chosen: dict[str, str] = {}
    for part in text.split(","):
        model, equals, engine = part.rpartition("=")
        model = model.strip() if equals else EVERY_OTHER_MODEL
        if engine.strip() not in _PACKAGES or not model:
            raise InvalidArgument(
                f"--engine={text}: {part.strip() or 'an empty part'!r} names no engine. Write one of "
                f"{', '.join(_PACKAGES)}, or MODEL=ENGINE pairs with commas between them and *=ENGINE for the rest."
            )
        if model in chosen:
            raise InvalidArgument(f"--engine={text} names {_called(model)} twice. Give each model one engine.")
        chosen[model] = engine.strip()
    chosen.setdefault(EVERY_OTHER_MODEL, TENSORFLOW)
    return chosen


def check(
    text: str,
    *,
    models: Collection[str] | None,
    tolerance: float = 0.0,
    is_isolated: bool = False,
    memory_limit_mb: int = 0,
) -> None:
    """Refuse values of `--engine` and the flags beside it that cannot work.

    Args:
        text: The value of `--engine`.
        models: All models there will be; None where they may come and go.
        tolerance: The value of `--engine_tolerance`.
        is_isolated: Whether models have processes of their own.
        memory_limit_mb: The value of `--model_memory_limit_mb`.
    Raises: InvalidArgument, for what cannot be read, contradicts itself or names a model that is not served;
        FailedPrecondition, for an engine that is not installed.
    """
    if not tolerance >= 0:
        raise InvalidArgument(f"--engine_tolerance={tolerance:g} is no tolerance; give 0 or more.")
    if memory_limit_mb < 0 or (memory_limit_mb and not is_isolated):
        raise InvalidArgument(
            f"--model_memory_limit_mb={memory_limit_mb} limits the processes of --isolate_models: set that flag too, "
            "and give a positive number, or leave the limit out."
        )
    chosen = parse(text)
    unknown = sorted(set(chosen) - {EVERY_OTHER_MODEL} - set(models)) if models is not None else []
    if unknown:
        raise InvalidArgument(
            f"--engine={text} names the model {unknown[0]!r}, which this server does not serve. "
            f"Its models: {', '.join(sorted(models or ()))}."
        )
    for engine in sorted(set(chosen.values())):
        package = _PACKAGES[engine]
        if package is not None and importlib.util.find_spec(package) is None:
            raise FailedPrecondition(
                f"--engine={text} needs the package {package}, which is not installed. "
                f"Install it with: pip install 'garden[{package}]'"
            )


def check_session(*, gpu_memory_fraction: float, mixed_precision: str) -> None:
    """Refuse values of flags about TensorFlow's sessions that mean nothing.

    Raises: InvalidArgument.
    """
    if not 0 <= gpu_memory_fraction <= 1:
        raise InvalidArgument(
            f"--per_process_gpu_memory_fraction={gpu_memory_fraction:g} is no share; give a number from 0 to 1."
        )
    if mixed_precision not in ("", BFLOAT16):
        raise InvalidArgument(
            f"--mixed_precision={mixed_precision} is not known; give {BFLOAT16}, or leave the flag out."
        )


def _called(model: str) -> str:
    return "the rest (*)" if model == EVERY_OTHER_MODEL else f"the model {model!r}"
