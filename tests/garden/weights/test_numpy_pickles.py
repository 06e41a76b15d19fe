"""Pickles of NumPy arrays, read without unpickling."""

from __future__ import annotations

import fractions
import pickle

import numpy as np
import pytest

from garden.errors import WeightsError
from garden.weights.reading import read_tensor_file


def write(path, value, protocol):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_reads_what_python_would(protocol, tmp_path):
    chance = np.random.default_rng(0)
    value = {
        "conv1": [chance.normal(size=(3, 3, 2, 4)).astype("f4"), chance.normal(size=4).astype("f4")],
        "conv2": (np.asfortranarray(chance.normal(size=(2, 3))), chance.normal(size=3).astype(">f8")),
        "scale": np.arange(3),
    }
    file = read_tensor_file(write(tmp_path / "weights.pkl", value, protocol))
    found = {tensor.name: tensor for tensor in file.tensors}
    assert list(found) == ["conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias", "scale/kernel"]
    for name, expected in [
        ("conv1/kernel", value["conv1"][0]),
        ("conv1/bias", value["conv1"][1]),
        ("conv2/kernel", value["conv2"][0]),
        ("conv2/bias", value["conv2"][1]),
        ("scale/kernel", value["scale"]),
    ]:
        assert found[name].shape == expected.shape
        np.testing.assert_array_equal(found[name].read(), expected)


def test_python_2_texts_are_bytes(tmp_path):
    # Protocol 2 of Python 2: the content is a text instruction ("U"), one character a byte.
    content = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80\x3f\x00\x00\x80\xbftbs."
    )
    (tmp_path / "weights.pkl").write_bytes(content)
    (tensor,) = read_tensor_file(tmp_path / "weights.pkl").tensors
    np.testing.assert_array_equal(tensor.read(), [1.0, -1.0])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": np.array([{}], object)}, "it holds arrays that are not of numbers"),
        ({"a": np.array(["text"])}, "it holds arrays that are not of numbers"),
        ({"a": [1, 2]}, "it holds something other than named arrays"),
        ({1: np.zeros(2)}, "it holds something other than named arrays"),
        ([np.zeros(2)], "it holds no dictionary of arrays"),
        ({}, "it holds no dictionary of arrays"),
        ({"a": fractions.Fraction}, "its pickle asks for fractions.Fraction"),
    ],
)
def test_anything_else_is_refused(value, why, tmp_path):
    with pytest.raises(WeightsError, match=why):
        read_tensor_file(write(tmp_path / "weights.pkl", value, 2))


def test_a_shape_larger_than_the_content_is_refused(tmp_path):
    content = pickle.dumps({"a": np.zeros(7, "f4")}, 2).replace(b"K\x07\x85", b"J\xff\xff\xff\x7f\x85")
    (tmp_path / "weights.pkl").write_bytes(content)
    with pytest.raises(WeightsError, match="an array's shape and content disagree"):
        read_tensor_file(tmp_path / "weights.pkl")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = pickle.dumps({"a": [np.ones((2, 2)), np.ones(2)]}, 2)
    for length in range(0, len(content), 7):
        (tmp_path / "cut.pkl").write_bytes(content[:length])
        with pytest.raises(WeightsError):
            read_tensor_file(tmp_path / "cut.pkl")
