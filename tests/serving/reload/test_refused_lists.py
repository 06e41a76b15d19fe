"""Lists of models that are refused: each sentence, and that nothing changes."""

from __future__ import annotations

import pytest

from serving.config import ModelConfig

TENSORFLOW = 'model_platform: "tensorflow"'
UNSUPPORTED = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
)
FIELD = "ModelServerConfig::model_type (deprecated)"


def listed(name, more, path="/m"):
    return f'config {{ name: "{name}" base_path: "{path}" {more} }}'


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("", "INVALID_ARGUMENT", UNSUPPORTED),
        ("custom_model_config { }", "INVALID_ARGUMENT", UNSUPPORTED),
        (
            [listed("n", TENSORFLOW), listed("n", TENSORFLOW)],
            "INVALID_ARGUMENT",
            "Illegal to list model n multiple times in config list",
        ),
        (
            [listed("n", TENSORFLOW, "models/n")],
            "INVALID_ARGUMENT",
            "Expected model n to have an absolute path or URI; got base_path()=models/n",
        ),
        # Names come before paths, paths before labels, labels before platforms.
        (
            [listed("n", "", "x"), listed("n", "", "x")],
            "INVALID_ARGUMENT",
            "Illegal to list model n multiple times in config list",
        ),
        (
            [listed("n", 'version_labels { key: "stable" value: 5 }', "x")],
            "INVALID_ARGUMENT",
            "Expected model n to have an absolute path or URI; got base_path()=x",
        ),
        (
            [listed("n", 'version_labels { key: "stable" value: 5 }')],
            "FAILED_PRECONDITION",
            "Request to assign label to version 5 of model n, which is not currently available for inference",
        ),
        (
            [listed("n", "")],
            "INVALID_ARGUMENT",
            f"Illegal setting neither {FIELD} nor ModelServerConfig::model_platform, model name is n",
        ),
        (
            [listed("n", f"model_type: TENSORFLOW {TENSORFLOW}")],
            "INVALID_ARGUMENT",
            f"Illegal setting both {FIELD} and ModelServerConfig::model_platform, model name is n",
        ),
        (
            [listed("n", "model_type: OTHER")],
            "INVALID_ARGUMENT",
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            [listed("n", 'model_platform: "torch"')],
            "INVALID_ARGUMENT",
            "Model n requests unsupported platform torch",
        ),
        (
            [listed("a", 'model_platform: "torch"')],
            "INVALID_ARGUMENT",
            "Illegal to change a model's platform. For model a platform was tensorflow and new platform requested is "
            "torch",
        ),
    ],
    ids=lambda value: None if isinstance(value, list) or len(value) > 30 else value or "unset",
)
def test_what_is_refused_changes_nothing(serve, publish, tmp_path, text, code, sentence):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    answer = server.send(text) if isinstance(text, str) else server.reload(*text)
    assert answer == (code, sentence)
    assert server.ask("a") == 10
    assert server.states("a") == {1: "AVAILABLE"}


def test_a_list_refused_for_its_labels_counts_as_the_last_one(serve, publish, entry, tmp_path):
    publish("a", v1=10)
    server = serve([ModelConfig("a", tmp_path / "a")])
    unavailable = "Request to assign label to version 9 of model {}, which is not currently available for inference"
    torch = 'model_platform: "torch" version_labels { key: "x" value: 9 }'
    assert server.reload(entry("n", torch)) == ("FAILED_PRECONDITION", unavailable.format("n"))
    assert server.ask("a") == 10  # the refused list left it out, but did not come into force
    assert server.reload(entry("n")) == (
        "INVALID_ARGUMENT",
        "Illegal to change a model's platform. For model n platform was torch and new platform requested is tensorflow",
    )
    assert server.reload(entry("a")).HasField("status")


def test_a_list_without_platform_can_be_mended(serve, publish, entry):
    publish("a", v1=10)
    server = serve(())
    assert server.reload(entry("a", ""))[0] == "INVALID_ARGUMENT"
    assert server.reload(entry("a")).HasField("status")
    assert server.ask("a") == 10
