"""PyTorch's files beside torch.save and torch.load themselves."""

from __future__ import annotations

import os
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from garden.errors import WeightsError
from garden.weights import torch_files
from garden.weights.reading import read_tensor_file


@pytest.fixture(name="torch")
def _torch():
    try:
        import torch
    except ImportError:
        if "CI" in os.environ:
            raise
        pytest.skip("PyTorch is not installed; `pip install garden[parity]` brings the independent implementation")
    return torch


@pytest.fixture(params=["legacy", "zip"])
def save(request, torch, tmp_path):
    """Writes a value in either format."""

    def write(value):
        path = tmp_path / "weights.pth"
        torch.save(value, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


def test_every_number_type_stride_and_offset_is_honoured(torch, save):
    base = torch.arange(120, dtype=torch.float32)
    state = {
        "plain.weight": torch.randn(4, 3, 2, 2),
        "channels_last.weight": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
        "transposed.weight": torch.randn(5, 7).T,
        "offset.bias": base[17:29],
        "stepped.bias": base[3:100:7],
        "double.bias": torch.randn(3, dtype=torch.float64),
        "half.bias": torch.randn(3).half(),
        "brain.weight": torch.randn(3, 4).bfloat16().T,
        "count.num_batches_tracked": torch.tensor(7),
        "flags.bias": torch.tensor([True, False]),
        "nothing.bias": torch.zeros(0, 3),
        "parameter.weight": torch.nn.Parameter(torch.randn(2, 2)),
    }
    assert not state["channels_last.weight"].is_contiguous()
    file = read_tensor_file(save(state))
    assert [tensor.name for tensor in file.tensors] == list(state)
    for tensor in file.tensors:
        expected = state[tensor.name].detach()
        expected = (expected.float() if expected.dtype == torch.bfloat16 else expected).numpy()
        np.testing.assert_array_equal(tensor.read(), expected)
        assert tensor.shape == expected.shape


def test_layers_and_roles_come_from_the_names(torch, save):
    file = read_tensor_file(save({"module.a.b.running_var": torch.ones(2), "fc.weight": torch.ones(2, 2)}))
    assert [(tensor.layer, tensor.role) for tensor in file.tensors] == [("a.b", "moving_variance"), ("fc", "weight")]


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_checkpoint_is_looked_into(torch, save, key):
    checkpoint = {"epoch": 3, key: {"fc.bias": torch.ones(2)}, "optimizer": {"momentum": torch.zeros(9)}}
    assert [tensor.name for tensor in read_tensor_file(save(checkpoint)).tensors] == ["fc.bias"]


def test_a_whole_module_is_refused_by_the_name_of_its_class(torch, save):
    path = save(torch.nn.Linear(2, 2))
    with pytest.raises(WeightsError) as caught:
        read_tensor_file(path)
    assert str(caught.value) == (
        f"{path} holds more than tensors: its pickle asks for torch.nn.modules.linear.Linear, which is not a part of "
        "tensors and was not run. Save the tensors alone, with torch.save(model.state_dict(), path)."
    )


def test_a_file_cut_anywhere_is_refused(torch, save, tmp_path):
    content = save({"fc.weight": torch.randn(8, 8), "fc.bias": torch.randn(8)}).read_bytes()
    for length in range(0, len(content) - 1, 13):
        path = tmp_path / "cut.pth"
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError):
            [tensor.read() for tensor in read_tensor_file(path).tensors]


def legacy_file(path, shape, strides, *, count=4, offset=0, storage=b"ctorch\nFloatStorage\n"):
    """A hand-made legacy file with one tensor, as small as can be."""

    def integers(values):
        return b"(" + b"".join(b"J" + int(value).to_bytes(4, "little", signed=True) for value in values) + b"t"

    reference = b"(X\x07\x00\x00\x00storage" + storage + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ"
    reference += int(count).to_bytes(4, "little") + b"NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + b"J" + int(offset).to_bytes(4, "little")
    tensor += integers(shape) + integers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    parts = [
        pickle.dumps(torch_files.LEGACY_MAGIC, 2),
        pickle.dumps(1001, 2),
        pickle.dumps({"little_endian": True}, 2),
        b"\x80\x02}X\x08\x00\x00\x00x.weight" + tensor + b"s.",
        pickle.dumps(["0"], 2),
        (4).to_bytes(8, "little"),
        np.arange(4, dtype="<f4").tobytes(),
    ]
    path.write_bytes(b"".join(parts))
    return path


def test_a_hand_made_file_is_read(tmp_path):
    (tensor,) = read_tensor_file(legacy_file(tmp_path / "x.pth", (2, 2), (1, 2))).tensors
    np.testing.assert_array_equal(tensor.read(), [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("shape", "strides", "options"),
    [
        ((1_000_000_000,), (0,), {}),  # Four bytes that claim to be four gigabytes.
        ((40_000, 40_000, 40_000), (0, 0, 0), {}),
        ((5,), (1,), {}),  # One behind the end.
        ((2, 2), (1, 3), {}),
        ((4,), (1,), {"offset": 1}),
        ((4,), (-1,), {}),
        ((-4,), (1,), {}),
        ((4,), (1, 1), {}),
        ((4,), (1,), {"count": 1_000_000_000}),
        ((4,), (1,), {"storage": b"ccollections\nOrderedDict\n"}),
        ((4,), (1,), {"storage": b"cnumpy\nndarray\n"}),
    ],
)
def test_tensors_outside_their_storage_are_refused_in_bounded_memory(shape, strides, options, tmp_path):
    path = legacy_file(tmp_path / "x.pth", shape, strides, **options)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="is damaged or is not a file of weights|holds more than tensors"):
            read_tensor_file(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_copying_a_dictionary_over_and_over_is_refused(tmp_path):
    path = legacy_file(tmp_path / "x.pth", (4,), (1,))
    content = path.read_bytes().replace(b"ccollections\nOrderedDict\n)R", b"ccollections\nOrderedDict\n](NNe\x85R")
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="its pickle copies a dictionary"):
        read_tensor_file(path)


def test_a_compressed_zip_is_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(10_000_000))
    with pytest.raises(WeightsError, match="it is compressed, which PyTorch's files are not"):
        read_tensor_file(path)


def test_a_zip_of_something_else_is_refused(tmp_path):
    path = tmp_path / "photos.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")
    with pytest.raises(WeightsError, match="it is a zip archive without PyTorch's data.pkl"):
        read_tensor_file(path)
