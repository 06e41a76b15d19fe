"""Feature vectors, labels, predictions and thumbnails as TensorBoard's projector reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from garden import atomic_files
from garden.reports import figures

if TYPE_CHECKING:
    from garden.inspection.embedding import Embedding

# The projector refuses larger sprites.
MAXIMUM_SPRITE_SIDE = 8192


def write_projector(
    directory: Path,
    *,
    features: np.ndarray,
    labels: Sequence[str],
    true_indices: np.ndarray,
    predicted_indices: np.ndarray,
    scores: np.ndarray,
    thumbnails: np.ndarray,
    paths: Sequence[Path],
) -> None:
    """Write the files of the projector into a run of TensorBoard.

    Files: `projector_config.pbtxt`, `features.bytes` (or `.tsv`), `metadata.tsv`, `sprite.png`. The browser computes
    principal components and t-SNE from the features.

    Args:
        directory: A run of TensorBoard; the projector only shows runs that have an event file as well.
        features: Shape `(images, dimensions)`, float32.
        labels: Class names.
        true_indices: Shape `(images,)`.
        predicted_indices: Shape `(images,)`.
        scores: Best score of each image, shape `(images,)`.
        thumbnails: uint8 RGB, shape `(images, height, width, 3)`; shrunk, if the sprite would be too large.
        paths: Where each image was read.
    Raises: ValueError, if there is no image, the sizes do not fit each other or a feature is not finite.
    """
    features = np.ascontiguousarray(features, "<f4")
    sizes = {
        len(features),
        len(true_indices),
        len(predicted_indices),
        len(scores),
        len(thumbnails),
        len(paths),
    }
    if features.ndim != 2 or len(sizes) != 1 or not len(features):
        raise ValueError(
            "`features` must have shape (images, dimensions), with at least one image, and the other "
            f"arguments as many images. Received: features {features.shape}, sizes {sorted(sizes)}."
        )
    if not np.isfinite(features).all():
        raise ValueError("`features` must be finite. Received: infinite ones, or ones that are not numbers.")
    correct = np.where(np.asarray(true_indices) == np.asarray(predicted_indices), "right", "wrong")
    rows = [
        (labels[true], labels[predicted], right, f"{score:.4f}", Path(path).name)
        for true, predicted, right, score, path in zip(
            true_indices, predicted_indices, correct, scores, paths, strict=True
        )
    ]
    header = ("label", "predicted", "answer", "score", "picture")
    _write_files(directory, {"features": features}, [header, *rows], thumbnails)


def write_embedding(directory: Path, embedding: Embedding) -> None:
    """Write CNN codes and their t-SNE, which the projector shows at once, into a run of TensorBoard.

    Files: `projector_config.pbtxt`, `codes.bytes` and `tsne.bytes` (or `.tsv`), `metadata.tsv`, `sprite.png`.

    Args:
        directory: A run of TensorBoard; the projector only shows runs that have an event file as well.
        embedding: Names, labels, codes, points and thumbnails, of as many pictures each.
    """
    rows = zip(embedding.labels, embedding.names, strict=True)
    tensors = {"tsne": embedding.points, "codes": embedding.codes}
    _write_files(directory, tensors, [("label", "picture"), *rows], embedding.thumbnails)


def _write_files(
    directory: Path, tensors: Mapping[str, np.ndarray], metadata: Iterable[Sequence[str]], thumbnails: np.ndarray
) -> None:
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    directory.mkdir(parents=True, exist_ok=True)
    sprite, tile = sprite_image(thumbnails)
    figures.write_png(directory / "sprite.png", sprite)
    atomic_files.write_text(directory / "metadata.tsv", _tab_separated(metadata))
    config = projector.ProjectorConfig()
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, "<f4")
        embedding = config.embeddings.add(
            tensor_name=name,
            tensor_path=_write_tensor(directory, name, values),
            metadata_path="metadata.tsv",
            tensor_shape=values.shape,
        )
        embedding.sprite.image_path = "sprite.png"
        embedding.sprite.single_image_dim.extend(tile)
    atomic_files.write_text(directory / "projector_config.pbtxt", text_format.MessageToString(config))


def sprite_image(thumbnails: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """All thumbnails in one picture, row by row, in a grid of `ceil(sqrt(images))` places each way.

    Args:
        thumbnails: uint8 RGB, shape `(images, height, width, 3)`.
    Returns: the picture, at most `MAXIMUM_SPRITE_SIDE` pixels each way, and `(width, height)` of a thumbnail.
    """
    thumbnails = np.asarray(thumbnails, np.uint8)
    count, height, width, _ = thumbnails.shape
    places = math.ceil(math.sqrt(count))
    limit = MAXIMUM_SPRITE_SIDE // places
    if max(height, width) > limit:
        scale = limit / max(height, width)
        width, height = max(1, int(width * scale)), max(1, int(height * scale))
        small = [np.asarray(Image.fromarray(thumbnail).resize((width, height))) for thumbnail in thumbnails]
        thumbnails = np.stack(small)
    grid = np.full((places * places, height, width, 3), 255, np.uint8)
    grid[:count] = thumbnails
    grid = grid.reshape(places, places, height, width, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(places * height, places * width, 3), (width, height)


def _write_tensor(directory: Path, name: str, values: np.ndarray) -> str:
    """Write a tensor as raw float32, unless TensorBoard would take that for text; then as text.

    TensorBoard reads lines of text until something is no UTF-8. If that is not in the first line, it stumbles
    over the line before, and the projector stays hidden for all runs.
    """
    raw = values.tobytes()
    file_name, other = f"{name}.bytes", f"{name}.tsv"
    if _is_text(raw.split(b"\n", 1)[0]):
        file_name, other = other, file_name
        # Nine digits are enough to tell any two float32 apart.
        atomic_files.write_text(directory / file_name, _tab_separated([[f"{x:.9g}" for x in row] for row in values]))
    else:
        with atomic_files.replacing(directory / file_name) as partial:
            partial.write_bytes(raw)
    (directory / other).unlink(missing_ok=True)
    return file_name


def _is_text(first_line: bytes) -> bool:
    try:
        first_line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _tab_separated(rows: Iterable[Sequence[str]]) -> str:
    # Tabs and line ends in a name would shift the columns of all that follows.
    return "".join("\t".join(" ".join(str(cell).split()) for cell in row) + "\n" for row in rows)
