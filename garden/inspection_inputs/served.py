"""ServedClassifier: the scores of a server for pictures that a network would see."""

from __future__ import annotations

import numpy as np

from garden.errors import RemoteError
from garden.grpc_client import PredictClient
from garden.image_spec import BACKGROUND_RGB, ImageSpec

# Pictures in one request: some MB of pixels.
_BATCH = 16


class ServedClassifier:
    """Asks the `pixels` signature of an exported classifier; a `Classifier`.

    The server prepares what it is sent once more. Pictures are therefore put on such a canvas that its resizing and
    cropping give back exactly the pixels that are asked about.

    Args:
        client: The connection.
        model: The model's name on the server.
        image_spec: The network's, as it was exported.
        num_classes: How many scores are expected.
    """

    def __init__(self, client: PredictClient, model: str, image_spec: ImageSpec, num_classes: int) -> None:
        self._client, self._model, self._image_spec, self._num_classes = client, model, image_spec, num_classes
        self.name = f"{model} at {client.address}"

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Calibrated scores, `(pictures, classes)`, of uint8 RGB `(pictures, height, width, 3)` of the network's size.

        Raises: RemoteError, if the server does not answer, or with another number of classes.
        """
        answers = []
        for start in range(0, len(pixels), _BATCH):
            answer = self._client.predict(
                self._model, {"pixels": self._on_canvas(pixels[start : start + _BATCH])}, signature="pixels"
            )
            scores = np.asarray(answer.outputs["scores"], np.float32)
            if scores.shape[-1] != self._num_classes:
                raise RemoteError(
                    f"The model {self.name} answers with {scores.shape[-1]} classes, but the inspected network has "
                    f"{self._num_classes}; they are not the same network. Name the run that was exported as it."
                )
            answers.append(scores)
        return np.concatenate(answers)

    def _on_canvas(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[1:3]
        if self._image_spec.resize != "crop":
            return pixels
        fraction = self._image_spec.crop_fraction
        # As `ImageSpec` rounds: half to even.
        rows, columns = (max(side, int(np.rint(np.float32(side / fraction)))) for side in (height, width))
        canvas = np.empty((len(pixels), rows, columns, 3), np.uint8)
        canvas[:] = BACKGROUND_RGB
        top, left = (rows - height) // 2, (columns - width) // 2
        canvas[:, top : top + height, left : left + width] = pixels
        return canvas
