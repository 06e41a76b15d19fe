"""Tiny networks with answers known on paper, an export of one, a stock gRPC server that serves it, sample photos, and
pretrained networks.

TensorFlow is imported inside the fixtures only, so that tests of light modules stay light.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta")
# Columns: one for each colour; rows: mean red, green and blue of the picture, 0..1.
COLOUR_KERNEL = np.array(
    [
        [4.0, -4.0, -4.0, 2.0, -4.0, 2.0],
        [-4.0, 4.0, -4.0, 2.0, 2.0, -4.0],
        [-4.0, -4.0, 4.0, -4.0, 2.0, 2.0],
    ],
    np.float32,
)
COLOUR_TEMPERATURE = 2.0


def encode(pixels: np.ndarray, encoding: str = "PNG") -> bytes:
    """A picture file of `pixels`."""
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, encoding)
    return stream.getvalue()


def plain_picture(colour: tuple[int, int, int], *, height: int = 10, width: int = 14) -> bytes:
    """A PNG of one colour."""
    return encode(np.full((height, width, 3), colour))


def colour_logits(colour: tuple[float, float, float]) -> np.ndarray:
    """What the colour network says of a plain picture, on paper."""
    return np.array(colour, np.float32) / 255 @ COLOUR_KERNEL


def colour_scores(colour: tuple[float, float, float]) -> np.ndarray:
    """Softmax of the logits over the temperature, on paper."""
    powers = np.exp(colour_logits(colour) / COLOUR_TEMPERATURE)
    return powers / powers.sum()


def make_colour_model() -> Any:
    """A TrainedModel that names the mean colour of a picture."""
    import keras

    from garden.image_spec import ImageSpec
    from garden.trained_model import TrainedModel

    image = keras.Input((8, 8, 3), name="image")
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(image)
    network = keras.Model(image, keras.layers.Dense(len(COLOURS), name="logits")(mean))
    network.get_layer("logits").set_weights([COLOUR_KERNEL, np.zeros(len(COLOURS))])
    return TrainedModel(
        network=network,
        labels=COLOURS,
        image_spec=ImageSpec(8, 8, std=(255.0, 255.0, 255.0)),
        features_layer="mean",
        temperature=COLOUR_TEMPERATURE,
        unknown_threshold=0.5,
        metrics={"accuracy": 0.75},
        provenance={"seed": 7},
    )


def make_convolutional_model(*, seed: int = 3, num_classes: int = 3) -> Any:
    """A TrainedModel with what real ones have: convolutions, batch statistics, dropout, feature maps."""
    import keras

    from garden.image_spec import ImageSpec
    from garden.trained_model import TrainedModel

    keras.utils.set_random_seed(seed)
    image = keras.Input((24, 32, 3), name="image")
    x = keras.layers.Conv2D(8, 3, strides=2, name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.ReLU(name="maps")(x)
    x = keras.layers.Dropout(0.5, name="dropout")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    network = keras.Model(image, keras.layers.Dense(num_classes, name="logits")(x))
    chance = np.random.default_rng(seed)
    norm = network.get_layer("norm")
    # Moving statistics that are not 0 and 1: a graph that runs in training mode would answer otherwise.
    norm.set_weights([chance.uniform(0.5, 2, 8) for _ in range(4)])
    return TrainedModel(
        network=network,
        labels=tuple(f"class {index}" for index in range(num_classes)),
        image_spec=ImageSpec(24, 32, mean=(127.0,) * 3, std=(60.0,) * 3),
        features_layer="maps",
        temperature=1.3,
    )


@pytest.fixture(name="encode", scope="session")
def _encode() -> Any:
    return encode


@pytest.fixture(name="plain_picture", scope="session")
def _plain_picture() -> Any:
    return plain_picture


@pytest.fixture(name="colour_logits", scope="session")
def _colour_logits() -> Any:
    return colour_logits


@pytest.fixture(name="colour_scores", scope="session")
def _colour_scores() -> Any:
    return colour_scores


@pytest.fixture
def convolutional_model() -> Any:
    """A TrainedModel with convolutions, batch statistics and dropout; the test's own."""
    return make_convolutional_model()


@pytest.fixture(scope="session")
def colour_model() -> Any:
    """The TrainedModel whose answers are known on paper; not to be changed."""
    return make_colour_model()


@pytest.fixture(scope="session")
def exported_colours(colour_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The colour network as `colours`, version 1; not to be changed."""
    from garden.export import GoldenImage, export

    images = [
        GoldenImage("red.png", plain_picture((255, 0, 0)), "red"),
        GoldenImage("teal.png", plain_picture((10, 200, 180)), "cyan"),
    ]
    return export(colour_model, tmp_path_factory.mktemp("models"), name="colours", golden_images=images)


class FakeServer:
    """A stock gRPC servicer before an exported model; fails on request.

    Args:
        model_path: A version directory; served as `colours`, version 1.
    """

    def __init__(self, model_path: Path) -> None:
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        from garden.export.saved_model_session import SavedModelSession

        self.session = SavedModelSession(model_path)
        self.unavailable_calls = 0  # So many calls are answered UNAVAILABLE first.
        self.rejected_calls = 0  # So many calls are rejected, as if a neighbour in the batch were broken.
        self.failure: tuple[Any, str] | None = None  # Every call gets this status.
        self.hold = threading.Event()  # Calls wait for it where it is cleared.
        self.hold.set()
        self.lock = threading.Lock()
        self.calls = self.under_way = self.most_under_way = 0
        self.requests: list[Any] = []
        self.server = grpc.server(
            futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
        )
        server = self

        class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
            def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  (the protocol's name)
                return server.answer(request, context, server.predict)

            def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
                return server.answer(request, context, server.classify)

        class Models(model_service_pb2_grpc.ModelServiceServicer):
            def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
                return server.status(request, context)

        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), self.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), self.server)
        self.port = self.server.add_insecure_port("localhost:0")
        self.address = f"localhost:{self.port}"
        self.server.start()

    def stop(self) -> None:
        """Let go of everything."""
        self.hold.set()
        self.server.stop(grace=None).wait()
        self.session.__exit__(None, None, None)

    def answer(self, request: Any, context: Any, work: Any) -> Any:
        """Count, fail as told, and do `work`."""
        import grpc

        from garden.errors import ExportError

        with self.lock:
            self.calls += 1
            self.requests.append(request)
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            unavailable = self.unavailable_calls > 0
            self.unavailable_calls -= unavailable
            rejected = self.rejected_calls > 0
            self.rejected_calls -= rejected
        try:
            self.hold.wait(timeout=60)
            if unavailable:
                context.abort(grpc.StatusCode.UNAVAILABLE, "warming up")
            if rejected:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Invalid PNG data, size 7")
            if self.failure is not None:
                context.abort(*self.failure)
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else 1
            if spec.name != "colours":
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
            if version != 1:
                context.abort(
                    grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {version})"
                )
            if spec.signature_name not in self.session.signatures:
                context.abort(
                    grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{spec.signature_name}" not found.'
                )
            try:
                response = work(request)
            except ExportError as error:
                details = str(error).partition("fails: ")[2] + "\n\t [[{{node x}}]]"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, details)
            model_spec = response.model_spec
            model_spec.name, model_spec.signature_name, model_spec.version.value = spec.name, spec.signature_name, 1
            return response
        finally:
            with self.lock:
                self.under_way -= 1

    def predict(self, request: Any) -> Any:
        """Predict, with TensorFlow's own conversions and TF Serving's typed fields."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
        response = predict_pb2.PredictResponse()
        for name, array in self.session.run(request.model_spec.signature_name, inputs).items():
            proto = response.outputs[name]
            proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
            if array.dtype == object:
                proto.dtype = tf.string.as_datatype_enum
                proto.string_val.extend(array.ravel())
            else:
                proto.dtype = tf.float32.as_datatype_enum
                proto.float_val.extend(array.ravel())
        return response

    def classify(self, request: Any) -> Any:
        """Classify, as TF Serving does: the examples, serialized, go to `inputs`."""
        from tensorflow_serving.apis import classification_pb2

        examples = [example.SerializeToString() for example in request.input.example_list.examples]
        answer = self.session.run(request.model_spec.signature_name, {"inputs": np.array(examples, object)})
        response = classification_pb2.ClassificationResponse()
        for classes, scores in zip(answer["classes"], answer["scores"], strict=True):
            row = response.result.classifications.add()
            for label, score in zip(classes, scores, strict=True):
                row.classes.add(label=label.decode(), score=score)
        return response

    def status(self, request: Any, context: Any) -> Any:
        """Version 1 of `colours` is available, version 2 is loading."""
        import grpc
        from tensorflow_serving.apis import get_model_status_pb2

        if request.model_spec.name != "colours":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=2, state=get_model_status_pb2.ModelVersionStatus.LOADING)
        response.model_version_status.add(version=1, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        return response


@pytest.fixture
def fake_server(exported_colours: Any) -> Iterator[FakeServer]:
    """A running server with the colour network."""
    server = FakeServer(exported_colours.path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser of `chromium.py`; one for all tests of a process, because each starts with `open`."""
    # Test folders are not packages.
    spec = importlib.util.spec_from_file_location("garden_test_chromium", Path(__file__).with_name("chromium.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.PROGRAM is None:
        pytest.skip(f"needs one of {', '.join(module.PROGRAMS)}")
    browser = module.Chromium(tmp_path_factory.mktemp("chromium"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="session")
def photo() -> Callable[[str], np.ndarray]:
    """Name of a sample photo of scikit-image or scikit-learn → its uint8 RGB pixels."""
    import skimage
    import sklearn.datasets

    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.datasets.__file__).parent / "images"]

    def load(name: str) -> np.ndarray:
        path = next(folder / name for folder in folders if (folder / name).is_file())
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    return load


@pytest.fixture(scope="session")
def pretrained() -> Callable[[str], Any]:
    """Name → the network with its ImageNet weights; not to be changed. Skips where they cannot be fetched."""
    from garden import architectures
    from garden.errors import WeightsError

    @functools.cache
    def build(name: str) -> Any:
        return architectures.build(name, weights="imagenet")

    def build_or_skip(name: str) -> Any:
        try:
            return build(name)
        except WeightsError as error:
            if "could not fetch" not in str(error) or "CI" in os.environ:
                raise
            pytest.skip(str(error))

    return build_or_skip
