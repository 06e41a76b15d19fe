"""What TensorBoard shows of a run, asked of a real TensorBoard; and runs that were killed."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import urllib.parse
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto import event_pb2

from garden.evaluation import classification
from garden.reports import event_files, tensorboard_writer

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("cat", "dog", "bird")


def make_network():
    image = keras.Input((8, 8, 3), name="image")
    left = keras.layers.Conv2D(4, 3, padding="same", name="left")(image)
    right = keras.layers.Conv2D(4, 1, name="right")(image)
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(keras.layers.Add(name="add")([left, right]))
    return keras.Model(image, keras.layers.Dense(3, name="logits")(mean), name="tiny")


def make_evaluation(count=24):
    chance = np.random.default_rng(0)
    true = np.arange(count) % 2  # No bird.
    logits = chance.normal(size=(count, 3)) + 1.5 * np.eye(3)[true]
    return classification.evaluate_logits(logits, true, LABELS, [Path(f"{k}.png") for k in range(count)])


def write_everything(directory):
    result = make_evaluation()
    with tensorboard_writer.RunWriter(directory, labels=LABELS) as writer:
        for epoch in (1, 2):
            writer.epoch("head", epoch, {"train/loss": 2.0 / epoch, "rate/head": 0.01})
        writer.epoch("late", 3, {"train/loss": 0.5, "rate/head": 0.001})
        images = np.stack([np.full((16, 16, 3), 100.0 * k) for k in range(2)])
        writer.training_images(images, np.array([0, 1]), phase="head", step=1)
        writer.network(make_network())
        writer.hparams({"architecture": "tiny", "rate": 0.01, "size": None}, {"accuracy": result.accuracy})
        writer.evaluation(result, step=3)
        writer.text("model card", "# Tiny\n\n| a | b |\n| - | - |\n| 1 | 2 |")
        writer.projector(
            features=np.random.default_rng(0).normal(size=(24, 6)),
            true_indices=result.class_indices,
            predicted_indices=result.predicted_indices,
            scores=result.best_scores,
            thumbnails=np.zeros((24, 8, 8, 3), np.uint8),
            paths=result.paths,
        )


def scalars_in(directory, tag="train/loss"):
    """`(step, value)` of a tag in all event files, in the order of writing."""
    found = []
    for path in event_files.event_files(directory):
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(serialized)
            found += [
                (event.step, float(tf.make_ndarray(value.tensor))) for value in event.summary.value if value.tag == tag
            ]
    return found


def test_a_resumed_run_takes_back_the_steps_that_it_trains_again(tmp_path):
    with tensorboard_writer.RunWriter(tmp_path, labels=LABELS) as first:
        for epoch in range(1, 6):
            first.epoch("head", epoch, {"train/loss": epoch})
    with tensorboard_writer.RunWriter(tmp_path, labels=LABELS) as second:
        for epoch in (4, 5, 6):
            second.epoch("head", epoch, {"train/loss": 10 * epoch})
        second.epoch("late", 7, {"train/loss": 7})
    assert scalars_in(tmp_path / "head") == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60)]
    assert scalars_in(tmp_path / "late") == [(7, 7)]


def test_steps_of_a_killed_process_are_there_once(tmp_path):
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from garden.reports import tensorboard_writer
        writer = tensorboard_writer.RunWriter(Path(sys.argv[1]), labels=("a", "b"))
        for epoch in range(1, 4):
            writer.epoch("head", epoch, {"train/loss": epoch})
        print("written", flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    # Each epoch is on disk when `epoch` returns.
    assert scalars_in(tmp_path / "head") == [(1, 1), (2, 2), (3, 3)]
    (path,) = event_files.event_files(tmp_path / "head")
    with path.open("ab") as stream:
        stream.write(b"\x50\x00\x00\x00\x00\x00\x00\x00half")
    with tensorboard_writer.RunWriter(tmp_path, labels=LABELS) as writer:
        writer.epoch("head", 3, {"train/loss": 30})
    assert scalars_in(tmp_path / "head") == [(1, 1), (2, 2), (3, 30)]


def test_a_process_that_follows_at_once_is_read_after_the_first(tmp_path):
    # Readers go by file name, which holds the second of opening and, below that, no order.
    for first in range(1, 4):
        with tensorboard_writer.RunWriter(tmp_path, labels=LABELS) as writer:
            writer.epoch("head", first, {"train/loss": first})
    seconds = [int(path.name.split(".")[3]) for path in event_files.event_files(tmp_path / "head")]
    assert seconds[0] < seconds[1] < seconds[2]
    assert scalars_in(tmp_path / "head") == [(1, 1), (2, 2), (3, 3)]


def test_curves_of_their_own_start_again_at_zero(tmp_path):
    for base in (0, 100):
        with tensorboard_writer.RunWriter(tmp_path, labels=LABELS) as writer:
            for step in range(3):
                writer.epoch("head_rate_finder", step, {"loss": base + step})
            writer.epoch("head", 1, {"loss": base})
    assert scalars_in(tmp_path / "head_rate_finder", "loss") == [(0, 100), (1, 101), (2, 102)]


def test_pages_written_again_replace_the_earlier_ones(tmp_path):
    for _ in range(2):
        write_everything(tmp_path)
    topics = [path.name.split(".")[-2] for path in event_files.event_files(tmp_path / "evaluation")]
    assert sorted(topics) == ["evaluation", "hparams", "text-model-card", "text-projector"]
    assert len(event_files.event_files(tmp_path / "network")) == 1


def test_a_page_that_fails_leaves_the_earlier_one(tmp_path):
    writer = tensorboard_writer.RunWriter(tmp_path, labels=LABELS)
    writer.text("card", "first")
    with pytest.raises(ValueError, match="unsupported type"):
        writer.text("card", object())
    contents = b"".join(path.read_bytes() for path in event_files.event_files(tmp_path / "evaluation"))
    assert b"first" in contents


class Browser:
    """Asks a TensorBoard as its pages do."""

    def __init__(self, address):
        self.address = address

    def get(self, path, **query):
        url = f"{self.address}/data/{path}"
        with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}" if query else url, timeout=60) as reply:
            return reply.read()

    def json(self, path, **query):
        return json.loads(self.get(path, **query))

    def post(self, path, value):
        request = urllib.request.Request(
            f"{self.address}/data/{path}", json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())

    def wait_for(self, path, accept):
        """TensorBoard reads in the background: ask until it has read what is wanted."""
        deadline = time.monotonic() + 60
        while not accept(answer := self.json(path)):
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)
        return answer


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    write_everything(runs / "first" / "tensorboard")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", "0"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            for line in process.stderr:
                match = re.search(rb"http://[0-9.]+:[0-9]+", line)
                if match:
                    yield Browser(match[0].decode())
                    break
        finally:
            process.terminate()
            process.communicate(timeout=30)


HEAD, LATE, EVALUATION, NETWORK = (f"first/tensorboard/{name}" for name in ("head", "late", "evaluation", "network"))


def test_tensorboard_shows_curves(browser):
    browser.wait_for("plugin/scalars/tags", lambda tags: {HEAD, LATE} <= set(tags))
    curve = browser.json("plugin/scalars/scalars", run=HEAD, tag="train/loss")
    assert [(step, value) for _, step, value in curve] == [(1, 2.0), (2, 1.0)]
    curve = browser.json("plugin/scalars/scalars", run=LATE, tag="rate/head")
    assert [(step, pytest.approx(value)) for _, step, value in curve] == [(3, 0.001)]


def test_tensorboard_shows_pictures(browser):
    tags = browser.wait_for("plugin/images/tags", lambda tags: {HEAD, EVALUATION} <= set(tags))
    assert set(tags[EVALUATION]) == {"confusion matrix", "reliability", "most confident mistakes"}
    for run, tag in [(HEAD, "training images"), *((EVALUATION, tag) for tag in tags[EVALUATION])]:
        (entry,) = browser.json("plugin/images/images", run=run, tag=tag, sample=0)
        picture = Image.open(io.BytesIO(browser.get(f"plugin/images/individualImage?{entry['query']}")))
        assert min(picture.size) > 100
        assert np.asarray(picture).std() > 5


def test_tensorboard_shows_pr_curves_of_classes_with_images(browser):
    tags = browser.wait_for("plugin/pr_curves/tags", lambda tags: EVALUATION in tags)
    assert set(tags[EVALUATION]) == {"pr/cat/pr_curves", "pr/dog/pr_curves"}
    (curve,) = browser.json("plugin/pr_curves/pr_curves", run=EVALUATION, tag="pr/dog/pr_curves")[EVALUATION]
    result = make_evaluation()
    is_dog, scores = result.class_indices == 1, result.scores[:, 1]
    assert curve["step"] == 3
    for threshold in (0.1, 0.5, 0.9):
        index = int(np.argmin(np.abs(np.array(curve["thresholds"]) - threshold)))
        called = scores >= curve["thresholds"][index]
        assert curve["recall"][index] == pytest.approx((called & is_dog).sum() / is_dog.sum(), abs=1e-6)
        assert curve["precision"][index] == pytest.approx((called & is_dog).sum() / called.sum(), abs=1e-6)


def test_tensorboard_shows_texts(browser):
    tags = browser.wait_for("plugin/text/tags", lambda tags: EVALUATION in tags)
    assert set(tags[EVALUATION]) == {"model card", "confusions", "classes", "projector"}
    (page,) = browser.json("plugin/text/text", run=EVALUATION, tag="model card")
    assert "<h1>Tiny</h1>" in page["text"]
    assert "<table>" in page["text"]
    (page,) = browser.json("plugin/text/text", run=EVALUATION, tag="confusions")
    counts = [int(count) for count in re.findall(r"<td[^>]*>(\d+)</td>", page["text"])]
    assert counts == make_evaluation().confusion.ravel().tolist()


def test_tensorboard_compares_settings(browser):
    browser.wait_for("plugin/scalars/tags", lambda tags: EVALUATION in tags)
    experiment = browser.post("plugin/hparams/experiment", {"experimentName": ""})
    assert {info["name"] for info in experiment["hparamInfos"]} == {"architecture", "rate", "size"}
    request = {
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
        "colParams": [{"metric": {"group": "", "tag": "final/accuracy"}, "includeInResult": True}]
        + [{"hparam": name, "includeInResult": True} for name in ("architecture", "rate", "size")],
        "startIndex": 0,
        "sliceSize": 10,
    }
    (group,) = browser.post("plugin/hparams/session_groups", request)["sessionGroups"]
    assert re.fullmatch(r"first-[0-9a-f]{6}", group["name"])
    assert group["hparams"] == {"architecture": "tiny", "rate": 0.01, "size": "none"}
    (metric,) = group["metricValues"]
    assert metric["value"] == pytest.approx(make_evaluation().accuracy)


def test_tensorboard_shows_operations_and_layers(browser):
    info = browser.wait_for("plugin/graphs/info", lambda info: NETWORK in info and info[NETWORK]["tags"])[NETWORK]
    assert info["run_graph"]
    assert info["tags"]["keras"]["conceptual_graph"]
    operations = browser.get("plugin/graphs/graph", run=NETWORK, conceptual="false").decode()
    assert 'op: "Conv2D"' in operations
    layers = browser.get("plugin/graphs/graph", run=NETWORK, tag="keras", conceptual="true").decode()
    add = layers[layers.index('name: "tiny/add"') :].split("attr")[0]
    assert set(re.findall(r'input: "(.*?)"', add)) == {"tiny/left", "tiny/right"}


def test_tensorboard_shows_the_projector(browser):
    # The plugin is only listed as active when its files could be read.
    browser.wait_for("plugins_listing", lambda plugins: plugins["projector"]["enabled"])
    assert browser.json("plugin/projector/runs") == [EVALUATION]
    config = browser.json("plugin/projector/info", run=EVALUATION)
    shapes = {embedding["tensorName"]: embedding["tensorShape"] for embedding in config["embeddings"]}
    assert shapes == {"features": [24, 6]}
    values = np.frombuffer(browser.get("plugin/projector/tensor", run=EVALUATION, name="features"), "<f4")
    np.testing.assert_allclose(values.reshape(24, 6), np.random.default_rng(0).normal(size=(24, 6)), rtol=1e-6)
    metadata = browser.get("plugin/projector/metadata", run=EVALUATION, name="features").decode()
    assert metadata.startswith("label\tpredicted\tanswer\tscore\tpicture\n")
    assert metadata.count("\n") == 25
    sprite = Image.open(io.BytesIO(browser.get("plugin/projector/sprite_image", run=EVALUATION, name="features")))
    assert sprite.size == (40, 40)
