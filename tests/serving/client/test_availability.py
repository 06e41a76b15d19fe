"""What one who waits for a model is told in the end."""

from __future__ import annotations

import pytest

from serving.client import errors
from serving.client.availability import Wait


def ended(*seen: errors.ClientError) -> str:
    times = iter([0.0, 5.0])
    wait = Wait("pets", None, 1.0, lambda: next(times))
    for error in seen:
        wait.see_error(error)
    with pytest.raises(errors.DeadlineError) as raised:
        wait.pause_seconds()
    return raised.value.message


def test_a_last_look_without_time_does_not_hide_what_was_known() -> None:
    known = errors.NotFoundError("Could not find any versions of model pets")
    assert ended(known, errors.DeadlineError("The server did not answer within 0.001 s.")) == (
        "There was no answer from model 'pets' within 1 s: Could not find any versions of model pets."
    )


def test_a_server_that_never_answers_is_told_so() -> None:
    assert ended(errors.DeadlineError("The server did not answer within 1 s.")) == (
        "There was no answer from model 'pets' within 1 s: The server did not answer within 1 s."
    )
