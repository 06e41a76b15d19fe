"""The neocognitron beside NumPy loops."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from garden import architectures
from garden.summary import summarize


def fall(size):
    middle = (size - 1) / 2
    return 0.9 ** np.array([[np.hypot(row - middle, column - middle) for column in range(size)] for row in range(size)])


def s_cells(maps, a, b, r):
    c = fall(5)[:, :, None] / (fall(5).sum() * maps.shape[2])
    out = np.empty((maps.shape[0] - 4, maps.shape[1] - 4, a.shape[-1]))
    for row, column in np.ndindex(*out.shape[:2]):
        seen = maps[row : row + 5, column : column + 5]
        v = np.sqrt((c * seen**2).sum())
        excited = (a * seen[..., None]).sum(axis=(0, 1, 2))
        out[row, column] = r * np.maximum((1 + excited) / (1 + r / (1 + r) * b * v) - 1, 0)
    return out


def c_cells(maps, size, step):
    out = np.empty(((maps.shape[0] - size) // step + 1, (maps.shape[1] - size) // step + 1, maps.shape[2]))
    for row, column in np.ndindex(*out.shape[:2]):
        seen = maps[step * row : step * row + size, step * column : step * column + size]
        sums = (fall(size)[:, :, None] * seen).sum(axis=(0, 1))
        z = np.maximum((1 + sums) / (1 + sums.mean()) - 1, 0)
        out[row, column] = z / (0.5 + z)
    return out


def border(maps, before, after):
    return np.pad(maps, ((before, after), (before, after), (0, 0)))


@pytest.mark.parametrize("name", architectures.list_architectures("neocognitron*"))
def test_equals_loops(name):
    keras.utils.set_random_seed(3)
    network = architectures.build(name)
    chance = np.random.default_rng(0)
    for layer in network.layers:
        if layer.name.startswith("u_s") and layer.weights:
            a, b = layer.get_weights()
            layer.set_weights([a * 3, chance.uniform(0, 0.5, b.shape)])
    selectivities = architectures.get(name).variant.selectivities
    maps = chance.uniform(0, 1, (16, 16, 1))
    image = maps
    for module, r in enumerate(selectivities, start=1):
        maps = border(maps, *{1: (2, 2), 2: (1, 1), 3: (0, 0)}[module])
        maps = s_cells(maps, *network.get_layer(f"u_s{module}").get_weights(), r)
        maps = c_cells(border(maps, 4, 3), 5, 2) if module < 3 else c_cells(maps, 2, 1)
        theirs = keras.Model(network.input, network.get_layer(f"u_c{module}").output)(image[None].astype(np.float32))
        assert 0.05 < np.mean(maps > 0) <= 1
        np.testing.assert_allclose(theirs[0], maps, atol=1e-4)
    kernel, bias = network.get_layer("logits").get_weights()
    np.testing.assert_allclose(network(image[None].astype(np.float32))[0], maps.ravel() @ kernel + bias, atol=1e-3)


def test_layers_have_the_papers_sizes():
    network = architectures.outline("neocognitron")
    sizes = {layer.name: layer.output.shape[1:] for layer in network.layers if layer.name in summary_of_cells()}
    assert sizes == summary_of_cells()


def summary_of_cells():
    sides = {"u_s1": 16, "u_c1": 10, "u_s2": 8, "u_c2": 6, "u_s3": 2, "u_c3": 1}
    return {name: (side, side, 24) for name, side in sides.items()}


def test_counts_are_those_of_the_connections():
    summary = summarize(architectures.outline("neocognitron"))
    counts = {row.name: row.parameters for row in summary.rows if row.parameters}
    # 5 × 5 weights from each plane of the module before, and one b for each plane; the C-cells learn nothing.
    assert counts == {
        "u_s1": 24 * 25 + 24,
        "u_s2": 24 * 24 * 25 + 24,
        "u_s3": 24 * 24 * 25 + 24,
        "logits": 250,
    }
    connections = {row.name: row.macs for row in summary.rows if row.macs}
    assert connections["u_s2"] == 8 * 8 * 25 * 24 * (24 + 1)
    assert connections["u_c1"] == 10 * 10 * 24 * 25
