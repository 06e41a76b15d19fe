"""Every client asks our server the same questions and must be told the same."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from serving import client as clients


def test_prediction_tells_which_version_answered(asked: Any, same: Any) -> None:
    answer = asked.predict("arithmetic", {"a": [1.0, 2.0], "b": np.array([10, 20], np.float32)}, version=3)
    same(answer["sum"], np.array([11, 22], np.float32))
    same(answer["difference"], np.array([-9, -18], np.float32))
    assert (answer.name, answer.version, answer.signature) == ("arithmetic", 3, "serving_default")
    latest = asked.predict("arithmetic", {"a": [1.0], "b": [2.0]})
    same(latest["sum"], np.array([103], np.float32))
    assert latest.version == 7


def test_label_chooses_the_version(asked: Any, same: Any) -> None:
    inputs = {"a": [1.0], "b": [2.0]}
    same(asked.predict("arithmetic", inputs, label="stable")["sum"], np.array([3], np.float32))
    same(asked.predict("arithmetic", inputs, label="canary")["sum"], np.array([103], np.float32))


def test_only_wanted_outputs_come(asked: Any, same: Any) -> None:
    answer = asked.predict("arithmetic", {"a": [1.0], "b": [2.0]}, version=3, outputs=["difference"])
    assert list(answer.outputs) == ["difference"]
    same(answer["difference"], np.array([-1], np.float32))


def test_bytes_go_and_come(asked: Any, same: Any) -> None:
    answer = asked.predict("arithmetic", {"text": [b"abc", b"\x00\xff", ""]}, signature="text")
    wanted = np.empty(3, object)
    wanted[:] = [b"cba", b"\xff\x00", b""]
    same(answer["reversed_bytes"], wanted)
    same(answer["length"], np.array([3, 2, 0], np.int32))


def test_scalars_and_integers_keep_type_and_shape(asked: Any, same: Any) -> None:
    same(asked.predict("arithmetic", {"x": [1.5, 2.5]}, signature="scalar")["total"], np.float32(4))
    doubled = asked.predict("arithmetic", {"numbers": [[1, -2], [3, 2**30]]}, signature="integers")["doubled"]
    same(doubled, np.array([[2, -4], [6, -(2**31)]], np.int32))


def test_examples_are_dictionaries(asked: Any, same: Any) -> None:
    answer = asked.classify("arithmetic", [{"x": 0.25}, {"x": [1.0]}], signature="classify", version=3)
    wanted = np.empty((2, 2), object)
    wanted[:] = b"small", b"large"
    same(answer.classes, wanted)
    same(answer.scores, np.array([[0.75, 0.25], [0, 1]], np.float32))
    assert (answer.name, answer.version, answer.signature) == ("arithmetic", 3, "classify")


def test_metadata_names_types_and_shapes(asked: Any) -> None:
    metadata = asked.metadata("arithmetic", version=3)
    assert (metadata.name, metadata.version) == ("arithmetic", 3)
    assert {"serving_default", "text", "classify", "scalar", "integers"} <= set(metadata.signatures)
    signature = metadata.signatures["integers"]
    [(name, spec)] = signature.inputs.items()
    assert (name, spec.dtype, spec.shape) == ("numbers", 3, (-1, 2))
    assert metadata.signatures["scalar"].outputs["total"].shape == ()
    assert signature.method_name == "tensorflow/serving/predict"


def test_states_are_told_highest_version_first(asked: Any) -> None:
    wanted = (clients.VersionStatus(7, clients.State.AVAILABLE), clients.VersionStatus(3, clients.State.AVAILABLE))
    assert asked.status("arithmetic") == wanted
    assert asked.status("arithmetic", version=3) == wanted[1:]
    assert asked.versions("arithmetic") == (7, 3)
    assert asked.versions("nobody") == ()
    assert asked.wait_until_available("arithmetic") == 7
    assert asked.wait_until_available("arithmetic", version=3) == 3


INPUTS = {"a": [1.0], "b": [2.0]}
ERRORS = {
    "unknown model": (
        lambda asked: asked.predict("nobody", INPUTS),
        clients.NotFoundError,
        "Servable not found for request: Latest(nobody)",
    ),
    "unknown version": (
        lambda asked: asked.predict("arithmetic", INPUTS, version=4),
        clients.NotFoundError,
        "Servable not found for request: Specific(arithmetic, 4)",
    ),
    "unknown label": (
        lambda asked: asked.predict("arithmetic", INPUTS, label="nightly"),
        clients.InvalidInputError,
        "Unrecognized servable version label: nightly",
    ),
    "status of an unknown model": (
        lambda asked: asked.status("nobody"),
        clients.NotFoundError,
        "Could not find any versions of model nobody",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_of_one_family_in_the_servers_words(case: str, asked: Any) -> None:
    ask, error, sentence = ERRORS[case]
    with pytest.raises(clients.ClientError) as raised:
        ask(asked)
    assert (type(raised.value), raised.value.message) == (error, sentence)
    assert raised.value.code == error.code


def test_unknown_signature_is_an_invalid_input_on_both_wires(asked: Any, kind: str) -> None:
    with pytest.raises(clients.InvalidInputError) as raised:
        asked.predict("arithmetic", INPUTS, signature="nothing")
    wanted = clients.Code.INVALID_ARGUMENT if kind == "rest" else clients.Code.FAILED_PRECONDITION
    assert raised.value.code == wanted


def test_unknown_output_is_an_invalid_input(asked: Any) -> None:
    with pytest.raises(clients.InvalidInputError, match="^output tensor alias not found in signature: product"):
        asked.predict("arithmetic", INPUTS, outputs=["product"])


def test_call_that_takes_too_long_is_a_deadline_error(asked: Any, kind: str, client: Any) -> None:
    with pytest.raises(clients.DeadlineError) as raised:
        asked.predict("slow", {"steps": np.int64(60_000)}, timeout_seconds=0.1)
    place = f"http://127.0.0.1:{client.server.rest_port}" if kind == "rest" else f"127.0.0.1:{client.server.grpc_port}"
    assert (
        raised.value.message == f"The server at {place} did not answer within 0.1 s. `timeout_seconds` gives it longer."
    )
    assert raised.value.code == clients.Code.DEADLINE_EXCEEDED


def test_input_that_is_no_tensor_is_refused_before_it_travels(asked: Any) -> None:
    with pytest.raises(clients.InvalidInputError) as raised:
        asked.predict("arithmetic", {"a": [[1.0], [1.0, 2.0]]})
    assert raised.value.message == "Input 'a' is no tensor: its rows have different lengths."


def test_version_and_label_together_are_refused(asked: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^Give `version` or `label`, not both\. Received: version=3, label='stable'\.$"
    ):
        asked.predict("arithmetic", INPUTS, version=3, label="stable")


def test_requests_may_be_compressed(kind: str, client: Any, make_client: Any, same: Any) -> None:
    port = client.server.rest_port if kind == "rest" else client.server.grpc_port
    compressed = make_client(kind, f"localhost:{port}", compression="gzip")
    ones = np.ones(20_000, np.float32)
    same(compressed.predict("arithmetic", {"a": ones, "b": ones}, version=3)["sum"], ones * 2)


@pytest.mark.parametrize("kind", ["grpc"])
def test_call_under_way_ends_when_the_client_closes(asked: Any) -> None:
    threading.Timer(0.2, asked.close).start()
    with pytest.raises(clients.CancelledCallError):
        asked.predict("slow", {"steps": np.int64(10**6)})


def test_closed_client_says_so(asked: Any) -> None:
    asked.close()
    with pytest.raises(clients.CancelledCallError, match=" is closed.$"):
        asked.predict("arithmetic", INPUTS)


def test_server_tells_its_health(asked: Any) -> None:
    assert asked.is_healthy() is True
