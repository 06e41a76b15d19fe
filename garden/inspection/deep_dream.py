"""DeepDream: a photo in which a layer sees more and more of what it sees already."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from garden.inspection import (
    dream_octave,
    gradients,
    input_space,
    layer_choice,
    objectives,
    picture_transforms,
    rendering,
)
from garden.inspection.inspected_network import InspectedNetwork
from garden.inspection.objectives import Objective
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession

# Mordvintsev et al., 2015, as their program has them; the step is in 1/255 of the range, the jitter in pixels.
OCTAVES = 4
OCTAVE_SCALE = 1.4
STEPS = 10
STEP_SIZE = 1.5
JITTER = 32
# Larger pictures are gone through in tiles, for the memory.
TILE = 512
# No octave of what `garden inspect` shows is smaller: deep layers have nothing to say about it.
_SMALLEST_SIDE = 48
_ENLARGED = 1.5
_ZOOM_SIZE = 128
_ZOOM_FRAMES = 32
_ZOOM_STEPS = 4


def octave_sizes(height: int, width: int, octaves: int, scale: float) -> list[tuple[int, int]]:
    """Height and width of each octave, the smallest first; the last is the picture's own."""
    return [
        (max(1, round(height / scale**octave)), max(1, round(width / scale**octave)))
        for octave in reversed(range(octaves))
    ]


def deep_dream(
    network: InspectedNetwork,
    images: np.ndarray,
    objective: Objective,
    *,
    guide: np.ndarray | None = None,
    octaves: int = OCTAVES,
    octave_scale: float = OCTAVE_SCALE,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
    jitter: int = JITTER,
    tile: int = TILE,
    seed: int = 0,
) -> np.ndarray:
    """Pictures, changed step by step so that an objective grows, from a small copy of them to their own size.

    Source: Mordvintsev et al., "Inceptionism", 2015, https://research.google/blog/inceptionism-going-deeper-into-neural-networks

    Args:
        network: Whose objective it is.
        images: Prepared pictures of any size that the layers in between can take.
        objective: What to make large, usually `objectives.layer(path)`.
        guide: One prepared picture, `(height, width, channels)`: each place of the objective's layer is drawn towards
            the place of the guide that it resembles most, by dot product. None lets the layer go where it goes.
        octaves: How many sizes.
        octave_scale: How much larger each is than the one before.
        steps: Steps in each.
        step_size: How far pixels move in a step in the mean, in 1/255 of the range.
        jitter: Pixels by which the picture is rolled before each step, at most.
        tile: Longest side in pixels that is gone through at once.
        seed: Of the jitter, the same for all pictures.
    Input shape: `(batch, height, width, channels)`.
    Output shape: the same, within the valid range.
    Raises: InspectionError, if the objective names what does not exist, or if an octave is too small for its layers.
    """
    objective.check(network)
    if octaves < 1 or octave_scale <= 1 or steps < 0 or tile < 1:
        raise ValueError(
            "`octaves` and `tile` must be at least 1, `octave_scale` above 1, `steps` at least 0. "
            f"Received: octaves={octaves}, octave_scale={octave_scale}, steps={steps}, tile={tile}."
        )
    images = np.asarray(images, np.float32)
    goal = dream_octave.goal_of(network, objective, guide)
    base = detail = None
    for place, (height, width) in enumerate(octave_sizes(images.shape[1], images.shape[2], octaves, octave_scale)):
        base = _resized(images, height, width)
        detail = np.zeros_like(base) if detail is None else _resized(detail, height, width)
        dreamt = dream_octave.dream(
            network, objective, goal, base + detail, steps=steps, step_size=step_size, jitter=jitter, tile=tile,
            seed=seed * 1009 + place, guided=guide is not None,
        )  # fmt: skip
        detail = dreamt - base
    low, high = input_space.bounds(network.image_spec)
    return np.clip(dreamt, low, high) if steps else images


def dream_zoom(
    network: InspectedNetwork,
    objective: Objective,
    *,
    size: tuple[int, int] = (_ZOOM_SIZE, _ZOOM_SIZE),
    frames: int = _ZOOM_FRAMES,
    zoom: float = 1.05,
    steps: int = _ZOOM_STEPS,
    step_size: float = STEP_SIZE * 2,
    jitter: int = JITTER // 2,
    first_frame_steps: int = 24,
    seed: int = 0,
) -> np.ndarray:
    """A flight into a picture that begins as noise: dream, zoom in, dream again.

    Args:
        network: Whose objective it is.
        objective: What to make large.
        size: Height and width of the frames, in pixels.
        frames: How many.
        zoom: How much each frame is enlarged for the next.
        steps: Steps for each frame.
        step_size: As in `deep_dream`.
        jitter: As in `deep_dream`.
        first_frame_steps: Steps for the first, which has nothing to build on.
        seed: Of the noise and the jitter.
    Output shape: `(frames, height, width, channels)`, prepared.
    Raises: as `deep_dream`.
    """
    objective.check(network)
    spec = network.image_spec
    low, high = input_space.bounds(spec)
    chance = np.random.default_rng(seed)
    gray, unit = input_space.gray(spec), input_space.unit(spec)
    frame = gray + unit * chance.uniform(-60, 60, (1, *size, spec.channels)).astype(np.float32)
    goal = dream_octave.goal_of(network, objective, None)
    made = []
    for number in range(frames):
        count = first_frame_steps if number == 0 else steps
        frame = dream_octave.dream(
            network, objective, goal, frame, steps=count, step_size=step_size, jitter=jitter, tile=max(size),
            seed=seed * 1009 + number, guided=False,
        )  # fmt: skip
        made.append(np.clip(frame[0], low, high))
        frame = _zoomed(frame, zoom)
    return np.stack(made)


def panels(session: InspectionSession) -> Iterator[Panel]:
    """Each photo dreamt on, guided by the next photo where there are several, and a zoom out of noise.

    Channels that are asked for grow, rather than the whole layer; a guide is followed with all of them.
    """
    network, spec = session.network, session.network.image_spec
    path = session.layer or default_path(network)
    objective, unit, what, figure = _asked_for(session.channels, path)
    steps = session.steps_or(STEPS)
    smallest = min(network.input_shape[:2])
    # What is no map was made for one size, and cannot be asked of another.
    any_size = len(network.shape_of(path)) == 3
    octaves = _octaves_down_to(_SMALLEST_SIDE, round(smallest * _ENLARGED)) if any_size else 1
    # Larger, there is more room for what it sees.
    sides = [round(side * _ENLARGED) if any_size else side for side in network.input_shape[:2]]
    images = _resized(session.images, *sides)
    jitter = min(JITTER, smallest // 7)
    shared: dict[str, Any] = {"octaves": octaves, "steps": steps, "jitter": jitter, "seed": session.seed}
    guided = len(session.photos) > 1
    for place, photo in enumerate(session.photos):
        session.say(f"{photo.name} at {path}, {octaves} octaves of {steps} steps")
        image = images[place : place + 1]
        dreamt = deep_dream(network, image, objective, **shared)
        before, after = gradients.gradients_of(network, np.concatenate([image, dreamt]), objective)[0]
        yield Panel(
            method="deep_dream",
            image=photo.name,
            layer=path,
            unit=unit,
            pixels=rendering.picture(spec, dreamt[0]),
            values={"picture": dreamt[0]},
            caption=f"{photo.name} after {octaves} × {steps} steps that make {what} of {path} larger: their {figure} "
            f"went from {before:.3g} to {after:.3g}.",
            input_pixels=photo.pixels,
        )
        if guided:
            other = (place + 1) % len(session.photos)
            name = session.photos[other].name
            followed = deep_dream(network, image, objectives.layer(path), guide=images[other], **shared)
            yield Panel(
                method="deep_dream",
                image=photo.name,
                layer=path,
                unit=f"guided by {name}",
                pixels=rendering.picture(spec, followed[0]),
                values={"picture": followed[0]},
                caption=f"{photo.name}, each place of {path} drawn towards what it resembles most in {name}.",
                input_pixels=photo.pixels,
            )
    size = tuple(min(_ZOOM_SIZE, side) if any_size else side for side in network.input_shape[:2])
    session.say(f"out of noise at {path}, {_ZOOM_FRAMES} frames")
    frames = dream_zoom(network, objective, size=(size[0], size[1]), jitter=jitter // 2, seed=session.seed)
    yield Panel(
        method="deep_dream",
        image="",
        layer=path,
        unit="zoom from noise" if session.channels is None else f"{unit}, zoom from noise",
        pixels=rendering.picture(spec, frames),
        values={"last frame": frames[-1]},
        caption=f"Out of noise: {_ZOOM_STEPS} steps for {what} of {path}, 5 % closer, and again, {len(frames)} times.",
    )


def _asked_for(channels: tuple[int, ...] | None, path: str) -> tuple[Objective, str, str, str]:
    """What is made larger; its unit and name in a caption; and what its figure is."""
    if channels is None:
        return objectives.layer(path), "whatever it sees", "the outputs", "mean square"
    objective = functools.reduce(operator.add, [objectives.channel(path, index) for index in channels])
    unit = f"{'channel' if len(channels) == 1 else 'channels'} {', '.join(map(str, channels))}"
    return objective, unit, f"the outputs of {unit}", "mean" if len(channels) == 1 else "means' sum"


def default_path(network: InspectedNetwork) -> str:
    """The layer to dream at: the deepest whose maps are about a sixteenth of the picture, where there are parts."""
    paths = layer_choice.stage_paths(network, most=16)
    wanted = network.input_shape[0] / 16.0
    return min(paths, key=lambda path: abs(np.log((network.shape_of(path)[0] or 1) / wanted)))


def _octaves_down_to(smallest_allowed: int, smallest: int) -> int:
    if smallest <= smallest_allowed:
        return 1
    return min(OCTAVES, 1 + int(np.log(smallest / smallest_allowed) / np.log(OCTAVE_SCALE)))


def _resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    if images.shape[1:3] == (height, width):
        return images
    return np.asarray(picture_transforms.resized(tf.constant(images), height, width))


def _zoomed(frame: np.ndarray, zoom: float) -> np.ndarray:
    """The middle, enlarged to the whole."""
    edge = (1.0 - 1.0 / zoom) / 2.0
    boxes = [[edge, edge, 1.0 - edge, 1.0 - edge]] * len(frame)
    return np.asarray(tf.image.crop_and_resize(frame, boxes, range(len(frame)), frame.shape[1:3]))
