"""Panels of adversarial examples: the photo, what was added, and what the network then says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from garden.inspection import adversarial, input_space, rendering
from garden.inspection.panel import Panel
from garden.inspection.session import InspectionSession, Photo

# How often the change is shown larger than it is.
SHOWN_TIMES = 20
_TILE = 224


def panels(session: InspectionSession) -> Iterator[Panel]:
    """Photo, change and changed photo, each with what the network says.

    The class to be said is the session's; where none is asked for, or the network says it already, the one that it
    holds least likely.
    """
    for photo in session.photos:
        session.say(photo.name)
        # One by one: a picture's result does not depend on its company.
        yield _panel(session, photo)


def _panel(session: InspectionSession, photo: Photo) -> Panel:
    network, spec = session.network, session.network.image_spec
    image = input_space.prepare(spec, photo.pixels)[None]
    logits = network.logits(image)
    before = int(logits[0].argmax())
    target, chosen = session.class_index, "the class asked for"
    if target is None or target == before:
        target, chosen = int(logits[0].argmin()), "the class that it held least likely"
    found = adversarial.ddn(network, image, target, steps=session.steps_or(100))
    saved = found.pixels[0]
    after_logits = network.logits(input_space.prepare(spec, found.pixels))
    probabilities = [float(value) for value in network.probabilities(logits)[0]]
    probabilities_after = [float(value) for value in network.probabilities(after_logits)[0]]
    after = int(after_logits[0].argmax())
    change = saved.astype(np.float32) - rendering.picture(spec, image[0]).astype(np.float32)
    shown = np.clip(np.round(128.0 + SHOWN_TIMES * change), 0, 255).astype(np.uint8)
    tiles = [
        (rendering.picture(spec, image[0]), f"{session.label(before)} {probabilities[before]:.0%}"),
        (shown, f"the change, ×{SHOWN_TIMES}"),
        (saved, f"{session.label(after)} {probabilities_after[after]:.0%}"),
    ]
    goal = f"{chosen}, “{session.label(target)}”"
    if not found.success[0]:
        caption = (
            f"No change was found that makes the network take {photo.name}, “{session.label(before)}”, for {goal}. "
            "More steps reach farther."
        )
    elif not found.success_8bit[0]:
        caption = (
            f"A change of length {found.l2_pixels[0]:.1f} makes “{session.label(before)}” {goal}, but rounding to 8 "
            "bits undoes it, whatever was tried."
        )
    else:
        each = float(np.abs(change).mean())
        caption = (
            f"“{session.label(before)}” becomes {goal}: {probabilities[target]:.1%} before, "
            f"{probabilities_after[target]:.1%} after, saved as 8-bit pixels that change by {each:.2f} of 255 on "
            f"average (length {found.l2_8bit[0]:.0f}; the smallest found, before rounding, {found.l2_pixels[0]:.0f})."
        )
    return Panel(
        method="adversarial",
        image=photo.name,
        layer="",
        unit=f"class {session.label(target)}",
        pixels=rendering.grid(
            [rendering.captioned(rendering.enlarge(tile, _TILE), text) for tile, text in tiles], columns=3
        ),
        values={
            "adversarial": found.images[0],
            "adversarial_pixels": saved,
            "change": found.images[0] - image[0],
            "probabilities_before": np.array(probabilities, np.float32),
            "probabilities_after": np.array(probabilities_after, np.float32),
        },
        caption=caption,
        note="Lengths are Euclidean, over all pixels and channels on the scale 0..255.",
        input_pixels=photo.pixels,
    )
