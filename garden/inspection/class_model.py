"""Class models: the picture that a network takes for a class more than any other, in several ways."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from garden.inspection import gradients, input_space, objectives, optimization, parametrization, rendering
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.optimization import ASCENT, Recipe, Settings, Synthesis
from garden.inspection.panel import Curve, Panel
from garden.inspection.session import InspectionSession

_YOSINSKI = "Yosinski et al., 2015, table 2, https://arxiv.org/abs/1506.06579"
# Of what `garden inspect` shows; published are more for some, which cost minutes.
STEPS = 128
_MOST_CLASSES = 4
_CLASSES_WITHOUT_PHOTOS = 2
# Pixels' pictures are faint: shown is their distance from gray, enlarged so that all but this share stays in range.
_SHOWN_PERCENTILE = 99.5


@dataclasses.dataclass(frozen=True)
class Variant:
    """One published way to make a class model.

    Args:
        title: For captions.
        recipe: What is optimised, and how.
        settings: The numbers, as published but for `first_step`: rates were made for one network's gradients.
        iterations: As published.
        l2_share: λ of the squared length, as a share of the mean |gradient| of the gray picture: the best picture of a
            linear network is 1 / (2 · l2_share) away from gray in the mean, in 1/255 of the range.
        source: Where it is published.
    """

    title: str
    recipe: Recipe
    settings: Settings
    iterations: int
    source: str
    l2_share: float = 0.0


def _yosinski(
    learning_rate: float,
    progress: float,
    first_step: float,
    decay: float,
    blur: tuple[float, int],
    clips: tuple[int, int],
) -> Settings:
    return Settings(
        learning_rate=learning_rate,
        progress=progress,
        first_step=first_step,
        start_deviation=10.0,
        decay=decay,
        blur_radius=blur[0],
        blur_every=blur[1],
        small_norm_percentile=clips[0],
        small_contribution_percentile=clips[1],
    )


_PIXELS = Recipe(parametrization.PIXELS, ASCENT, augmented=False)
_CONSTANT = float("inf")

VARIANTS = {
    "simonyan": Variant(
        "Simonyan: L2",
        _PIXELS,
        Settings(learning_rate=1.0, first_step=0.5),
        STEPS,
        "Simonyan et al., 2013, section 2, https://arxiv.org/abs/1312.6034",
        l2_share=0.005,
    ),
    # Yosinski's four.                            rate  progress  first step  decay   blur, every  small norm, benefit
    "yosinski_a": Variant(
        "Yosinski a: blur, small norm", _PIXELS, _yosinski(100, 2.0, 0.5, 0.0, (0.5, 4), (50, 0)), 500, _YOSINSKI
    ),
    "yosinski_b": Variant(
        "Yosinski b: decay, small norm", _PIXELS, _yosinski(100, _CONSTANT, 2.0, 0.3, (0.0, 0), (20, 0)), 750, _YOSINSKI
    ),
    "yosinski_c": Variant(
        "Yosinski c: blur, decay", _PIXELS, _yosinski(100, _CONSTANT, 0.5, 1e-4, (1.0, 4), (0, 0)), 1000, _YOSINSKI
    ),
    "yosinski_d": Variant(
        "Yosinski d: blur, contribution", _PIXELS, _yosinski(1e8, 2.0, 5.0, 0.0, (0.5, 4), (0, 90)), 1000, _YOSINSKI
    ),
    "fft": Variant(
        "Olah: spectrum, transforms",
        Recipe(parametrization.FFT, optimization.ADAM, augmented=True),
        Settings(learning_rate=0.03, start_deviation=0.01, augmentation=1.0),
        512,
        "Olah et al., 2017, https://distill.pub/2017/feature-visualization",
    ),
}


def class_model(
    network: InspectedNetwork,
    class_index: int | Sequence[int],
    *,
    variant: str = "fft",
    steps: int | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    snapshots: int = 0,
    batch_size: int = 8,
) -> Synthesis:
    """Pictures, made from gray or noise, that have a class's score as high as can be.

    Source: Simonyan et al., "Deep Inside Convolutional Networks", 2013, section 2, https://arxiv.org/abs/1312.6034;
    that of each variant in `VARIANTS`.

    Args:
        network: Whose class it is.
        class_index: One class, or one for each row.
        variant: Name in `VARIANTS`.
        steps: How many; None takes the published number.
        settings: Other numbers than the variant's; their `l2` is then the λ of z − λ‖I‖², I counted from gray in 1/255
            of the range.
        seed: Of all chance, the same for all rows.
        snapshots: How many pictures on the way to keep.
        batch_size: Rows that run at once.
    Returns: pictures and scores before softmax, one row for each class.
    Raises: ValueError, if there is no such variant; InspectionError, if there is no such class.
    """
    if variant not in VARIANTS:
        raise ValueError(f"`variant` must be one of {tuple(VARIANTS)}. Received: variant={variant!r}.")
    chosen = VARIANTS[variant]
    classes = np.atleast_1d(np.asarray(class_index, np.int32))
    objective = objectives.class_score(classes)
    if settings is None:
        settings = chosen.settings
        if chosen.l2_share:
            settings = settings._replace(l2=chosen.l2_share * _typical_slopes(network, classes))
    return optimization.synthesize(
        network,
        objective,
        chosen.recipe,
        settings,
        rows=len(classes),
        steps=chosen.iterations if steps is None else steps,
        seeds=[seed] * len(classes),
        snapshots=snapshots,
        batch_size=batch_size,
    )


def panels(session: InspectionSession) -> Iterator[Panel]:
    """All variants side by side, for the class that is asked for, or those of the photos, or some."""
    network, spec = session.network, session.network.image_spec
    classes = _classes_to_show(session)
    steps = session.steps_or(STEPS)
    made: dict[str, Synthesis] = {}
    for name, variant in VARIANTS.items():
        session.say(f"{variant.title}, {steps} steps, {len(classes)} {'class' if len(classes) == 1 else 'classes'}")
        made[name] = class_model(network, classes, variant=name, steps=steps, seed=session.seed)
    shares = {name: network.probabilities(network.logits(one.images)) for name, one in made.items()}
    for row, class_index in enumerate(classes):
        tiles, reached = [], []
        for name, one in made.items():
            share, logit = shares[name][row, class_index], one.final[row]
            pixels = rendering.picture(spec, _shown(network, name, one.images[row]))
            tiles.append(_captioned(pixels, (VARIANTS[name].title, f"score {logit:.3g}, p {share:.2f}")))
            reached.append(f"{VARIANTS[name].title} {logit:.3g} (p {share:.2f})")
        yield Panel(
            method="class_model",
            image="",
            layer="",
            unit=f"class {session.label(class_index)}",
            pixels=rendering.grid(tiles, columns=3),
            values={name: one.images[row] for name, one in made.items()},
            caption=f"What the network takes for “{session.label(class_index)}”, made in {steps} steps. Score before "
            f"softmax: {'; '.join(reached)}.",
            note="Contrast of all but the spectrum's is enlarged to be seen; scores are those of the faint pictures. "
            "Rates are scaled to the network's gradients, all other settings are as published.",
            curves=tuple(Curve(VARIANTS[name].title, np.arange(steps), one.values[row]) for name, one in made.items()),
        )


def _captioned(pixels: np.ndarray, lines: tuple[str, str]) -> np.ndarray:
    for line in reversed(lines):
        pixels = rendering.captioned(pixels, line)
    return pixels


def _classes_to_show(session: InspectionSession) -> list[int]:
    if session.class_index is not None:
        return [session.class_index]
    if session.photos:
        return list(dict.fromkeys(int(index) for index in session.class_indices))[:_MOST_CLASSES]
    many = session.network.num_classes
    return sorted(
        {round((place + 0.5) * many / _CLASSES_WITHOUT_PHOTOS - 0.5) for place in range(_CLASSES_WITHOUT_PHOTOS)}
    )


def _shown(network: InspectedNetwork, variant: str, image: np.ndarray) -> np.ndarray:
    """The picture, its distance from gray enlarged where it is faint."""
    if VARIANTS[variant].recipe.parametrization != parametrization.PIXELS:
        return image
    gray, unit = input_space.gray(network.image_spec), input_space.unit(network.image_spec)
    distance = (image - gray) / unit
    strongest = float(np.percentile(np.abs(distance), _SHOWN_PERCENTILE)) or float(np.abs(distance).max())
    return np.asarray(gray + unit * distance * max(1.0, 110.0 / strongest) if strongest > 0 else image)


def _typical_slopes(network: InspectedNetwork, classes: np.ndarray) -> np.ndarray:
    """Mean |gradient| of each class's score at the gray picture, per 1/255 of the range: `(classes,)`."""
    gray = np.broadcast_to(input_space.gray(network.image_spec), (len(classes), *network.input_shape))
    _, slopes, _ = gradients.gradients_of(network, gray, objectives.class_score(classes), batch_size=8)
    return np.asarray(np.abs(slopes * input_space.unit(network.image_spec)).mean(axis=(1, 2, 3)))
