import keras
import pytest

from garden.errors import InspectionError
from garden.inspection import InspectedNetwork, layer_choice


def test_one_layer_of_each_size_and_rather_one_after_a_relu(network_of):
    network = network_of(
        (16, 16, 3),
        keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1"),
        keras.layers.Conv2D(4, 3, padding="same", name="linear1"),
        keras.layers.MaxPooling2D(name="pool"),
        keras.layers.Conv2D(4, 3, padding="same", name="linear2"),
        keras.layers.Conv2D(4, 3, strides=2, padding="same", name="linear3"),
        keras.layers.ReLU(name="relu3"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(5, name="scores"),
    )
    assert layer_choice.stage_paths(network) == ("conv1", "linear2", "relu3")
    assert layer_choice.stage_paths(network, most=2) == ("conv1", "relu3")
    assert layer_choice.is_rectified(network, "relu3") and not layer_choice.is_rectified(network, "linear3")
    assert max(network.trace_counts().values()) == 1


def test_where_no_map_becomes_smaller_depth_decides(network_of):
    layers = [keras.layers.Conv2D(3, 3, padding="same", activation="relu", name=f"conv{i}") for i in range(7)]
    network = network_of((8, 8, 3), *layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2))
    assert layer_choice.stage_paths(network, most=3) == ("conv0", "conv3", "conv6")


def test_a_nested_network_has_the_layers_of_the_flat_one():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, activation="relu", name="conv")], name="backbone"
    )
    image = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(inner(image))
    network = InspectedNetwork(keras.Model(image, keras.layers.Dense(2, name="scores")(x)))
    assert layer_choice.stage_paths(network) == ("backbone/conv",)
    assert "backbone" in network.paths and "backbone" not in network.own_paths
    assert network.last_map_path() == "backbone/conv" and network.features_path() == "pool"


def test_a_network_without_maps_is_told(network_of):
    network = network_of((4, 4, 3), keras.layers.Flatten(), keras.layers.Dense(2))
    with pytest.raises(InspectionError, match="^No layer of 'small' gives a map of positions") as told:
        layer_choice.stage_paths(network)
    assert str(told.value).endswith("Choose another method.")


def test_a_capped_relu_is_ranked_by_what_it_reads(network_of):
    network = network_of(
        (8, 8, 3),
        keras.layers.Conv2D(3, 3, name="conv1"),
        keras.layers.ReLU(6.0, name="relu6"),
        keras.layers.Conv2D(3, 3, name="conv2"),
        keras.layers.Activation("relu6", name="other6"),
        keras.layers.ReLU(name="relu"),
        keras.layers.Conv2D(3, 3, activation="relu6", name="fused"),
    )
    found = {path: layer_choice.uncapped(network, path) for path in network.paths if path in network.own_paths}
    assert found | {"relu6": "conv1", "other6": "conv2"} == found
    assert all(found[path] == path for path in ("conv1", "conv2", "relu", "fused"))
