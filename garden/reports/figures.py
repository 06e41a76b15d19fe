"""Pictures for people: confusion matrices, reliability, sheets of images with captions.

Colours are told apart by colour-blind readers too: blue is right, orange is wrong; and words say it as well.
Everything is drawn off screen, and no state of matplotlib is touched.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from garden import atomic_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from garden.evaluation.classification import Mistake

INK = (30, 30, 30)
RIGHT = (0, 84, 159)
WRONG = (179, 72, 0)
PAPER = (255, 255, 255)
EMPTY = (228, 228, 228)

# Above that many classes a cell is too small for a number.
MAXIMUM_NUMBERED_CLASSES = 20
# Above that many classes only every second, third, … name is written.
MAXIMUM_NAMED_CLASSES = 120
MAXIMUM_NAME_LENGTH = 28


def confusion_matrix(confusion: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Draw a confusion matrix: rows are true classes, columns what the network called them.

    The colour of a cell is its share of the row: blue on the diagonal, orange beside it, so that a rare
    class shows its confusions as strongly as a frequent one. Up to 20 classes, cells hold their counts.

    Args:
        confusion: Counts `[true, predicted]`, shape `(classes, classes)`.
        labels: Class names, in the same order.
    Returns: uint8 RGB pixels, shape `(height, width, 3)`.
    """
    from matplotlib.figure import Figure

    classes = len(labels)
    support = confusion.sum(axis=1)
    cell_inches = 0.46 if classes <= MAXIMUM_NUMBERED_CLASSES else max(0.15, 0.3 - 0.0015 * classes)
    side = min(max(3.2, cell_inches * classes), 20.0)
    # Names of up to 28 characters stand beside the cells; the figure is cut to what is drawn.
    drawing = Figure(figsize=(side, side), dpi=110)
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.imshow(_confusion_colours(confusion), interpolation="nearest")
    name_size = 10.0 if classes <= MAXIMUM_NUMBERED_CLASSES else max(5.0, min(9.0, 72 * side / classes * 0.75))
    step = math.ceil(classes / MAXIMUM_NAMED_CLASSES)
    ticks = range(0, classes, step)
    names = [_shortened(label, MAXIMUM_NAME_LENGTH) for label in labels]
    upright = classes > 6 or max(map(len, names)) > 8
    axes.set_xticks(ticks, [names[k] for k in ticks], rotation=90 if upright else 0, fontsize=name_size)
    axes.set_yticks(ticks, [f"{names[k]}  ({support[k]})" for k in ticks], fontsize=name_size)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        # A class may be called "$5 bill".
        text.set_parse_math(False)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted class", fontsize=11, labelpad=8)
    axes.set_ylabel("true class (images)", fontsize=11, labelpad=8)
    right = int(np.trace(confusion))
    total = max(int(support.sum()), 1)
    axes.set_title(
        f"{right} of {support.sum()} right ({right / total:.1%}). Blue: right, orange: wrong;\n"
        "the darker, the larger the share of the row's images.",
        fontsize=10,
        loc="left",
        pad=10,
    )
    if classes <= MAXIMUM_NAMED_CLASSES:
        axes.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
        axes.grid(which="minor", color="0.85", linewidth=0.5 if classes <= 50 else 0.25)
        axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_color("0.6")
    if classes <= MAXIMUM_NUMBERED_CLASSES:
        _write_counts(axes, confusion)
    return _rendered(drawing)


def _confusion_colours(confusion: np.ndarray) -> np.ndarray:
    import matplotlib

    support = confusion.sum(axis=1, keepdims=True)
    share = confusion / np.maximum(support, 1)
    # One mistake among a hundred must still be seen, hence the root and the foot.
    strength = np.where(confusion > 0, 0.12 + 0.78 * np.sqrt(share), 0.0)
    colours = matplotlib.colormaps["Oranges"](strength)[..., :3]
    diagonal = np.arange(len(confusion))
    colours[diagonal, diagonal] = matplotlib.colormaps["Blues"](
        np.where(np.diag(confusion) > 0, 0.15 + 0.75 * np.diag(share), 0.0)
    )[:, :3]
    colours[confusion == 0] = 1.0
    colours[support[:, 0] == 0] = np.array(EMPTY) / 255
    return colours


def _write_counts(axes: Any, confusion: np.ndarray) -> None:
    digits = len(str(confusion.max()))
    size = 10.5 if digits <= 3 else 10.5 * 3 / digits
    colours = _confusion_colours(confusion)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            dark = colours[row, column] @ (0.299, 0.587, 0.114) < 0.55
            axes.text(
                column,
                row,
                str(count),
                ha="center",
                va="center",
                fontsize=size,
                color="white" if dark else "black",
            )


def reliability_diagram(rows: Sequence[tuple[int, float, float]], error: float) -> np.ndarray:
    """Draw how often the network is right when it is that sure.

    Args:
        rows: Of `calibration.reliability`: per interval of the best score, images, mean score, accuracy.
        error: The expected calibration error, for the title.
    Returns: uint8 RGB pixels, shape `(height, width, 3)`.
    """
    from matplotlib.figure import Figure

    counts, confidences, accuracies = (np.array(column, float) for column in zip(*rows, strict=True))
    filled = counts > 0
    edges = np.arange(len(rows)) / len(rows)
    drawing = Figure(figsize=(5, 6), dpi=110)
    upper, lower = drawing.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="as right as it says")
    # Area tells how many images stand behind a point.
    areas = 20 + 180 * counts[filled] / counts.max()
    upper.scatter(
        confidences[filled],
        accuracies[filled],
        s=areas,
        color=np.array(RIGHT) / 255,
        alpha=0.85,
        label="images by best score",
    )
    upper.set(xlim=(0, 1), ylim=(-0.04, 1.04), ylabel="share that is right")
    upper.set_title(f"Expected calibration error {error:.3f}", fontsize=11, loc="left")
    upper.legend(loc="upper left", fontsize=9, frameon=False, markerscale=0.6)
    lower.bar(edges, counts, width=1 / len(rows), align="edge", color=np.array(RIGHT) / 255, edgecolor="white")
    lower.set(xlabel="best score", ylabel="images")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return _rendered(drawing)


def mistakes_sheet(mistakes: Sequence[Mistake], *, tile: int = 168) -> np.ndarray:
    """Draw mistakes as pictures: what each is, what it was called, and how surely.

    A picture that can no longer be read is a grey tile with its name.

    Args:
        mistakes: Of `Evaluation.most_confident_mistakes`.
        tile: Side of a picture in the sheet, in pixels.
    Returns: uint8 RGB pixels, shape `(height, width, 3)`.
    """
    captions = [
        [(f"is {m.label}", RIGHT), (f"called {m.predicted}", WRONG), (f"{m.score:.3f}  {m.path.name}", INK)]
        for m in mistakes
    ]
    return contact_sheet([read_thumbnail(m.path, tile) for m in mistakes], captions, tile=tile)


def contact_sheet(
    pictures: Sequence[np.ndarray],
    captions: Sequence[Sequence[tuple[str, tuple[int, int, int]]]],
    *,
    tile: int = 168,
    columns: int | None = None,
) -> np.ndarray:
    """Lay pictures out in a grid, each with lines of text below it.

    Args:
        pictures: uint8 RGB pixels, each at most `tile` pixels high and wide; smaller ones are centred.
        captions: Per picture its lines, each with its colour; a line that is too long is shortened.
        tile: Side of a picture's place, in pixels.
        columns: Pictures in a row; by default the sheet is a little wider than high.
    Returns: uint8 RGB pixels, shape `(height, width, 3)`.
    Raises: ValueError, if there is no picture or not one caption for each.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(
            "`pictures` must hold at least one picture and `captions` as many. "
            f"Received: {len(pictures)} and {len(captions)}."
        )
    columns = columns or min(len(pictures), math.ceil(math.sqrt(1.5 * len(pictures))))
    font = _font(max(10, tile // 13))
    line_height = sum(font.getmetrics()) + 1
    gap = max(6, tile // 20)
    lines = max(map(len, captions))
    rows = math.ceil(len(pictures) / columns)
    step_x, step_y = tile + gap, tile + lines * line_height + gap
    sheet = Image.new("RGB", (gap + columns * step_x, gap + rows * step_y), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = gap + place % columns * step_x, gap + place // columns * step_y
        height, width = picture.shape[:2]
        draw.rectangle((left, top, left + tile - 1, top + tile - 1), fill=(245, 245, 245))
        sheet.paste(Image.fromarray(picture), (left + (tile - width) // 2, top + (tile - height) // 2))
        for line, (text, colour) in enumerate(caption):
            position = (left, top + tile + 2 + line * line_height)
            draw.text(position, _fitted(text, font, tile), fill=colour, font=font)
    return np.asarray(sheet)


def training_sheet(
    images: np.ndarray, true_indices: np.ndarray, labels: Sequence[str], *, tile: int = 128
) -> np.ndarray:
    """Lay out images as the network sees them, each with its class.

    Args:
        images: RGB or luminance on the scale 0..255, shape `(images, height, width, 1 or 3)`.
        true_indices: Their classes, shape `(images,)`; or targets, shape `(images, classes)`, as of mixed
            images: the two largest are named.
        labels: Class names.
        tile: Largest side of an image in the sheet, in pixels.
    Returns: uint8 RGB pixels, shape `(height, width, 3)`.
    """
    pixels = np.clip(np.rint(np.asarray(images, np.float32)), 0, 255).astype(np.uint8)
    if pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    targets = np.asarray(true_indices)
    names = [_target_name(target, labels) for target in targets]
    pictures = [fit_within(image, tile) for image in pixels]
    return contact_sheet(pictures, [[(name, INK)] for name in names], tile=tile)


def _target_name(target: np.ndarray, labels: Sequence[str]) -> str:
    if target.ndim == 0:
        return labels[int(target)]
    first, second = np.argsort(-target)[:2]
    # Label smoothing leaves a little everywhere; a mixed-in class has more than that.
    if target[second] <= 0.1:
        return labels[first]
    return f"{labels[first]} {target[first]:.0%} + {labels[second]} {target[second]:.0%}"


def read_thumbnail(path: Path, size: int) -> np.ndarray:
    """A picture as the network's decoder reads it, at most `size` pixels high and wide.

    Returns: uint8 RGB pixels; a grey square with a cross, if the file is gone or cannot be read.
    """
    import tensorflow as tf

    from garden.data import decoding

    try:
        pixels = decoding.decode_compiled(tf.constant(Path(path).read_bytes())).numpy()
    except (OSError, tf.errors.OpError):
        missing = Image.new("RGB", (size, size), EMPTY)
        draw = ImageDraw.Draw(missing)
        draw.line((0, 0, size, size), fill=PAPER, width=3)
        draw.line((0, size, size, 0), fill=PAPER, width=3)
        return np.asarray(missing)
    return fit_within(pixels, size)


def fit_within(pixels: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 RGB pixels, keeping their shape, so that the longer side has `size` pixels.

    Small pictures are enlarged by whole factors, so that their pixels stay what they are.
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= size:
        factor = size // max(height, width)
        return np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.LANCZOS))


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 RGB pixels to a PNG file, which appears whole."""
    with atomic_files.replacing(path) as partial:
        Image.fromarray(pixels).save(partial)


def _rendered(drawing: Figure) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(drawing)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A class name in a script that the font lacks is drawn as boxes; the CSV beside the picture has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        drawing.savefig(stream, format="png", bbox_inches="tight", pad_inches=0.15, facecolor="white")
    return np.asarray(Image.open(stream).convert("RGB"))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import font_manager

    # It comes with matplotlib and covers Latin, Greek, Cyrillic and more.
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        shortened = _shortened(text, length)
        if font.getlength(shortened) <= width:
            return shortened
    return "…"


def _shortened(text: str, length: int) -> str:
    """The text, with its middle left out if it is longer than `length`: both ends of a name tell it apart."""
    if len(text) <= length:
        return text
    head = math.ceil((length - 1) * 0.6)
    return text[:head] + "…" + text[len(text) - (length - 1 - head) :]
