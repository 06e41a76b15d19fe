"""Arrays that become one batch and many answers again."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import batch_tensors
from serving.errors import FailedPrecondition, InvalidArgument


def test_rows_stand_below_each_other_and_missing_ones_repeat_the_last_tasks_first():
    tasks = [{"x": np.array([[1, 2]])}, {"x": np.array([[3, 4], [5, 6]])}]
    assert batch_tensors.merge(tasks, 5)["x"].tolist() == [[1, 2], [3, 4], [5, 6], [3, 4], [3, 4]]


def test_a_last_task_without_rows_lends_none():
    tasks = [{"x": np.array([[1], [2]])}, {"x": np.zeros((0, 1), int)}]
    assert batch_tensors.merge(tasks, 3)["x"].tolist() == [[1], [2], [1]]
    assert batch_tensors.merge(tasks[1:], 3)["x"].shape == (0, 1)


@pytest.mark.parametrize(
    ("size", "allowed", "expected"), [(3, (), 3), (3, (4, 8), 4), (4, (4, 8), 4), (5, (4, 8), 8), (3, (8, 4), 8)]
)
def test_the_first_allowed_size_that_fits_is_taken_as_upstream(size, allowed, expected):
    assert batch_tensors.padded_size(size, allowed) == expected


@pytest.mark.parametrize(
    "dtype", [np.float32, np.int64, np.bool_, np.uint8, np.float16, ml_dtypes.bfloat16, np.complex64, object]
)
def test_variable_lengths_are_filled_with_each_tensors_own_first_value(dtype):
    short = np.array([[1, 2]]).astype(dtype)
    long = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype)
    merged = batch_tensors.merge([{"x": short}, {"x": long}], 3, pad_variable_length=True)["x"]
    assert merged.dtype == np.dtype(dtype)
    assert merged.tolist() == [*np.array([[1, 2, 1]]).astype(dtype).tolist(), *long.tolist()]


def test_strings_are_filled_with_the_first_string():
    short = np.array([[b"a"], [b"c"]], object)
    long = np.array([[b"x", b"y"]], object)
    merged = batch_tensors.merge([{"x": short}, {"x": long}], 3, pad_variable_length=True)["x"]
    assert merged.tolist() == [[b"a", b"a"], [b"c", b"a"], [b"x", b"y"]]


def test_every_dimension_but_the_first_is_filled():
    first, second = np.full((1, 1, 3), 7), np.full((1, 2, 2), 9)
    merged = batch_tensors.merge([{"x": first}, {"x": second}], 2, pad_variable_length=True)["x"]
    assert merged.tolist() == [[[7, 7, 7], [7, 7, 7]], [[9, 9, 9], [9, 9, 9]]]


def test_the_repeated_row_is_the_padded_one():
    tasks = [{"x": np.array([[1, 2, 3]])}, {"x": np.array([[4]])}]
    assert batch_tensors.merge(tasks, 4, pad_variable_length=True)["x"].tolist() == [
        [1, 2, 3],
        [4, 4, 4],
        [4, 4, 4],
        [4, 4, 4],
    ]


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        ([(1,) * 7], "Only tensors with rank from 1 to 6 can be padded."),
        ([(2, 0), (1, 3)], "Got empty tensor in batch of non-empty tensors."),
    ],
)
def test_what_cannot_be_padded(shapes, sentence):
    with pytest.raises(InvalidArgument) as raised:
        batch_tensors.merge([{"x": np.zeros(shape)} for shape in shapes], 3, pad_variable_length=True)
    assert raised.value.message == sentence


@pytest.mark.parametrize("shapes", [[(1,) * 6], [(2, 0), (1, 0)], [(0, 5), (1, 3)]], ids=str)
def test_what_can_be_padded(shapes):
    batch_tensors.merge([{"x": np.zeros(shape)} for shape in shapes], 3, pad_variable_length=True)


def test_answers_are_cut_where_the_tasks_were_and_padding_is_dropped():
    outputs = [np.arange(6), np.arange(12).reshape(6, 2)]
    parts = batch_tensors.split(outputs, 6, [2, 1])
    assert [[array.tolist() for array in part] for part in parts] == [
        [[0, 1], [[0, 1], [2, 3]]],
        [[2], [[4, 5]]],
    ]


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (np.array(1), "Batched output tensor has 0 dimensions"),
        (
            np.zeros(3),
            "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
            "tensors",
        ),
    ],
)
@pytest.mark.parametrize("task_sizes", [[2], [1, 1]], ids=["alone", "merged"])
def test_outputs_that_are_not_as_many_rows_as_went_in(output, sentence, task_sizes):
    with pytest.raises(FailedPrecondition) as raised:
        batch_tensors.split([output], 2, task_sizes)
    assert raised.value.message == sentence


def test_parts_that_do_not_fit_together():
    with pytest.raises(FailedPrecondition) as raised:
        batch_tensors.join([[np.zeros((2, 3))], [np.zeros((1, 4))]])
    assert raised.value.message == (
        "The rows of a split request got outputs of shapes (3,) and (4,), as its parts were padded to different "
        "lengths. Send at most max_execution_batch_size rows in one request."
    )


@given(st.integers(0, 50), st.integers(0, 8), st.integers(1, 8))
def test_a_request_is_cut_into_what_fits(size, room, limit):
    room = min(room, limit)
    parts = batch_tensors.part_sizes(size, room=room, limit=limit)
    assert sum(parts) == size
    assert all(part <= limit for part in parts)
    if size > room:
        # No batch is left with room before the last part.
        assert parts[:1] == ([room] if room else parts[:1])
        assert all(part == limit for part in parts[1 if room else 0 : -1])
    else:
        assert parts == [size]
