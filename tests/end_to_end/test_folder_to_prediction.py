"""The main job, as a user types it: folder → check → finetune → evaluate → export → verify → serve → predict."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

GARDEN = [sys.executable, "-m", "garden"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "GARDEN_CACHE": str(tmp_path_factory.mktemp("cache"))}


def garden(*words, environment, code=0):
    done = subprocess.run([*GARDEN, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def run(photos, source_weights, tmp_path_factory, environment):
    output = tmp_path_factory.mktemp("runs") / "patterns"
    garden(
        "finetune", photos, "--architecture", "mobilenet_v2_035", "--weights", source_weights, "--image-size", 32,
        "--head-epochs", 4, "--late-epochs", 2, "--views", 1, "--output", output, environment=environment,
    )  # fmt: skip
    return output


@pytest.fixture(scope="module")
def models(run, tmp_path_factory, environment):
    models = tmp_path_factory.mktemp("models")
    garden("export", run, "--models", models, "--name", "patterns", environment=environment)
    return models


@pytest.fixture(scope="module")
def server(models, environment, tmp_path_factory):
    """A real server in a process of its own; yields its addresses, then checks that it ends well."""
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*GARDEN, "serve", str(models), "--port", "0", "--rest-port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            ports = {}
            for line in process.stdout:
                stream.write(line)
                found = re.search(r"Running gRPC ModelServer at 0\.0\.0\.0:(\d+)", line)
                ports |= {"grpc": found[1]} if found else {}
                found = re.search(r"Exporting HTTP/REST API at:localhost:(\d+)", line)
                ports |= {"rest": found[1]} if found else {}
                if len(ports) == 2:
                    break
            assert len(ports) == 2, log.read_text()
            yield {name: f"localhost:{port}" for name, port in ports.items()}
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=60)
            stream.write(rest)
            assert process.returncode == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
            process.stdout.close()
            process.wait()


def test_the_served_answers_are_the_trained_networks(photos, run, server, environment):
    from garden.data import decoding
    from garden.trained_model import TrainedModel

    pictures = sorted(photos.glob("*/*.png"))[::5]
    done = garden(
        "predict", *pictures, "--model", "patterns", "--address", server["grpc"], "--json", environment=environment
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["image"] for answer in answers] == [str(picture) for picture in pictures]
    trained = TrainedModel.load(run)
    for picture, answer in zip(pictures, answers, strict=True):
        prepared = trained.image_spec.prepare(decoding.decode_image(picture.read_bytes()))
        expected = trained.scores_of_logits(trained.predict_logits(prepared[None].numpy()))[0].numpy()
        best = np.argsort(-expected)
        assert answer["classes"] == [trained.labels[index] for index in best]
        np.testing.assert_allclose(answer["scores"], expected[best], atol=1e-5)


def test_a_folder_is_answered_whole_in_order(photos, server, environment):
    done = garden("predict", photos, "--model", "patterns", "--address", server["grpc"], environment=environment)
    lines = [line for line in done.stdout.splitlines() if ".png" in line]
    assert len(lines) == 36
    assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)


def test_rest_answers_the_same_as_grpc(photos, server, environment):
    import base64

    picture = sorted(photos.glob("*/*.png"))[0]
    body = {"instances": [{"b64": base64.b64encode(picture.read_bytes()).decode()}]}
    request = urllib.request.Request(
        f"http://{server['rest']}/v1/models/patterns:predict", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        [answer] = json.load(response)["predictions"]
    done = garden(
        "predict", picture, "--model", "patterns", "--address", server["grpc"], "--json", environment=environment
    )
    expected = json.loads(done.stdout)
    assert answer["classes"] == expected["classes"]
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-6)


def test_verify_replays_the_golden_examples_against_the_server(models, server, environment):
    [version] = (models / "patterns").iterdir()
    done = garden("verify", version, "--address", server["grpc"], "--name", "patterns", environment=environment)
    assert "answers as recorded" in done.stdout


def test_an_unknown_model_is_one_sentence(photos, server, environment):
    picture = next(photos.glob("*/*.png"))
    done = garden("predict", picture, "--model", "nosuch", "--address", server["grpc"], environment=environment, code=1)
    assert "nosuch" in done.stderr + done.stdout


def test_evaluate_gives_the_runs_own_figures(run, environment):
    recorded = json.loads((run / "run.json").read_text())["metrics"]
    done = garden("evaluate", run, "--json", environment=environment)
    figures = json.loads(done.stdout)
    assert figures["accuracy"] == pytest.approx(recorded["accuracy"], abs=1e-9)
    assert figures["nll"] == pytest.approx(recorded["negative_log_likelihood"], abs=1e-4)
