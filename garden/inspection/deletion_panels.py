"""Panels of the deletion check: what hiding the pixels of each ranking does to the class's probability."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from garden.inspection import deletion, occlusion, rendering
from garden.inspection.panel import Curve, Panel
from garden.inspection.saliency import saliency
from garden.inspection.session import InspectionSession

SHOWN_SHARES = (0.10, 0.25, 0.50)


def panels(session: InspectionSession) -> Iterable[Panel]:
    """For each photo two charts, hiding and showing, of the maps' rankings beside those that know nothing."""
    steps = session.steps_or(deletion.STEPS)
    spec = session.network.image_spec
    for place, (photo, class_index) in enumerate(zip(session.photos, session.class_indices, strict=True)):
        session.say(photo.name)
        image = session.images[place]
        score = deletion.class_probability(session, int(class_index))
        blurred = deletion.blurred_picture(image)
        hiding: dict[str, Any] = {
            "fill": blurred,
            "blurred": blurred,
            "steps": steps,
            "block": deletion.square_side(image),
        }
        maps = {"occlusion": occlusion.of_photo(session, place).attribution}
        if session.classifier is None:
            maps["saliency"] = saliency(session.network, image[None], session.target.rows(place, place + 1))[0]
        maps["reversed occlusion"] = -maps["occlusion"]
        maps["edges (Sobel)"] = deletion.edges(image)
        curves = {name: deletion.deletion_insertion(score, image, ranking, **hiding) for name, ranking in maps.items()}
        curves[f"random (mean of {deletion.RANDOM_RANKINGS})"] = random = deletion.random_deletion_insertion(
            score, image, seed=session.seed, **hiding
        )
        label = session.label(int(class_index))
        has_probabilities = session.classifier is not None or session.network.has_probabilities
        what = "Probability of" if has_probabilities else "The network's output for"
        places = deletion.ranks(image, maps["occlusion"], hiding["block"])
        masks = np.stack([places < round(share * (places.max() + 1)) for share in SHOWN_SHARES])
        for kind, pictures in (
            ("hidden", deletion.mixed(image, blurred, masks)),
            ("shown", deletion.mixed(blurred, image, masks)),
        ):
            name = "deletion" if kind == "hidden" else "insertion"
            areas = {ranking: getattr(found, f"{name}_auc") for ranking, found in curves.items()}
            tiles = [
                rendering.captioned(pixels, f"{share:.0%} {kind}")
                for share, pixels in zip(SHOWN_SHARES, rendering.picture(spec, pictures), strict=True)
            ]
            better = "smaller" if kind == "hidden" else "larger"
            yield Panel(
                method="deletion",
                image=photo.name,
                layer="",
                unit=f"class {label}, {kind}",
                pixels=rendering.grid(tiles, columns=len(tiles), gap=4),
                values={
                    "fractions": random.fractions,
                    **{f"{name} {ranking}": getattr(found, name) for ranking, found in curves.items()},
                },
                caption=(
                    f"{what} “{label}” while the pixels that matter most are {kind} first. Area, {better} is "
                    "better: " + ", ".join(f"{ranking} {area:.3f}" for ranking, area in areas.items()) + "."
                ),
                note="What is hidden is blurred, in squares. Networks were not trained on pictures with parts missing: "
                "compare rankings, not networks.",
                input_pixels=photo.pixels,
                curves=tuple(
                    Curve(ranking, found.fractions, getattr(found, name)) for ranking, found in curves.items()
                ),
            )
