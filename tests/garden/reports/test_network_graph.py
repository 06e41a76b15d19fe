"""The picture of a network's graph: what is in a box, what is bold, and that it is a picture."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import keras
import pytest
from PIL import Image

from garden.reports import network_graph
from garden.reports.network_graph import Band
from garden.summary import summarize


@pytest.fixture(scope="module")
def graph():
    """A residual block with a pooled map before it."""
    pixels = keras.Input((16, 16, 3), name="pixels")
    x = keras.layers.ZeroPadding2D(1, name="conv1_pad")(pixels)
    x = keras.layers.Conv2D(4, 3, strides=2, use_bias=False, name="conv1")(x)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    x = keras.layers.ReLU(name="conv1_relu")(x)
    shortcut = keras.layers.MaxPooling2D(2, name="pool1")(x)
    x = keras.layers.BatchNormalization(name="pre_bn")(shortcut)
    x = keras.layers.Activation("relu", name="pre_relu")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2, name="conv2<&>")(x)
    x = keras.layers.Add(name="add")([x, shortcut])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(pixels, keras.layers.Dense(5, name="logits")(x), name="small")
    return network_graph.graph_of(model, summarize(model), {"conv1_relu": 2, "pool1": 4, "add": 4})


def test_layers_that_belong_together_stand_in_one_box(graph):
    assert [(box.kind, box.name, box.text) for box in graph.boxes] == [
        ("input", "pixels", "16×16×3 · input"),
        ("convolution", "conv1", "8×8×4 · conv 3×3 /2 · BN · ReLU"),
        ("pooling", "pool1", "4×4×4 · max 2×2 /2"),
        ("convolution", "conv2<&>", "4×4×4 · BN · relu · conv 3×3 dilated 2"),
        ("joining", "add", "4×4×4 · Add"),
        ("pooling", "pool", "4 · average of all"),
        ("dense", "logits", "5 · Dense"),
    ]


def test_a_box_tells_of_all_its_layers(graph):
    assert graph.boxes[1].facts.split("\n") == [
        "conv1_pad (ZeroPadding2D): 18×18×3, sees 1×1, stride 1×1",
        "conv1 (Conv2D): 8×8×4, 108 parameters, 6,912 multiply-adds, sees 3×3, stride 2×2",
        "conv1_bn (BatchNormalization): 8×8×4, 16 parameters, sees 3×3, stride 2×2",
        "conv1_relu (ReLU): 8×8×4, sees 3×3, stride 2×2",
    ]


def test_lines_are_the_graph_and_stages_end_with_their_last_endpoint(graph):
    assert sorted(graph.layout.lines) == [(0, 1), (1, 2), (2, 3), (2, 4), (3, 4), (4, 5), (5, 6)]
    assert graph.bands == (Band(0, 1, "stride 2\n8×8"), Band(2, 4, "stride 4\n4×4"))
    assert [box.name for box in graph.boxes if box.is_endpoint] == ["conv1", "pool1", "add"]


def test_the_svg_is_well_formed_and_has_a_box_for_each(graph):
    root = ElementTree.fromstring(network_graph.svg(graph))
    space = "{http://www.w3.org/2000/svg}"
    boxes = root.findall(f"{space}g")
    assert [box.find(f"{space}title").text.partition(" ")[0] for box in boxes][3] == "pre_bn"
    assert [box.find(f"{space}text").text for box in boxes] == [box.name for box in graph.boxes]
    thick = [float(box.find(f"{space}rect").get("stroke-width")) > 2 for box in boxes]
    assert thick == [box.is_endpoint for box in graph.boxes]
    width, height = float(root.get("width")), float(root.get("height"))
    for box in boxes:
        rect = box.find(f"{space}rect")
        assert 0 <= float(rect.get("x")) <= width - float(rect.get("width"))
        assert 0 <= float(rect.get("y")) <= height - float(rect.get("height"))


def test_the_png_is_a_picture_of_the_same_shape(graph):
    picture = Image.open(io.BytesIO(network_graph.png(graph)))
    root = ElementTree.fromstring(network_graph.svg(graph))
    assert picture.width / picture.height == pytest.approx(
        float(root.get("width")) / float(root.get("height")), abs=0.01
    )
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {tuple(bytes.fromhex(network_graph.COLOURS[kind][0][1:])) for kind in ("convolution", "joining")} <= colours


def test_the_ending_says_how_it_is_written(graph, tmp_path):
    network_graph.write(graph, tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == network_graph.svg(graph)
    with pytest.raises(ValueError, match=r"^`path` must end in \.svg or \.png\. Received: path='graph\.pdf'\.$"):
        network_graph.write(graph, Path("graph.pdf"))
