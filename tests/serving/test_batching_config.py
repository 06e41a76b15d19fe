"""Parameters of batching that contradict each other: upstream's rules and sentences, as a table."""

from __future__ import annotations

import pytest

from serving import cli
from serving.batching_config import BatchingConfig
from serving.errors import InvalidArgument

SPLITTING = {"enable_large_batch_splitting": True}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (1, 4)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            {"allowed_batch_sizes": (8,)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 8; expected 1000",
        ),
        # max_execution_batch_size means something with splitting only.
        (
            {"max_batch_size": 8, "allowed_batch_sizes": (4,), "max_execution_batch_size": 4},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8",
        ),
        (
            {**SPLITTING, "max_batch_size": 4, "allowed_batch_sizes": (2, 2, 4)},
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        # Whether they increase is looked at first.
        (
            {**SPLITTING, "max_batch_size": 4, "allowed_batch_sizes": (9, 8)},
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        (
            {**SPLITTING, "max_batch_size": 4, "allowed_batch_sizes": (2, 8)},
            "Last entry in allowed_batch_sizes must be less than or equal to max_batch_size; last entry was 8; "
            "expected 4",
        ),
        (
            {**SPLITTING, "max_batch_size": 16, "max_execution_batch_size": 8, "allowed_batch_sizes": (2, 4)},
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was 4; expected 8",
        ),
        (
            {**SPLITTING, "max_batch_size": 16, "allowed_batch_sizes": (2, 4)},
            "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was 4; "
            "expected 16",
        ),
        ({"num_batch_threads": 0}, "num_batch_threads must be positive; was 0"),
        ({"max_batch_size": 0}, "input_batch_size_limit must be positive; was 0"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros must be non-negative; was -1"),
        ({"max_enqueued_batches": 0}, "max_enqueued_batches must be positive; was 0"),
        (
            {**SPLITTING, "max_batch_size": 4, "max_execution_batch_size": 8},
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            "max_execution_batch_size.",
        ),
        (
            {**SPLITTING, "max_batch_size": 4, "max_execution_batch_size": 0},
            "max_execution_batch_size must be positive; was 0",
        ),
    ],
)
def test_parameters_that_contradict_each_other(options, sentence):
    with pytest.raises(InvalidArgument) as raised:
        BatchingConfig(**options).check()
    assert raised.value.message == sentence


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_batch_size": 8, "allowed_batch_sizes": (2, 4, 8)},
        # As upstream, whose check is for splitting only.
        {"max_batch_size": 8, "allowed_batch_sizes": (4, 2, 8)},
        {"max_batch_size": 4, "max_execution_batch_size": 8},
        {**SPLITTING, "max_batch_size": 16, "max_execution_batch_size": 4, "allowed_batch_sizes": (2, 4)},
        {**SPLITTING, "max_batch_size": 16, "allowed_batch_sizes": (2, 16)},
    ],
    ids=["none", "increasing", "unordered", "no splitting", "splitting", "splitting by max_batch_size"],
)
def test_parameters_that_are_fine(options):
    BatchingConfig(**options).check()


def test_a_config_that_is_wrong_can_be_made_as_it_is_refused_only_where_a_version_is_loaded():
    assert BatchingConfig(max_batch_size=8, allowed_batch_sizes=(1,)).allowed_batch_sizes == (1,)


def test_defaults_are_upstreams():
    config = BatchingConfig()
    assert (config.max_batch_size, config.batch_timeout_micros, config.max_enqueued_batches) == (1000, 0, 10)
    assert (config.num_batch_threads, config.thread_pool_name) == (None, "batch_threads")
    assert (config.allowed_batch_sizes, config.pad_variable_length_inputs) == ((), False)
    assert (config.enable_large_batch_splitting, config.execution_limit) == (False, 1000)


def test_parameters_per_model_without_batching_are_told_to_have_no_effect(caplog):
    arguments = ["--model_base_path=/m", "--enable_per_model_batching_parameters"]
    assert cli.make_config(cli.make_parser().parse_args(arguments)).batching is None
    assert [record.getMessage() for record in caplog.records if record.name == "serving"] == [
        "--enable_per_model_batching_parameters has no effect without --enable_batching."
    ]
    caplog.clear()
    made = cli.make_config(cli.make_parser().parse_args([*arguments, "--enable_batching"]))
    assert made.enable_per_model_batching_parameters
    assert made.batching == BatchingConfig(thread_pool_name="model_server_batch_threads")
    assert [record for record in caplog.records if record.name == "serving"] == []
