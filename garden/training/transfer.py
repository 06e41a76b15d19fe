"""Which part of a network stays frozen, which part trains, and at what share of the learning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from garden.architectures import Architecture
from garden.errors import UsageError
from garden.summary import summarize

# "auto" lets as many endpoints train as cost at most this share of the network's multiply-adds: enough to fit
# new pictures, little enough that a laptop does it in seconds.
AUTO_SHARE_OF_MACS = 0.15


@dataclasses.dataclass(frozen=True)
class TransferParts:
    """One network cut at two places; all parts share its weights.

    Args:
        network: Prepared pixels to logits.
        extract: Prepared pixels to `[activations at the boundary, features]`; runs in inference mode only.
        head: Features to logits.
        late: Activations at the boundary to logits; None where only the head trains.
        boundary: Name of the layer behind which layers may train.
        blocks: Layers that may train, nearest the head first; each further block trains more slowly.
    """

    network: keras.Model
    extract: keras.Model
    head: keras.Model
    late: keras.Model | None
    boundary: str
    blocks: tuple[tuple[keras.layers.Layer, ...], ...]


def cut(network: keras.Model, architecture: Architecture, *, unfreeze: str) -> TransferParts:
    """Cut `network` at the freeze boundary and before the head.

    Args:
        network: As `garden.build` returns it, with a head.
        architecture: Its registry entry, which names the endpoints.
        unfreeze: First endpoint whose layers train; "auto", "none" (only the head) or "all".
    Raises: UsageError, if there is no such endpoint.
    """
    features = network.get_layer(architecture.features_layer).output
    boundary = boundary_layer(network, architecture, unfreeze=unfreeze)
    at_boundary = network.get_layer(boundary).output
    late = None
    if boundary != architecture.features_layer:
        late = keras.Model(at_boundary, network.output, name=f"{network.name}_late")
    return TransferParts(
        network=network,
        extract=keras.Model(network.input, [at_boundary, features], name=f"{network.name}_extract"),
        head=keras.Model(features, network.output, name=f"{network.name}_head"),
        late=late,
        boundary=boundary,
        blocks=_blocks(network, architecture, boundary),
    )


def boundary_layer(network: keras.Model, architecture: Architecture, *, unfreeze: str) -> str:
    """Name of the layer whose output the trainable part starts from."""
    input_layer = network.layers[0].name
    endpoints = [endpoint.name for endpoint in architecture.endpoints]
    if unfreeze == "none":
        return architecture.features_layer
    if unfreeze == "all":
        return input_layer
    if unfreeze == "auto":
        unfreeze = _auto_endpoint(network, endpoints)
    if unfreeze not in endpoints:
        raise UsageError(
            f"--unfreeze {unfreeze} is no endpoint of {architecture.name}; give auto, none, all or one of "
            f"{', '.join(endpoints)}."
        )
    position = endpoints.index(unfreeze)
    return endpoints[position - 1] if position else input_layer


def _auto_endpoint(network: keras.Model, endpoints: Sequence[str]) -> str:
    macs = {row.name: row.macs or 0 for row in summarize(network).rows}
    budget = AUTO_SHARE_OF_MACS * sum(macs.values())
    chosen = endpoints[-1]
    for position in range(len(endpoints) - 1, 0, -1):
        before = _layers_up_to(network, endpoints[position - 1])
        if sum(count for name, count in macs.items() if name not in before) > budget:
            break
        chosen = endpoints[position]
    return chosen


def _blocks(
    network: keras.Model, architecture: Architecture, boundary: str
) -> tuple[tuple[keras.layers.Layer, ...], ...]:
    cuts = [endpoint.name for endpoint in architecture.endpoints]
    frozen = _layers_up_to(network, boundary)
    cuts = [name for name in cuts if name not in frozen]
    if architecture.features_layer not in frozen and architecture.features_layer not in cuts:
        cuts.append(architecture.features_layer)
    blocks, seen = [], set(frozen)
    for name in cuts:
        reached = _layers_up_to(network, name)
        blocks.append(tuple(layer for layer in network.layers if layer.name in reached - seen))
        seen |= reached
    blocks.append(tuple(layer for layer in network.layers if layer.name not in seen))
    # A block without weights (pooling, dropout) is no step away from the head.
    return tuple(block for block in reversed(blocks) if any(layer.weights for layer in block))


def _layers_up_to(network: keras.Model, name: str) -> set[str]:
    return {layer.name for layer in keras.Model(network.input, network.get_layer(name).output).layers}


def freeze_for_head(parts: TransferParts) -> None:
    """Let nothing but the head train."""
    in_head = {layer.name for layer in parts.head.layers}
    for layer in parts.network.layers:
        layer.trainable = layer.name in in_head


def freeze_for_late(parts: TransferParts, *, train_batch_normalization: bool) -> None:
    """Let the layers behind the boundary train.

    Args:
        train_batch_normalization: Only from scratch. With transferred weights the statistics of a handful of
            small batches would replace those of a million images; and in Keras 3.15 `training=False` does not
            survive, so the layers themselves are frozen.
    """
    may_train = {layer.name for block in parts.blocks for layer in block}
    for layer in parts.network.layers:
        is_normalization = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name in may_train and (train_batch_normalization or not is_normalization)


def rate_multipliers(parts: TransferParts, *, rate_decay: float) -> dict[str, float]:
    """Share of the learning rate for each trainable variable, by its path.

    Args:
        rate_decay: 1 for the head, this for the block before it, its square for the next, and so on.
    """
    return {
        variable.path: rate_decay**distance
        for distance, block in enumerate(parts.blocks)
        for layer in block
        for variable in layer.trainable_variables
    }
