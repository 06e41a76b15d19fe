"""Keras' files are read as data: no link is followed, nothing unfolds without bounds."""

from __future__ import annotations

import json
import zipfile

import h5py
import numpy as np
import pytest

from garden.errors import WeightsError
from garden.weights.reading import read_tensor_file


def write_newer(path, name="conv1", **links):
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/conv2d/vars")
        group.attrs["name"] = name
        group["0"] = np.ones((3, 3, 1, 2))
        for key, link in links.items():
            group[key.removeprefix("_")] = link
    return path


def test_layers_are_called_by_their_own_name(tmp_path):
    (tensor,) = read_tensor_file(write_newer(tmp_path / "a.weights.h5")).tensors
    assert (tensor.layer, tensor.role, tensor.shape, tensor.layer_class) == ("conv1", "0", (3, 3, 1, 2), "conv2d")
    np.testing.assert_array_equal(tensor.read(), np.ones((3, 3, 1, 2)))


def test_tensors_stand_in_natural_order(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for index in (0, 1, 2, 10, 11):
            name = f"conv2d_{index}" if index else "conv2d"
            file[f"layers/{name}/vars/0"] = np.zeros(1)
    names = [tensor.name for tensor in read_tensor_file(tmp_path / "a.weights.h5").tensors]
    assert [name.split()[0] for name in names] == [f"layers/conv2d{end}" for end in ("", "_1", "_2", "_10", "_11")]


def test_optimizer_slots_and_random_states_are_no_weights(tmp_path):
    path = write_newer(tmp_path / "a.weights.h5")
    with h5py.File(path, "a") as file:
        file["optimizer/vars/0"] = np.zeros(())
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2)
    assert len(read_tensor_file(path).tensors) == 1


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage"])
def test_numbers_kept_elsewhere_are_refused(kind, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["key"] = np.zeros(4)
    path = tmp_path / "a.weights.h5"
    if kind == "external storage":
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/conv2d/vars")
            group.create_dataset("0", (4,), "u1", external=[(str(secret), 0, 4)])
    else:
        link = h5py.ExternalLink(str(secret), "/key") if kind == "external link" else h5py.SoftLink("/layers")
        write_newer(path, _1=link)
    with pytest.raises(WeightsError, match="is not a plain tensor"):
        read_tensor_file(path)


def test_texts_are_no_weights(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = "text"
    with pytest.raises(WeightsError, match="does not hold numbers"):
        read_tensor_file(tmp_path / "a.weights.h5")


def test_an_empty_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        file.attrs["x"] = 1
    with pytest.raises(WeightsError, match="it holds no weights"):
        read_tensor_file(tmp_path / "a.weights.h5")


def test_the_first_keras_wrote_no_paths(tmp_path):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file.attrs["layer_names"] = [b"input_1", b"block1_conv1"]
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        group = file.create_group("block1_conv1")
        group.attrs["weight_names"] = [b"block1_conv1_W_1:0", b"block1_conv1_b_1:0"]
        group["block1_conv1_W_1:0"], group["block1_conv1_b_1:0"] = np.ones((3, 3, 3, 2)), np.ones(2)
    tensors = read_tensor_file(tmp_path / "vgg.h5").tensors
    assert [(tensor.layer, tensor.role) for tensor in tensors] == [("block1_conv1", "0"), ("block1_conv1", "1")]


def write_archive(path, configuration, *, repeat=1):
    inner = write_newer(path.with_suffix(".weights.h5")).read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", configuration)
        archive.writestr("model.weights.h5", inner + bytes(repeat))
    return path


def test_an_archive_that_unfolds_without_bounds_is_refused(tmp_path):
    path = write_archive(tmp_path / "bomb.keras", "{}", repeat=40_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(WeightsError, match="it claims to unfold to a size that weights do not have"):
        read_tensor_file(path)


def test_a_very_deep_configuration_is_refused_and_not_followed(tmp_path):
    deep = '{"config": {"layers": [' * 20_000 + "]}}" * 20_000
    with pytest.raises(WeightsError, match="damaged"):
        read_tensor_file(write_archive(tmp_path / "deep.keras", deep))


def test_a_configuration_gives_the_order_and_runs_nothing(tmp_path):
    configuration = {
        "class_name": "Functional",
        "config": {"layers": [{"class_name": "Lambda", "module": "os", "config": {"name": "conv1", "function": "x"}}]},
    }
    file = read_tensor_file(write_archive(tmp_path / "a.keras", json.dumps(configuration)))
    assert file.order == "graph"
