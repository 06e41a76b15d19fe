"""Labels of versions, as lists of models assign, move and take them away."""

from __future__ import annotations

import shutil

from serving.config import ModelConfig, PolicyKind, VersionPolicy

TENSORFLOW = 'model_platform: "tensorflow"'


def label(version, name="stable"):
    return f'{TENSORFLOW} version_labels {{ key: "{name}" value: {version} }}'


def test_labels_are_assigned_moved_and_taken_away(serve, publish, entry, tmp_path, tools):
    publish("a", v1=10, v2=20)
    every = VersionPolicy(PolicyKind.ALL)
    server = serve([ModelConfig("a", tmp_path / "a", every)])
    tools.wait_for(lambda: server.states("a") == {1: "AVAILABLE", 2: "AVAILABLE"})
    keep_all = "model_version_policy { all {} } "
    assert server.ask("a", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
    assert server.reload(entry("a", keep_all + label(1))).HasField("status")
    assert server.ask("a", label="stable") == 10
    assert server.reload(entry("a", keep_all + label(2))).HasField("status")
    assert server.ask("a", label="stable") == 20
    assert server.reload(entry("a", keep_all + label(3))) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 3 of model a, which is not currently available for inference",
    )
    assert server.ask("a", label="stable") == 20
    # The version that a label stands for may go; the label stays.
    shutil.rmtree(tmp_path / "a" / "2")
    tools.wait_for(lambda: server.states("a")[2] == "END")
    assert server.ask("a", label="stable") == ("NOT_FOUND", "Servable not found for request: Specific(a, 2)")
    assert server.reload(entry("a", keep_all + TENSORFLOW)).HasField("status")
    assert server.ask("a", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
    assert server.ask("b", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")


def test_with_the_flag_a_new_label_may_come_before_its_version_but_a_move_may_not(serve, publish, entry, tmp_path):
    publish("a", v1=10)
    models = [ModelConfig("a", tmp_path / "a", version_labels=(("canary", 5),))]
    server = serve(models, allow_version_labels_for_unavailable_models=True)
    assert server.ask("a", label="canary") == ("NOT_FOUND", "Servable not found for request: Specific(a, 5)")
    assert server.reload(entry("a", label(5, "canary") + ' version_labels { key: "next" value: 6 }'))
    assert server.reload(entry("a", label(7, "canary"))) == (
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model a, which is not currently available for inference",
    )
    assert server.reload(entry("a", label(1, "canary"))).HasField("status")
    assert server.ask("a", label="canary") == 10


def test_before_any_list_there_are_no_labels(serve, publish, entry):
    publish("a", v1=10)
    server = serve(None, has_model_list=False)
    assert server.ask("a", label="stable") == ("UNAVAILABLE", "Model labels does not init yet.stable")
    assert server.reload(entry("a")).HasField("status")
    assert server.ask("a", label="stable") == ("INVALID_ARGUMENT", "Unrecognized servable version label: stable")
