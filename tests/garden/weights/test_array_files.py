"""Named arrays and nothing else."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from garden.errors import WeightsError
from garden.weights.reading import read_tensor_file


def test_names_of_either_style_give_layers_and_roles(tmp_path):
    names = ["conv1/kernel", "block.0.conv.weight", "bn/bn/moving_variance:0", "bn.running_mean", "loose"]
    np.savez(tmp_path / "a.npz", **{name: np.zeros(2) for name in names})
    file = read_tensor_file(tmp_path / "a.npz")
    assert [(tensor.layer, tensor.role) for tensor in file.tensors] == [
        ("conv1", "kernel"),
        ("block.0.conv", "weight"),
        ("bn/bn", "moving_variance"),
        ("bn", "moving_mean"),
        ("", "loose"),
    ]
    assert file.order == "written"


def test_python_objects_are_refused_unread(tmp_path):
    np.savez(tmp_path / "a.npz", weights=np.array([{"a": 1}], object))
    with pytest.raises(WeightsError, match=r"its weights\.npy holds object, not numbers"):
        read_tensor_file(tmp_path / "a.npz")


def test_a_header_larger_than_its_numbers_takes_no_memory(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a/kernel.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (tensor,) = read_tensor_file(tmp_path / "a.npz").tensors
    assert tensor.shape == (10**12,)  # Fits no variable, so it is never read.


def test_bfloat16_safetensors_are_refused_by_name(tmp_path):
    header = json.dumps({"a.bias": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(WeightsError, match=r"its a\.bias holds BF16, which is not read"):
        read_tensor_file(tmp_path / "a.safetensors")


@pytest.mark.parametrize("end", [(0).to_bytes(8, "little"), (2**60).to_bytes(8, "little")])
def test_a_safetensors_header_that_lies_is_refused(end, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(end + b"{}")
    with pytest.raises(WeightsError, match="damaged"):
        read_tensor_file(tmp_path / "a.safetensors")
