"""An inspection in a real TensorBoard: its own tabs, and the tab that Garden brings."""

import configparser
import importlib
import io
import json
import os
import re
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from garden.inspection.embedding import Embedding
from garden.inspection.panel import Curve, Grade, Panel
from garden.reports.inspection_files import InspectionWriter
from garden.reports.inspection_summaries import steps
from garden.tensorboard_plugin import plugin as plugin_module
from garden.tensorboard_plugin.plugin import GardenPlugin

ROOT = Path(__file__).resolve().parents[3]
CHANCE = np.random.default_rng(0)
PHOTO = CHANCE.integers(0, 256, (24, 32, 3), dtype=np.uint8)
RUN, EARLIER = "photos/inspection", "photos/training"
SHARES = np.linspace(0, 1, 5)
PROGRAM = textwrap.dedent(
    """
    import sys, time
    from tensorboard import default, program
    from garden.tensorboard_plugin.plugin import GardenPlugin
    # Whether or not this Garden is installed with its entry point, the plugin is there once.
    names = lambda plugin: getattr(plugin, "plugin_name", None)
    plugins = [plugin for plugin in default.get_plugins() if names(plugin) != GardenPlugin.plugin_name]
    board = program.TensorBoard(plugins=[*plugins, GardenPlugin])
    board.configure(argv=[None, "--logdir", sys.argv[1], "--host", "127.0.0.1", "--port", "0"])
    print(board.launch(), flush=True)
    sys.stdin.read()
    """
)


def panels():
    grade = Grade(deletion_auc=0.12, random_deletion_auc=0.45)
    curves = (Curve("deletion", SHARES, 1 - SHARES), Curve("random", SHARES, np.ones(5)))
    for image in ("cat", "dog"):
        yield Panel(
            method="saliency",
            image=image,
            layer="",
            unit="class a/b",
            pixels=255 - PHOTO,
            values={},
            caption="What speaks for <b>it</b>.",
            note="Beware.",
            input_pixels=PHOTO,
            grade=grade,
            curves=curves,
        )
        frames = np.stack([PHOTO, 255 - PHOTO])
        yield Panel("dream", image, "conv.3", "channel 1", frames, {}, "Moves.", input_pixels=PHOTO)
    yield Panel("filters", "", "conv1", "", np.zeros((40, 60, 3), np.uint8), {}, "Filters.")


def make_embedding():
    return Embedding(
        names=("1.png", "2\t.png", "3.png"),
        labels=("cat", "dog", ""),
        codes=CHANCE.normal(size=(3, 7)).astype(np.float32),
        # Bytes that TensorBoard would take for text.
        points=np.zeros((3, 2), np.float32),
        thumbnails=np.zeros((3, 8, 8, 3), np.uint8),
    )


def make_network():
    image = keras.Input((8, 8, 3))
    return keras.Sequential([image, keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])


def write_logs(directory):
    with InspectionWriter(directory / "files", title="Tiny", network_facts={}, log_directory=directory / RUN) as writer:
        for panel in panels():
            writer.add(panel)
        writer.add_embedding(make_embedding())
        writer.add_network(make_network())
    # Pictures that training writes step by step, and one that is not Garden's.
    with tf.summary.create_file_writer(str(directory / EARLIER)).as_default():
        for step in (1, 5, 9):
            tf.summary.image("garden/cat/saliency", np.full((1, 24, 32, 3), step * 20, np.uint8), step=step)
        tf.summary.image("others/picture", PHOTO[None], step=0)


class Board:
    """Asks a TensorBoard as its pages do."""

    def __init__(self, address):
        self.address = address

    def reply(self, path, **query):
        url = f"{self.address}/data/{path}"
        return urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}" if query else url, timeout=60)

    def get(self, path, **query):
        with self.reply(path, **query) as reply:
            return reply.read()

    def json(self, path, **query):
        return json.loads(self.get(path, **query))

    def wait_for(self, path, accept):
        """TensorBoard reads in the background: ask until it has read what is wanted."""
        deadline = time.monotonic() + 60
        while not accept(answer := self.json(path)):
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)
        return answer

    def series(self):
        return {(entry["run"], entry["tag"]): entry for entry in self.json("plugin/garden/series")}


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    logs = tmp_path_factory.mktemp("logs")
    write_logs(logs)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(logs)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            address = re.search(r"http://\S+?:\d+", process.stdout.readline().decode())
            assert address, "TensorBoard did not start."
            found = Board(address[0])
            found.wait_for("plugin/garden/series", lambda series: len(series) == 8)
            yield found
        finally:
            process.terminate()


def test_the_plugin_is_declared_where_tensorboard_looks():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    name, _, target = settings["options.entry_points"]["tensorboard_plugins"].strip().partition(" = ")
    module, _, attribute = target.partition(":")
    assert name == GardenPlugin.plugin_name
    assert getattr(importlib.import_module(module), attribute) is GardenPlugin
    for pattern in ("reports/page/*", "tensorboard_plugin/static/*"):
        assert pattern in settings["options.package_data"]["garden"].split()
        assert list((ROOT / "garden").glob(pattern))


def test_the_tab_is_there_when_a_run_has_pictures_of_ours(board):
    tab = board.wait_for("plugins_listing", lambda plugins: plugins["garden"]["enabled"])["garden"]
    assert tab["tab_name"] == "Garden"
    assert tab["loading_mechanism"] == {"type": "IFRAME", "module_path": "/data/plugin/garden/index.js"}


class Sequences:
    """A data provider with image tags, that counts how often it is asked."""

    def __init__(self, *tags):
        self.tags = tags
        self.asked = 0
        self.data_provider = self

    def list_blob_sequences(self, context, *, experiment_id, plugin_name):
        self.asked += 1
        assert plugin_name == "images"
        return {"run": dict.fromkeys(self.tags)}


@pytest.mark.parametrize(("tags", "active"), [([], False), (["gardens", "a/garden/b"], False), (["garden/b"], True)])
def test_the_tab_hides_where_there_is_nothing_of_ours_and_looks_rarely(tags, active):
    context = Sequences(*tags)
    plugin = GardenPlugin(context)
    assert [plugin.is_active() for _ in range(5)] == [active] * 5
    assert context.asked == 1


def test_the_tab_appears_when_pictures_come(monkeypatch):
    context = Sequences()
    plugin = GardenPlugin(context)
    assert not plugin.is_active()
    context.tags = ("garden/cat/saliency",)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3)
    assert plugin.is_active()


def test_the_tab_lists_places_and_descriptions(board):
    series = board.series()
    assert set(series) == {
        (EARLIER, "garden/cat/saliency"),
        (RUN, "garden/cat/input"),
        (RUN, "garden/cat/saliency/class a.b"),
        (RUN, "garden/cat/dream/conv.3/channel 1"),
        (RUN, "garden/dog/input"),
        (RUN, "garden/dog/saliency/class a.b"),
        (RUN, "garden/dog/dream/conv.3/channel 1"),
        (RUN, "garden/filters/conv1"),
    }
    entry = series[RUN, "garden/cat/saliency/class a.b"]
    place = {facet: entry[facet] for facet in ("image", "method", "layer", "unit")}
    assert place == {"image": "cat", "method": "saliency", "layer": "", "unit": "class a/b"}
    assert entry["description"].startswith("<p>What speaks for &lt;b&gt;it&lt;/b&gt;.</p>\n<p><strong>Note:</strong>")
    assert "Better than chance: deletion AUC 0.12, random 0.45." in entry["description"]
    assert "unit:" not in entry["description"]
    assert series[RUN, "garden/filters/conv1"]["layer"] == "conv1"


def test_the_tab_lists_in_an_order_that_people_expect(board):
    listed = [(entry["run"], entry["tag"]) for entry in board.json("plugin/garden/series")]
    assert listed == [
        (RUN, "garden/cat/input"),
        (RUN, "garden/cat/dream/conv.3/channel 1"),
        (RUN, "garden/cat/saliency/class a.b"),
        (RUN, "garden/dog/input"),
        (RUN, "garden/dog/dream/conv.3/channel 1"),
        (RUN, "garden/dog/saliency/class a.b"),
        (RUN, "garden/filters/conv1"),
        (EARLIER, "garden/cat/saliency"),
    ]
    facts = {"run": "r", "image": "i", "method": "m", "layer": ""}
    units = [{**facts, "unit": unit} for unit in ("channel 10", "channel 2", "", "²")]
    assert [entry["unit"] for entry in sorted(units, key=plugin_module._order)] == [
        "",
        "channel 2",
        "channel 10",
        "²",
    ]


def picture(board, run, tag, place=0):
    key = board.json("plugin/garden/steps", run=run, tag=tag)[place]["key"]
    with board.reply("plugin/garden/picture", key=key) as reply:
        return reply.headers["Content-Type"], Image.open(io.BytesIO(reply.read()))


def test_the_tab_gets_pictures_as_they_were_written(board):
    kind, image = picture(board, RUN, "garden/cat/saliency/class a.b")
    assert kind == "image/png"
    np.testing.assert_array_equal(np.asarray(image), 255 - PHOTO)
    _, image = picture(board, RUN, "garden/dog/input")
    np.testing.assert_array_equal(np.asarray(image), PHOTO)
    kind, image = picture(board, RUN, "garden/cat/dream/conv.3/channel 1")
    assert (kind, image.n_frames) == ("image/gif", 2)


def test_the_tab_gets_every_step(board):
    found = board.json("plugin/garden/steps", run=EARLIER, tag="garden/cat/saliency")
    assert [step["step"] for step in found] == [1, 5, 9]
    _, image = picture(board, EARLIER, "garden/cat/saliency", 2)
    assert np.asarray(image)[0, 0, 0] == 180


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("plugin/garden/steps", {"run": RUN, "tag": "garden/none"}),
        ("plugin/garden/steps", {"run": EARLIER, "tag": "others/picture"}),
        ("plugin/garden/steps", {}),
        ("plugin/garden/picture", {"key": "nonsense"}),
        ("plugin/garden/picture", {}),
        ("plugin/garden/../../../../setup.cfg", {}),
        ("plugin/garden/plugin.py", {}),
    ],
)
def test_what_is_not_there_is_not_found(board, path, query):
    with pytest.raises(urllib.error.HTTPError) as raised:
        board.get(path, **query)
    assert raised.value.code == 404


def test_the_images_tab_shows_the_same_pictures(board):
    tags = board.json("plugin/images/tags")[RUN]
    assert len(tags) == 7
    assert all(about["samples"] == 1 for about in tags.values())
    (entry,) = board.json("plugin/images/images", run=RUN, tag="garden/cat/dream/conv.3/channel 1", sample=0)
    with board.reply(f"plugin/images/individualImage?{entry['query']}") as reply:
        assert reply.headers["Content-Type"] == "image/gif"


def test_curves_stand_on_one_chart_for_each_map(board):
    layout = board.json("plugin/custom_scalars/layout")
    assert [category["title"] for category in layout["category"]] == ["cat", "dog"]
    (chart,) = layout["category"][0]["chart"]
    assert chart["title"] == "cat/saliency/class a.b"
    found = {}
    for pattern in chart["multiline"]["tag"]:
        answer = board.json("plugin/custom_scalars/scalars", run=RUN, tag=pattern)
        assert answer["regex_valid"]
        found |= answer["tag_to_events"]
    prefix = "garden/cat/saliency/class a.b"
    assert set(found) == {f"{prefix}/deletion", f"{prefix}/random"}
    assert [(step, value) for _, step, value in found[f"{prefix}/deletion"]] == [
        (0, 1.0),
        (250, 0.75),
        (500, 0.5),
        (750, 0.25),
        (1000, 0.0),
    ]


@pytest.mark.parametrize(
    ("x", "wanted"),
    [
        ([-30, 0, 30], [-30, 0, 30]),
        ([0, 0.5, 1], [0, 500, 1000]),
        ([0, 1], [0, 1000]),
        ([0.5, 1, 2], [0, 1, 2]),
        ([], []),
    ],
)
def test_places_of_a_curve_become_steps(x, wanted):
    assert steps(Curve("c", np.array(x), np.array(x))) == wanted


def test_grades_are_a_table(board):
    (page,) = board.json("plugin/text/text", run=RUN, tag="grades")
    assert page["text"].count("<tr>") == 3
    assert "Better than chance" in page["text"]


def test_operations_are_a_graph(board):
    assert board.json("plugin/graphs/info")[RUN]["run_graph"]
    assert 'op: "Conv2D"' in board.get("plugin/graphs/graph", run=RUN, conceptual="false").decode()


def test_the_projector_shows_codes_and_their_plane(board):
    board.wait_for("plugins_listing", lambda plugins: plugins["projector"]["enabled"])
    config = board.json("plugin/projector/info", run=RUN)
    shapes = {embedding["tensorName"]: embedding["tensorShape"] for embedding in config["embeddings"]}
    assert shapes == {"tsne": [3, 2], "codes": [3, 7]}
    for name, size in (("tsne", 2), ("codes", 7)):
        assert len(np.frombuffer(board.get("plugin/projector/tensor", run=RUN, name=name), "<f4")) == 3 * size
        metadata = board.get("plugin/projector/metadata", run=RUN, name=name).decode()
        assert metadata == "label\tpicture\ncat\t1.png\ndog\t2 .png\n\t3.png\n"


INSIDE = "document.querySelector('iframe').contentDocument"


@pytest.fixture
def tab(board, chromium):
    """The tab in a browser, with `INSIDE` as its document."""
    board.wait_for("plugins_listing", lambda plugins: plugins["garden"]["enabled"])
    # A large sheet draws TensorBoard's other tabs in software; the tab itself is all that is looked at.
    chromium.open(f"{board.address}/#garden")
    chromium.wait_for(f"document.querySelector('iframe') && {INSIDE}.querySelector('.stage figure')")
    return chromium


def captions(tab):
    return tab.evaluate(f"[...{INSIDE}.querySelectorAll('figcaption')].map(caption => caption.textContent)")


def select(tab, facet, value):
    tab.evaluate(
        f"(() => {{ const list = {INSIDE}.querySelector('#choose-{facet}'); list.value = {json.dumps(value)};"
        "list.dispatchEvent(new Event('change')); })()"
    )


def test_the_tab_chooses_and_compares(tab, board):
    select(tab, "run", RUN)
    select(tab, "method", "dream")
    tab.wait_for(f"{INSIDE}.querySelector('.stage figure:last-child figcaption').textContent.includes('dream')")
    assert captions(tab) == ["Input", "cat · dream · conv.3 · channel 1"]
    tab.wait_for(f"{INSIDE}.querySelector('.stage figure:last-child img').naturalWidth === 32")
    assert "Moves." in tab.evaluate(f"{INSIDE}.querySelector('.description').innerText")
    tab.evaluate(f"[...{INSIDE}.querySelectorAll('button')].find(b => b.textContent.startsWith('Pin')).click()")
    select(tab, "image", "dog")
    tab.wait_for(f"{INSIDE}.querySelectorAll('.stage figure').length === 2")
    tab.wait_for(f"{INSIDE}.querySelector('.stage figure:last-child figcaption').textContent.startsWith('dog')")
    assert captions(tab) == ["cat · dream · conv.3 · channel 1 (compared)", "dog · dream · conv.3 · channel 1"]
    tab.evaluate(f"{INSIDE}.querySelector('[data-mode=wipe]').click()")
    assert tab.evaluate(f"{INSIDE}.querySelector('.upper').style.clipPath") == "inset(0px 0px 0px 50%)"
    assert [request for request in tab.requests_elsewhere() if not request.startswith(board.address)] == []
    assert [problem for problem in tab.problems if "garden" in problem or "Security" in problem] == []


def test_the_tab_shows_steps(tab):
    select(tab, "run", EARLIER)
    tab.wait_for(f"{INSIDE}.querySelector('output').textContent === '9'")
    tab.evaluate(
        f"(() => {{ const slider = {INSIDE}.querySelectorAll('input[type=range]')[1]; slider.value = 1;"
        "slider.dispatchEvent(new Event('input')); })()"
    )
    tab.wait_for(f"{INSIDE}.querySelector('output').textContent === '5'")
