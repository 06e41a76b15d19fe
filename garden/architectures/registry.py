"""The catalogue's machinery: what an entry holds, how a family file adds its variants, how one is found."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from garden.errors import ArchitectureError
from garden.image_spec import ImageSpec
from garden.weights import foreign_names as foreign_names_registry
from garden.weights import sources

Value = TypeVar("Value")


class Variant(Protocol):
    """A row of a family's table. Its other fields are the family's own."""

    @property
    def num_parameters(self) -> int: ...

    @property
    def macs(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A place where a network can be cut in two.

    Everything after the layer depends on the input only through the layer's output.

    Args:
        name: The layer's name.
        stride: Input pixels from one position of the output to the next.
    """

    name: str
    stride: int


@dataclasses.dataclass(frozen=True)
class PublishedError:
    """How often the network was wrong when it was published.

    Args:
        per_cent: Share of wrong answers.
        where: Where the source prints it, such as "table 4".
        measures: What is counted on which pictures.
    """

    per_cent: float
    where: str
    measures: str = "top-1, ImageNet validation, one crop"

    @property
    def is_usual(self) -> bool:
        """Whether it counts what most sources count, so that it can stand beside theirs."""
        return self.measures == PublishedError.measures


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An entry of the catalogue.

    Args:
        name: What `garden.build` takes.
        family: The family's name; its file is `garden/architectures/<family>.py`.
        year: Of the source's first appearance.
        task: What the network answers: "classify".
        image_spec: The pixels that it expects.
        num_classes: Classes of the original, which is what `num_parameters` and `macs` count.
        dropout_rate: Share of the features dropped while training the head.
        num_parameters: Trainable parameters; the moving averages of BatchNormalization do not count.
        parameter_note: What else there is to say of that count, such as whether convolutions carry biases.
        macs: Multiply-adds of convolutions and dense layers for one image of `image_spec`'s size.
        source: Where the network is described.
        published_error: The source's figure; None if it prints none for this variant.
        endpoints: Where the network can be cut, from the input to the output.
        features_layer: The last layer before the head; a map or a vector.
        head_layers: The layers after `features_layer`, in order. They are new when `num_classes` differs.
        minimum_size: Smallest height and width in pixels.
        options: What else `garden.build` takes for this network: option → its values, the default first.
        variant: The row of the family's table.
        builder: Makes logits, or features, from the input tensor.
    """

    name: str
    family: str
    year: int
    task: str
    image_spec: ImageSpec
    num_classes: int
    dropout_rate: float
    num_parameters: int
    parameter_note: str
    macs: int
    source: str
    published_error: PublishedError | None
    endpoints: tuple[Endpoint, ...]
    features_layer: str
    head_layers: tuple[str, ...]
    minimum_size: int
    options: Mapping[str, tuple[Any, ...]] = dataclasses.field(hash=False)
    variant: Variant = dataclasses.field(repr=False)
    builder: Callable[..., Any] = dataclasses.field(repr=False, compare=False)

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Names that `weights=` takes beside a path."""
        return sources.names_for(self.name)

    def image_spec_for(self, input_shape: tuple[int, int, int]) -> ImageSpec:
        """The pixels that a network of `input_shape` expects.

        One channel means luminance, scaled by the average of the three channels' mean and std.

        Args:
            input_shape: `(height, width, channels)`, as given to `garden.build`.
        Raises: ArchitectureError, for 4 channels: no picture has a fourth, so the pixels are the caller's.
        """
        height, width, channels = input_shape
        spec = self.image_spec.with_size(height, width)
        if channels == spec.channels:
            return spec
        if channels == 1:
            return dataclasses.replace(
                spec, channels=1, mean=(_average(spec.mean),), std=(_average(spec.std),), channel_order="rgb"
            )
        if channels == 3:
            return dataclasses.replace(spec, channels=3, mean=spec.mean * 3, std=spec.std * 3)
        raise ArchitectureError(
            f"{self.name} with {channels} input channels has no ImageSpec: pictures are prepared with 1 or 3 "
            "channels. Prepare the pixels yourself, or build the network with 3 channels."
        )


def _average(numbers: tuple[float, ...]) -> float:
    return sum(numbers) / len(numbers)


_ENTRIES: dict[str, Architecture] = {}


def architecture(
    variants: Mapping[str, Variant],
    *,
    source: str,
    year: int | Callable[[Any], int],
    image_spec: ImageSpec | Callable[[Any], ImageSpec],
    endpoints: Callable[[Any], tuple[Endpoint, ...]],
    features_layer: str | Callable[[Any], str],
    head_layers: tuple[str, ...] | Callable[[Any], tuple[str, ...]],
    minimum_size: int | Callable[[Any], int],
    published_error: Callable[[Any], PublishedError | None] | None = None,
    parameter_note: str = "",
    options: Mapping[str, tuple[Any, ...]] | Callable[[Any], Mapping[str, tuple[Any, ...]]] | None = None,
    dropout_rate: float | Callable[[Any], float] = 0.0,
    task: str = "classify",
    num_classes: int | Callable[[Any], int] = 1000,
    foreign_names: Callable[[Any], Mapping[str, tuple[str, ...]]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a family's variants to the catalogue; decorates the family's builder.

    The builder is `builder(variant, pixels, *, num_classes, dropout_rate)`: it takes the input tensor and
    returns the logits, or, for `num_classes=None`, a feature vector for each image. Every option that the
    variant has is a further keyword of it; only where an option asks for more than one output may it return
    a dictionary, whose entry "logits" is what it returns otherwise.
    The option "output_stride" says how far apart the positions of the last map shall be at most: strides
    beyond become dilations.
    An argument that differs between variants is given as a function of the variant.

    Args:
        variants: Name of an entry → its row of the family's table.
        foreign_names: Makes, for a variant, our layer names → the names that the same layers have in
            weight files of other programs.
        The others: as in `Architecture`.
    Raises: ValueError, if a name is taken.
    """

    def add(builder: Callable[..., Any]) -> Callable[..., Any]:
        for name, variant in variants.items():
            if name in _ENTRIES:
                raise ValueError(f"Architecture names must be unique. Received: name={name!r}, which is already taken.")
            _ENTRIES[name] = Architecture(
                name=name,
                family=builder.__module__.rpartition(".")[2],
                year=_of(year, variant),
                task=task,
                image_spec=_of(image_spec, variant),
                num_classes=_of(num_classes, variant),
                dropout_rate=_of(dropout_rate, variant),
                num_parameters=variant.num_parameters,
                parameter_note=parameter_note,
                macs=variant.macs,
                source=source,
                published_error=published_error(variant) if published_error is not None else None,
                endpoints=endpoints(variant),
                features_layer=_of(features_layer, variant),
                head_layers=_of(head_layers, variant),
                minimum_size=_of(minimum_size, variant),
                options=types.MappingProxyType(_options_of(options, variant)),
                variant=variant,
                builder=builder,
            )
            if foreign_names is not None:
                foreign_names_registry.remember(name, foreign_names(variant))
        return builder

    return add


def _of(value: Value | Callable[[Any], Value], variant: Variant) -> Value:
    return value(variant) if callable(value) else value


def _options_of(options: Any, variant: Variant) -> dict[str, tuple[Any, ...]]:
    return dict(options(variant) if callable(options) else options or {})


def names() -> tuple[str, ...]:
    """The names of all entries, sorted."""
    return tuple(sorted(_ENTRIES))


def get(name: str) -> Architecture:
    """The entry of that name.

    Raises: ArchitectureError, if there is none; the sentence names close ones.
    """
    if name not in _ENTRIES:
        raise ArchitectureError(
            f"There is no architecture named {name!r}. {_hint(str(name))}`garden list` prints all names."
        )
    return _ENTRIES[name]


def _hint(name: str) -> str:
    """A sentence with the names that somebody who wrote `name` may have meant, with a space after it, or nothing."""
    wanted = _plain(name)
    families = {_plain(entry.family): entry.family for entry in _ENTRIES.values()}
    same = [known for known in names() if _plain(known) == wanted]
    members = [known for known in names() if _ENTRIES[known].family == families.get(wanted)]
    if not same and len(members) > 3:
        more = f" and {len(members) - 6} more" if len(members) > 6 else ""
        return f"{families[wanted]} is a family of {', '.join(members[:6])}{more}. "
    plain = {_plain(known): known for known in names()}
    # Somebody who writes more or less of a name than there is knows how it begins.
    begins = [plain[key] for key in sorted(plain, key=lambda key: (len(key), key)) if key.startswith(wanted)]
    longer = [plain[key] for key in sorted(plain, key=len, reverse=True) if wanted.startswith(key)]
    alike = [plain[key] for key in difflib.get_close_matches(wanted, plain, n=3, cutoff=0.6)]
    close = same or members or (begins if wanted else []) or list(dict.fromkeys([*longer[:1], *alike]))
    return f"Did you mean {' or '.join(close[:3])}? " if close else ""


def _plain(name: str) -> str:
    """A name without what people write differently: capitals, hyphens, underscores, dots, spaces."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# What a list can be sorted by → the key; entries of which it is not known come last.
_ORDERS: dict[str, Callable[[Architecture], Any]] = {
    "name": lambda entry: entry.name,
    "year": lambda entry: entry.year,
    "parameters": lambda entry: entry.num_parameters,
    "macs": lambda entry: entry.macs,
    # Errors on other pictures, or of other kinds, are no matter of more or less: they come after ImageNet's.
    "error": lambda entry: _order_of_error(entry.published_error),
}
ORDERS = tuple(_ORDERS)


def _order_of_error(error: PublishedError | None) -> tuple[Any, ...]:
    return (2, "", 0.0) if error is None else (int(not error.is_usual), error.measures, error.per_cent)


def list_architectures(
    pattern: str = "*",
    *,
    family: str | None = None,
    task: str | None = None,
    year: int | tuple[int, int] | None = None,
    min_parameters: float | None = None,
    max_parameters: float | None = None,
    max_macs: float | None = None,
    input_size: int | None = None,
    max_input_size: int | None = None,
    pretrained: bool | None = None,
    output_stride: int | None = None,
    sort: str = "name",
) -> list[str]:
    """Names of the entries that fit all that is given.

    Args:
        pattern: Shell pattern on the name, such as "mobilenet*".
        family: Only entries of this family, such as "resnet".
        task: Only entries that answer this, such as "classify".
        year: Only entries that appeared in this year, or from the first to the last of two years.
        min_parameters: Only entries with at least so many trainable parameters.
        max_parameters: Only entries with at most so many.
        max_macs: Only entries with at most so many multiply-adds an image, at the input size that they have.
        input_size: Only entries whose input is so many pixels high and wide.
        max_input_size: Only entries whose input is at most so many pixels high and wide.
        pretrained: True for entries that have pretrained weights in the catalogue, False for the others.
        output_stride: Only entries whose last map has one position every so many pixels, by itself or with the
            option `output_stride`.
        sort: "name", "year", "parameters", "macs" or "error": smallest first.
    Raises:
        ArchitectureError: there is no such family.
        ValueError: `sort` is none of the above, or the years are in the wrong order.
    """
    if sort not in _ORDERS:
        raise ValueError(f"`sort` must be one of {', '.join(map(repr, _ORDERS))}. Received: sort={sort!r}.")
    families = sorted({entry.family for entry in _ENTRIES.values()})
    if family is not None and family not in families:
        close = difflib.get_close_matches(_plain(family), families, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"There are {', '.join(families)}."
        raise ArchitectureError(f"There is no family named {family!r}. {hint}")
    first, last = year if isinstance(year, tuple) else (year, year)
    if first is not None and last is not None and first > last:
        raise ValueError(f"`year` must be a year or two in their order. Received: year={year!r}.")

    def fits(entry: Architecture) -> bool:
        size = entry.image_spec.height, entry.image_spec.width
        strides = {entry.endpoints[-1].stride, *entry.options.get("output_stride", ())}
        return (
            fnmatch.fnmatchcase(entry.name, pattern)
            and (family is None or entry.family == family)
            and (task is None or entry.task == task)
            and (first is None or entry.year >= first)
            and (last is None or entry.year <= last)
            and (min_parameters is None or entry.num_parameters >= min_parameters)
            and (max_parameters is None or entry.num_parameters <= max_parameters)
            and (max_macs is None or entry.macs <= max_macs)
            and (input_size is None or size == (input_size, input_size))
            and (max_input_size is None or max(size) <= max_input_size)
            and (pretrained is None or bool(entry.pretrained) == pretrained)
            and (output_stride is None or output_stride in strides)
        )

    fitting = [_ENTRIES[name] for name in names() if fits(_ENTRIES[name])]
    return [entry.name for entry in sorted(fitting, key=_ORDERS[sort])]
