"""What a user chooses on the line of `garden inspect`: methods, a class, channels."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from garden.errors import UsageError
from garden.inspection import METHODS, InspectedNetwork, InspectionSession, Method
from garden.inspection import method as needs


def chosen_methods(names: Sequence[str] | None) -> tuple[list[Method], bool]:
    """The methods that are named, in the catalogue's order, and whether they were named one by one."""
    if not names:
        return [method for method in METHODS.values() if not method.slow], False
    wanted: set[str] = set()
    explicit = False
    groups = {method.group for method in METHODS.values()}
    for name in (part.strip() for text in names for part in text.split(",")):
        if name == "all":
            wanted |= set(METHODS)
        elif name in groups:
            wanted |= {method.name for method in METHODS.values() if method.group == name}
        elif name.replace("-", "_") in METHODS:
            wanted.add(name.replace("-", "_"))
            explicit = True
        else:
            close = difflib.get_close_matches(name.replace("-", "_"), METHODS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"There is no method {name!r}.{hint} `garden inspect --list-methods` names all.")
    return [method for method in METHODS.values() if method.name in wanted], explicit


def applicable(methods: Sequence[Method], session: InspectionSession) -> tuple[list[Method], list[str]]:
    """Methods whose needs are met, and a line for each of the others."""
    runnable, left_out = [], []
    for method in methods:
        if needs.PHOTOS in method.needs and not session.photos:
            left_out.append(f"{method.name} needs pictures to explain: name some after the network.")
        elif needs.GALLERY in method.needs and session.gallery is None:
            left_out.append(f"{method.name} needs pictures to search: name a folder with --gallery FOLDER.")
        elif session.classifier is not None and not method.black_box:
            left_out.append(f"{method.name} needs the network's inside, which a server does not show.")
        else:
            runnable.append(method)
    return runnable, left_out


def class_index(text: str, network: InspectedNetwork) -> int:
    """The class of a name, or of a number."""
    labels = network.labels or ()
    if text in labels:
        return labels.index(text)
    if text.isdecimal() and int(text) < network.num_classes:
        return int(text)
    folded = [index for index, label in enumerate(labels) if label.casefold() == text.casefold()]
    if len(folded) == 1:
        return folded[0]
    close = (
        difflib.get_close_matches(text, labels, n=3, cutoff=0.5)
        or [label for label in labels if text.casefold() in label.casefold()][:3]
    )
    hint = f" Did you mean {' or '.join(repr(label) for label in close)}?" if close else ""
    raise UsageError(
        f"The network knows no class {text!r}; a class is one of its labels, or a number within "
        f"0..{network.num_classes - 1}.{hint}"
    )


def channels(text: str) -> tuple[int, ...]:
    """Unit numbers out of "3,17"."""
    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError:
        channels = (-1,)
    if min(channels) < 0:
        raise UsageError(f"--channels takes numbers from 0 on, such as --channels 3,17. Received: {text!r}.")
    return channels
