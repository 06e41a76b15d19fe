"""Activation maximisation: the picture that excites a neuron, a channel, a layer, a direction or a sum most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from garden.errors import InspectionError
from garden.inspection import layer_choice, objectives, optimization, parametrization, rendering
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.optimization import Recipe, Settings, Synthesis
from garden.inspection.panel import Curve, Panel
from garden.inspection.session import InspectionSession

# lucid's: Adam 0.05 from a spectrum of deviation 0.01, with its random transforms.
FFT_SETTINGS = Settings(learning_rate=0.05, start_deviation=0.01, augmentation=1.0)
# Of pixels: a few steps of 1/255 at a time, and a blur against high frequencies.
PIXEL_SETTINGS = Settings(
    learning_rate=3.0, start_deviation=10.0, augmentation=1.0, decay=0.005, blur_radius=0.7, blur_every=4
)
STEPS = 128
_LAYERS = 3
_CHANNELS = 6


def activation_maximization(
    network: InspectedNetwork,
    objective: Objective,
    *,
    rows: int | None = None,
    steps: int = STEPS,
    seed: int | Sequence[int] = 0,
    size: tuple[int, int] | None = None,
    kind: str = parametrization.FFT,
    augmented: bool = True,
    settings: Settings | None = None,
    snapshots: int = 0,
    batch_size: int = 8,
) -> Synthesis:
    """Pictures that make an objective as large as they can.

    Source: Erhan et al., "Visualizing Higher-Layer Features of a Deep Network", 2009; the parametrisation and the
    transforms: Olah et al., "Feature Visualization", 2017, https://distill.pub/2017/feature-visualization

    Args:
        network: Whose objective it is.
        objective: What to make large: a class, a neuron, a channel, a layer, a direction, or a sum of those. Indices
            that differ from picture to picture ask as many questions, one row each.
        rows: How many pictures; as many as the objective's indices or the seeds, where left out.
        steps: How many steps.
        seed: Of all chance: one for all rows, or one for each.
        size: Height and width of the pictures, in pixels; the network's where left out.
        kind: "fft" optimises the spectrum of decorrelated colours, "pixels" the pixels.
        augmented: Whether the network sees the pictures turned, scaled and shifted at random.
        settings: The numbers of the loop; None takes those of `kind`.
        snapshots: How many pictures on the way to keep.
        batch_size: Rows that run at once.
    Raises: InspectionError, if the objective names what does not exist, or cannot be computed at this size;
        ValueError, if an argument is none of the above.
    """
    seeds = [seed] if isinstance(seed, int) else list(seed)
    rows = max(objective.count, len(seeds)) if rows is None else rows
    if len(seeds) not in (1, rows) or objective.count not in (1, rows):
        raise ValueError(
            "`rows`, the objective's indices and the seeds must agree. "
            f"Received: rows={rows}, {objective.count} indices, {len(seeds)} seeds."
        )
    if settings is None:
        settings = PIXEL_SETTINGS if kind == parametrization.PIXELS else FFT_SETTINGS
    return optimization.synthesize(
        network,
        objective,
        Recipe(kind, optimization.ADAM, augmented),
        settings,
        rows=rows,
        steps=steps,
        seeds=seeds * (rows if len(seeds) == 1 else 1),
        size=size,
        snapshots=snapshots,
        batch_size=batch_size,
    )


def panels(session: InspectionSession) -> Iterator[Panel]:
    """A grid of channels for an early, a middle and a late layer, or for the layer that is asked for."""
    network = session.network
    paths = (session.layer,) if session.layer else layer_choice.stage_paths(network, most=_LAYERS)
    for path in paths:
        many = network.shape_of(path)[-1]
        if many is None:
            raise InspectionError(f"The number of channels of '{path}' is not known. Name another layer.")
        channels = session.channels or tuple(dict.fromkeys(np.linspace(0, many - 1, _CHANNELS).round().astype(int)))
        steps = session.steps_or(STEPS)
        session.say(f"{len(channels)} {'channel' if len(channels) == 1 else 'channels'} of {path}, {steps} steps")
        made = activation_maximization(
            network, objectives.channel(path, np.asarray(channels)), steps=steps, seed=session.seed
        )
        pixels = rendering.picture(network.image_spec, made.images)
        named = list(zip(channels, made.final, strict=True))
        quiet = [str(index) for index, value in named if value <= 0]
        yield Panel(
            method="activation_maximization",
            image="",
            layer=path,
            unit=f"channels {', '.join(str(index) for index in channels)}",
            pixels=rendering.grid(
                [
                    rendering.captioned(tile, f"channel {index}: {value:.3g}")
                    for tile, (index, value) in zip(pixels, named, strict=True)
                ],
                columns=min(3, len(channels)),
            ),
            values={f"channel {index}": image for index, image in zip(channels, made.images, strict=True)},
            caption=f"What excites channels of {path} most: pictures made from noise in {steps} steps; the numbers are "
            "the channel's mean output.",
            note=f"Nothing was found that excites {'channel' if len(quiet) == 1 else 'channels'} {', '.join(quiet)}."
            if quiet
            else "",
            curves=tuple(
                Curve(f"channel {index}", np.arange(steps), values)
                for index, values in zip(channels, made.values, strict=True)
            ),
        )
