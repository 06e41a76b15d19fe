"""Cutting a network: the parts compute what the whole computes, and only what should train trains."""

import keras
import numpy as np
import pytest

from garden import architectures
from garden.errors import UsageError
from garden.training import transfer

NAME = "mobilenet_v2_035"


@pytest.fixture(scope="module")
def network():
    return architectures.build(NAME, num_classes=4, input_shape=(32, 32, 3))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("unfreeze", ["auto", "all", "none", "second"])
def test_the_parts_together_compute_what_the_network_computes(network, pixels, unfreeze):
    architecture = architectures.get(NAME)
    if unfreeze == "second":
        unfreeze = architecture.endpoints[1].name
    parts = transfer.cut(network, architecture, unfreeze=unfreeze)
    expected = network(pixels, training=False).numpy()
    boundary, features = parts.extract(pixels, training=False)
    np.testing.assert_allclose(parts.head(features, training=False), expected, atol=1e-5)
    if parts.late is None:
        assert unfreeze == "none"
    else:
        np.testing.assert_allclose(parts.late(boundary, training=False), expected, atol=1e-5)


def test_all_cuts_before_the_first_layer(network, pixels):
    parts = transfer.cut(network, architectures.get(NAME), unfreeze="all")
    np.testing.assert_array_equal(parts.extract(pixels)[0], pixels)


def test_unfreezing_an_endpoint_trains_its_layers_and_the_later_ones(network):
    architecture = architectures.get(NAME)
    before, first = architecture.endpoints[-3].name, architecture.endpoints[-2].name
    parts = transfer.cut(network, architecture, unfreeze=first)
    assert parts.boundary == before
    transfer.freeze_for_late(parts, train_batch_normalization=False)
    assert network.get_layer("logits").trainable
    assert not network.get_layer(before).trainable
    normalizations = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert normalizations and not any(layer.trainable for layer in normalizations)
    trained = {variable.path for variable in network.trainable_variables}
    assert trained == {variable.path for variable in parts.late.trainable_variables}
    assert any(path.endswith("kernel") and "logits" not in path for path in trained)


def test_the_rate_falls_from_endpoint_to_endpoint(network):
    architecture = architectures.get(NAME)
    parts = transfer.cut(network, architecture, unfreeze=architecture.endpoints[-3].name)
    transfer.freeze_for_late(parts, train_batch_normalization=False)
    multipliers = transfer.rate_multipliers(parts, rate_decay=0.5)
    assert set(multipliers) == {variable.path for variable in parts.late.trainable_variables}
    assert multipliers["logits/kernel"] == 1.0
    assert sorted(set(multipliers.values()), reverse=True) == [1.0, 0.5, 0.25, 0.125][: len(set(multipliers.values()))]
    assert len(set(multipliers.values())) >= 3


def test_only_the_head_trains_in_the_head_phase(network):
    parts = transfer.cut(network, architectures.get(NAME), unfreeze="auto")
    transfer.freeze_for_head(parts)
    assert {variable.path for variable in network.trainable_variables} == {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize("name", architectures.names())
def test_auto_lets_at_least_one_endpoint_train_and_stays_within_its_share(name):
    from garden.summary import summarize

    architecture = architectures.get(name)
    network = architectures.outline(name, num_classes=3)
    boundary = transfer.boundary_layer(network, architecture, unfreeze="auto")
    behind = ["pixels", *(endpoint.name for endpoint in architecture.endpoints)]
    assert boundary in behind and boundary != behind[-1]
    macs = {row.name: row.macs for row in summarize(network).rows}
    frozen = {layer.name for layer in keras.Model(network.input, network.get_layer(boundary).output).layers}
    share = sum(count for layer, count in macs.items() if layer not in frozen) / sum(macs.values())
    one_endpoint_only = boundary == behind[-2]
    assert share <= transfer.AUTO_SHARE_OF_MACS or one_endpoint_only


def test_an_unknown_endpoint_is_refused_with_the_known_ones(network):
    architecture = architectures.get(NAME)
    known = ", ".join(endpoint.name for endpoint in architecture.endpoints)
    with pytest.raises(UsageError) as error:
        transfer.cut(network, architecture, unfreeze="block99")
    assert str(error.value) == (f"--unfreeze block99 is no endpoint of {NAME}; give auto, none, all or one of {known}.")
