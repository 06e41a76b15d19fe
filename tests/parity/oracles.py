"""Independent implementations beside ours: how their networks run, and how ours gets the same weights.

`tests/parity/cases/<family>.py` lists what is compared; `test_parity.py` runs it, and `scripts/measure_parity.py`
writes the differences that the catalogue shows. Loaded by path: test folders are not packages.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

# Relative to the scale of the oracle's output.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class ParityCase:
    """One network of ours beside one of somebody else's.

    Args:
        architecture: Name of our entry.
        oracle: The other one as the catalogue names it, such as "keras.applications.ResNet50"; the version is added.
        package: The package whose version that is.
        difference: Builds both with the same random weights and returns `relative_difference` of the answers.
        slow: Whether it takes more than some ten seconds or more than a gigabyte.
    """

    architecture: str
    oracle: str
    package: str
    difference: Callable[[], float]
    slow: bool = False

    @property
    def oracle_with_version(self) -> str:
        return f"{self.oracle} ({self.package} {importlib.metadata.version(self.package)})"


def load_cases() -> list[ParityCase]:
    """All cases of tests/parity/cases, sorted by architecture and oracle."""
    cases: list[ParityCase] = []
    for path in sorted((Path(__file__).parent / "cases").glob("*.py")):
        name = f"parity_cases_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        cases.extend(module.CASES)
    return sorted(cases, key=lambda case: (case.architecture, case.oracle))


def relative_difference(ours: Any, theirs: Any) -> float:
    """Largest difference of two answers, divided by the largest number of the second.

    Raises: ValueError, if the second says nothing: not finite, or the same for all inputs or all classes.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"The answers must have one shape. Received: {ours.shape} and {theirs.shape}.")
    scale = np.abs(theirs).max()
    if not np.isfinite(theirs).all() or theirs.std(axis=-1).min() < 1e-3 * scale:
        raise ValueError("The oracle's answers do not tell classes apart; choose other weights.")
    if len(theirs) > 1 and np.ptp(theirs, axis=0).max() < 1e-3 * scale:
        raise ValueError("The oracle's answers do not tell pictures apart; choose other weights.")
    return float(np.abs(ours - theirs).max() / scale)


def random_pixels(shape: Sequence[int], *, batch: int = 2, seed: int = 1) -> np.ndarray:
    """Pixels as a network gets them: `(batch, height, width, channels)` about 0, float32."""
    return np.random.default_rng(seed).normal(size=(batch, *shape)).astype(np.float32)


def randomize_keras(model: keras.Model, *, seed: int = 5) -> None:
    """Random numbers in every weight, such that activations keep their size through many layers.

    Biases and moving statistics too: what begins as 0 or 1 would hide.
    """
    chance = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(_statistic(chance, weight.name, tuple(weight.shape)))
        else:
            for weight in layer.weights:
                weight.assign(_kernel_or_bias(chance, tuple(weight.shape), len(weight.shape)))


def _statistic(chance: np.random.Generator, role: str, shape: tuple[int, ...]) -> np.ndarray:
    if role in ("beta", "bias", "moving_mean", "running_mean"):
        return chance.normal(0, 0.2, shape).astype(np.float32)
    return chance.uniform(0.7, 1.3, shape).astype(np.float32)


def _kernel_or_bias(chance: np.random.Generator, shape: tuple[int, ...], axes: int) -> np.ndarray:
    if axes == 1:
        return chance.normal(0, 0.1, shape).astype(np.float32)
    # He initialization; a depthwise kernel (height, width, channels, 1) reads height × width numbers only.
    inputs = np.prod(shape[:-1]) if shape[-1] != 1 or axes < 4 else np.prod(shape[:2])
    return chance.normal(0, np.sqrt(2 / inputs), shape).astype(np.float32)


def randomize_torch(module: Any, *, seed: int = 5) -> None:
    """The same for a torch module; puts it into evaluation mode."""
    import torch

    chance = np.random.default_rng(seed)
    module.eval()
    with torch.no_grad():
        for part in module.modules():
            is_norm = isinstance(part, torch.nn.modules.batchnorm._BatchNorm)
            for name, tensor in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
                shape = tuple(tensor.shape)
                if name == "num_batches_tracked":
                    continue
                if is_norm:
                    numbers = _statistic(chance, name, shape)
                elif len(shape) == 1:
                    numbers = chance.normal(0, 0.1, shape)
                else:
                    numbers = chance.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
                tensor.copy_(torch.from_numpy(np.asarray(numbers, np.float32)))


def run_torch(module: Any, pixels: np.ndarray) -> np.ndarray:
    """The module's answer for our `(batch, height, width, channels)`."""
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).numpy()


def torch_weights_of(model: keras.Model, module: Any, names: Mapping[str, str] | None = None) -> None:
    """Give a Keras network the weights of a torch module.

    Args:
        names: Our layer → the torch module's name, such as "features.stage1.unit1.body.conv1.conv". By default the
            weighted layers of both are paired in their order (torch's order of definition, ours of creation in the
            graph), which must agree in every shape.
    Raises: ValueError, if a layer finds no partner, a shape differs or a torch module is left over.
    """
    parts = {name: part for name, part in module.named_modules() if any(True for _ in part.parameters(recurse=False))}
    layers = [layer for layer in model.layers if layer.weights]
    if names is None:
        if len(layers) != len(parts):
            raise ValueError(f"Our network has {len(layers)} layers with weights, the other one {len(parts)}.")
        names = dict(zip([layer.name for layer in layers], parts, strict=True))
    left = set(parts) - {names[layer.name] for layer in layers}
    if left:
        raise ValueError(f"Of the torch module these are left over: {sorted(left)[:5]}.")
    for layer in layers:
        set_torch_weights(layer, parts[names[layer.name]])


def set_torch_weights(layer: keras.layers.Layer, part: Any) -> None:
    """Give one Keras layer the weights of one torch module.

    A dense layer after a flattened map is the caller's business: its rows need reordering by `flattened_rows`.
    """
    tensors = {name: tensor.detach().numpy() for name, tensor in [*part.named_parameters(), *part.named_buffers()]}
    if isinstance(layer, keras.layers.BatchNormalization):
        roles = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        values = [tensors[roles[weight.name]] for weight in layer.weights]
    else:
        kernel = tensors["weight"]
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = kernel.transpose(2, 3, 0, 1)
        elif kernel.ndim == 4:
            kernel = kernel.transpose(2, 3, 1, 0)
        else:
            kernel = kernel.T
        # A dense layer here may be a 1×1 convolution there, and the other way round.
        kernel = kernel.reshape(layer.weights[0].shape) if kernel.size == np.prod(layer.weights[0].shape) else kernel
        values = [kernel, *([tensors["bias"]] if "bias" in tensors else [])]
    if [tuple(v.shape) for v in values] != [tuple(w.shape) for w in layer.weights]:
        raise ValueError(f"{layer.name} has {[w.shape for w in layer.weights]}, the other {[v.shape for v in values]}.")
    layer.set_weights(values)


def flattened_rows(kernel: np.ndarray, channels: int, height: int, width: int) -> np.ndarray:
    """A dense kernel `(channels · height · width, units)` for maps flattened channels first, for channels last."""
    units = kernel.shape[-1]
    return kernel.reshape(channels, height, width, units).transpose(1, 2, 0, 3).reshape(-1, units)


@dataclasses.dataclass(frozen=True)
class LightGraph:
    """A reference graph of the `onnx` package with random weights, without its softmax.

    Args:
        model: The ONNX model; its only output is the logits.
        weights: Name → numbers, in the order in which the graph's nodes use them.
        nodes: `(operation, names of its inputs that are weights)` for each node that has any, in the graph's order.
    """

    model: Any
    weights: dict[str, np.ndarray]
    nodes: tuple[tuple[str, tuple[str, ...]], ...]


def light_graph(name: str, *, seed: int = 5, replace_trained: bool = False) -> LightGraph:
    """One of the reference graphs inside the `onnx` package, such as "light_bvlc_alexnet".

    The package fills all weights with constants, which make any answer uninformative; here they are random.

    Args:
        replace_trained: Also the few small tensors that it kept as they were trained, which fit no other weights.
    """
    import onnx
    from onnx import helper, numpy_helper

    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / f"{name}.onnx"
    model = onnx.load(path)
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants = {node.output[0]: shapes[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    if replace_trained:
        read = {entry for node in graph.node for entry in node.input}
        trained = [t for t in graph.initializer if shapes[t.name].dtype == np.float32 and t.name in read]
        constants.update((tensor.name, np.array(tensor.dims)) for tensor in trained)
        for tensor in trained:
            graph.initializer.remove(tensor)
    # A per-channel constant may pass through Unsqueeze before it multiplies or is added.
    origin = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Unsqueeze"}
    chance = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    nodes = []
    for node in graph.node:
        names = [origin.get(entry, entry) for entry in node.input]
        used = tuple(entry for entry in names if entry in constants)
        if node.op_type in ("ConstantOfShape", "Unsqueeze") or not used:
            continue
        nodes.append((node.op_type, used))
        for place, entry in enumerate(names):
            if entry in constants and entry not in weights:
                weights[entry] = _onnx_numbers(chance, node.op_type, place, tuple(map(int, constants[entry])))
    kept = [node for node in graph.node if node.op_type not in ("ConstantOfShape", "Softmax")]
    softmax = next((node for node in graph.node if node.op_type == "Softmax"), None)
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(array, key) for key, array in weights.items())
    if softmax is not None:
        del graph.output[:]
        graph.output.append(helper.make_empty_tensor_value_info(softmax.input[0]))
    return LightGraph(model, weights, tuple(nodes))


def _onnx_numbers(chance: np.random.Generator, operation: str, place: int, shape: tuple[int, ...]) -> np.ndarray:
    if operation == "Mul" or (operation == "BatchNormalization" and place in (1, 4)):
        return chance.uniform(0.7, 1.3, shape).astype(np.float32)
    if len(shape) == 1:
        return chance.normal(0, 0.1, shape).astype(np.float32)
    return chance.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)


def run_onnx(model: Any, pixels: np.ndarray) -> np.ndarray:
    """The first output of an ONNX model for our `(batch, height, width, channels)`, image by image."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    images = pixels.transpose(0, 3, 1, 2)
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def keras_case(
    architecture: str,
    theirs: Callable[..., keras.Model],
    *,
    size: int,
    slow: bool = False,
    num_classes: int = 50,
    pixels_scale: float = 1.0,
    **arguments: Any,
) -> ParityCase:
    """A network of keras.applications: its own weight file, read by our `load_weights`, gives its answers.

    Args:
        theirs: The builder, such as `keras.applications.VGG16`.
        size: Height and width in pixels.
        arguments: Further ones of the builder.
    """

    def difference() -> float:
        import tempfile

        from garden import architectures, weights

        keras.utils.set_random_seed(5)
        network = theirs(
            input_shape=(size, size, 3), weights=None, classes=num_classes, classifier_activation=None, **arguments
        )
        randomize_keras(network)
        ours = architectures.build(architecture, num_classes=num_classes, input_shape=(size, size, 3))
        with tempfile.TemporaryDirectory() as folder:
            # The old format, which is what keras.applications publishes.
            path = Path(folder) / "theirs.h5"
            save_legacy_h5(network, path)
            report = weights.load_weights(ours, path, architecture=architectures.get(architecture))
        # A dense layer here may be a 1×1 convolution there.
        found = len(report.matched) + len(report.transposed)
        if found != len(ours.weights):
            raise ValueError(f"Of {len(ours.weights)} weights {found} were found in the file.")
        pixels = pixels_scale * random_pixels((size, size, 3))
        return relative_difference(ours(pixels), network(pixels))

    return ParityCase(architecture, f"keras.applications.{theirs.__name__}", "keras", difference, slow)


def pytorchcv_file_case(
    architecture: str,
    theirs: str,
    *,
    size: int,
    slow: bool = False,
    num_classes: int = 50,
    pixels_scale: float = 1.0,
    adapt: Callable[[Any], None] | None = None,
    **options: Any,
) -> ParityCase:
    """A network of pytorchcv: its own PyTorch file, read by our `load_weights`, gives its answers.

    Args:
        theirs: Its file and name there, such as "vgg.bn_vgg16b".
        size: Height and width in pixels.
        adapt: Changes the module first, such as its layers that expect one size only.
        options: Of our network.
    """

    def difference() -> float:
        import importlib
        import tempfile

        import torch

        from garden import architectures, weights

        # Its list of all models imports torchvision, whose compiler some builds of torch cannot load beside TensorFlow.
        file, function = theirs.split(".")
        module = getattr(importlib.import_module(f"pytorchcv.models.{file}"), function)(num_classes=num_classes)
        if adapt is not None:
            adapt(module)
        randomize_torch(module)
        ours = architectures.build(architecture, num_classes=num_classes, input_shape=(size, size, 3), **options)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "theirs.pth"
            torch.save(module.state_dict(), path)
            report = weights.load_weights(ours, path, architecture=architectures.get(architecture))
        found = len(report.matched) + len(report.transposed)
        if found != len(ours.weights):
            raise ValueError(f"Of {len(ours.weights)} weights {found} were found in the file.")
        pixels = pixels_scale * random_pixels((size, size, 3))
        return relative_difference(ours(pixels), run_torch(module, pixels))

    oracle = f"pytorchcv {theirs.split('.')[1]}" + "".join(f", {option}={value!r}" for option, value in options.items())
    return ParityCase(architecture, oracle, "pytorchcv", difference, slow)


def graph_case(
    architecture: str,
    graph_name: str,
    layers: Sequence[str],
    *,
    size: int = 224,
    slow: bool = True,
    pixels_scale: float = 1.0,
    **options: Any,
) -> ParityCase:
    """A reference graph of the `onnx` package whose weights are kernels and biases in turn.

    Args:
        layers: Our layers in the order of the graph.
        size: Height and width in pixels, which the graph is made to declare.
        options: Of our network.
    """

    def difference() -> float:
        from garden import architectures

        graph = light_graph(graph_name, replace_trained=True)
        declared = next(entry for entry in graph.model.graph.input if entry.name not in graph.weights)
        for axis in (2, 3):
            declared.type.tensor_type.shape.dim[axis].dim_value = size
        ours = architectures.build(architecture, input_shape=(size, size, 3), **options)
        tensors = [graph.weights[name] for _, names in graph.nodes for name in names]
        for name, kernel, bias in zip(layers, tensors[::2], tensors[1::2], strict=True):
            layer = ours.get_layer(name)
            before = layer.input._keras_history.operation
            if kernel.ndim == 4 and not isinstance(layer, keras.layers.Dense):
                kernel = kernel.transpose(2, 3, 1, 0)
            else:
                kernel = kernel.reshape(kernel.shape[-2:]).T
            if isinstance(before, keras.layers.Flatten):
                height, width, channels = before.input.shape[1:]
                kernel = flattened_rows(kernel, channels, height, width)
            layer.set_weights([kernel, bias])
        left = {layer.name for layer in ours.layers if layer.weights} - set(layers)
        if left:
            raise ValueError(f"The graph has no weights for {sorted(left)}.")
        pixels = pixels_scale * random_pixels((size, size, 3))
        return relative_difference(ours(pixels), run_onnx(graph.model, pixels))

    oracle = f"onnx {graph_name}" + "".join(f", {option}={value!r}" for option, value in options.items())
    return ParityCase(architecture, oracle, "onnx", difference, slow)


def save_legacy_h5(model: keras.Model, path: Path) -> None:
    """Weights as keras.applications publishes them: one group a layer, in an HDF5 file."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
