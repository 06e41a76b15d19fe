"""The page at `/`, in a real browser: models and their states, a picture that is dropped, errors in words."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.config import ModelConfig, PolicyKind, VersionPolicy

ROOT = Path(__file__).resolve().parents[3]
COLOURS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """The browser that the tests of garden's pages use."""
    spec = importlib.util.spec_from_file_location("serving_test_chromium", ROOT / "tests" / "garden" / "chromium.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.PROGRAM is None:
        pytest.skip(f"needs one of {', '.join(module.PROGRAMS)}")
    browser = module.Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def colour_model(tmp_path_factory):
    """Names the main colour of a picture: from its bytes (`serving_default`), or from 8 x 8 pixels (`pixels`)."""
    import tensorflow as tf

    class Colours(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def image_bytes(self, image_bytes):
            def mean(data):
                return tf.reduce_mean(tf.cast(tf.io.decode_image(data, 3, expand_animations=False), tf.float32), [0, 1])

            means = tf.map_fn(mean, image_bytes, fn_output_signature=tf.TensorSpec([3], tf.float32))
            scores, order = tf.math.top_k(means / tf.reduce_sum(means, 1, keepdims=True), 3)
            return {"classes": tf.gather(tf.constant(COLOURS), order), "scores": scores}

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.uint8, "image")])
        def pixels(self, image):
            means = tf.reduce_mean(tf.cast(image, tf.float32), [1, 2])
            return {"scores": means / tf.reduce_sum(means, 1, keepdims=True)}

    module = Colours()
    folder = tmp_path_factory.mktemp("colours") / "saved"
    tf.saved_model.save(
        module, str(folder), signatures={"serving_default": module.image_bytes, "pixels": module.pixels}
    )
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(np.full((20, 30, 3), (30, 150, 20), np.uint8)).save(folder / "grass.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def page_server(colour_model, saved_models, start_server, tools, tmp_path_factory):
    """`colours` (1, 2 labelled stable, 3 broken) and `arithmetic` (1)."""
    root = tmp_path_factory.mktemp("page_models")
    tools.publish(colour_model, root / "colours" / "1")
    tools.publish(colour_model, root / "colours" / "2")
    tools.publish(saved_models.arithmetic, root / "arithmetic" / "1")
    started = start_server(
        models=(
            ModelConfig("arithmetic", root / "arithmetic"),
            ModelConfig("colours", root / "colours", VersionPolicy(PolicyKind.ALL), (("stable", 2),)),
        ),
        allow_version_labels_for_unavailable_models=True,
        max_num_load_retries=0,
        enable_web_page=True,
    )
    # A start waits for every version; a broken one may come later.
    (root / "broken").mkdir()
    (root / "broken" / "saved_model.pb").write_bytes(b"broken")
    (root / "broken").rename(root / "colours" / "3")
    tools.wait_for(lambda: [v["state"] for v in models_of(started)["colours"]] == ["END", "AVAILABLE", "AVAILABLE"])
    return started


def models_of(client):
    status, body = client.http("GET", "/page/models")
    assert status == 200
    return {model["name"]: model["versions"] for model in json.loads(body)["models"]}


def address(client):
    return f"http://127.0.0.1:{client.server.rest_port}/"


def drop(browser, file):
    """Drag a file from a file manager onto the frame and let go."""
    browser.evaluate("document.querySelector('#drop').scrollIntoView({block: 'center'})")
    box = browser.evaluate("document.querySelector('#drop').getBoundingClientRect().toJSON()")
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.call("Input.dispatchDragEvent", type=kind, data=data, **place)


def open_model(browser, client, name, **size):
    browser.open(address(client), **size)
    browser.wait_for(f"document.querySelector('[data-model={name}]')")
    browser.click(f"[data-model={name}]")
    browser.wait_for(f"document.querySelector('#model-name').innerText === '{name}'")
    browser.wait_for("document.querySelector('#tensors tbody').rows.length")


def test_without_the_flag_there_is_no_page(client):
    for path in ("/", "/page/page.js", "/page/models"):
        assert client.http("GET", path)[0] == 404


def test_what_the_page_is_told(page_server):
    versions = models_of(page_server)["colours"]
    assert [(v["version"], v["state"], v["labels"]) for v in versions] == [
        ("3", "END", []),
        ("2", "AVAILABLE", ["stable"]),
        ("1", "AVAILABLE", []),
    ]
    assert versions[0]["error_code"] != ""
    assert versions[1]["error_code"] == versions[1]["error_message"] == ""


def test_models_versions_errors_and_labels_are_shown(page_server, chromium):
    open_model(chromium, page_server, "colours")
    versions = "[...document.querySelectorAll('#versions tbody td:first-child')].map((cell) => cell.innerText)"
    assert chromium.evaluate(versions) == ["3", "2", "1"]
    assert "failed" in chromium.text("#versions tbody tr:first-child")
    assert models_of(page_server)["colours"][0]["error_message"][:40] in chromium.text("#versions tbody")
    assert "stable" in chromium.text("#versions tbody tr:nth-child(2)")
    assert chromium.text("#tensors tbody").split() == [
        "in", "image_bytes", "string", "[any]", "out", "classes", "string", "[any,", "3]",
        "out", "scores", "float", "[any,", "3]",
    ]  # fmt: skip
    assert chromium.problems == []
    assert all(request.startswith(address(page_server)) for request in chromium.requests_elsewhere())


@pytest.mark.parametrize("width", [390, 1280])
def test_a_dropped_picture_is_classified(page_server, chromium, pictures, width):
    open_model(chromium, page_server, "colours", width=width)
    drop(chromium, pictures / "grass.png")
    chromium.wait_for("document.querySelector('.scores')")
    assert chromium.text(".scores li:first-child").split() == ["green", "75.0", "%"]
    assert [line for line in chromium.text(".scores").splitlines() if line in COLOURS] == ["green", "red", "blue"]
    assert chromium.text(".facts").startswith("Version 2 answered · ")
    assert chromium.evaluate("document.querySelector('#preview').naturalWidth") == 30
    # Nothing sticks out of the page.
    assert chromium.evaluate("document.documentElement.scrollWidth <= innerWidth")
    chromium.choose("#version", "1")
    drop(chromium, pictures / "grass.png")
    chromium.wait_for("document.querySelector('.facts').innerText.startsWith('Version 1 answered')")
    assert chromium.problems == []


def test_pixels_are_made_of_a_picture(page_server, chromium, pictures):
    open_model(chromium, page_server, "colours")
    chromium.choose("#signature", "pixels")
    assert chromium.text("#picture-note").endswith("stretches it to 8 × 8 pixels.")
    drop(chromium, pictures / "grass.png")
    chromium.wait_for("document.querySelector('.scores')")
    assert chromium.text(".scores li:first-child").split() == ["class", "1", "75.0", "%"]


def test_any_request_can_be_sent_as_json_and_errors_are_sentences(page_server, chromium):
    open_model(chromium, page_server, "arithmetic")
    assert chromium.evaluate("document.querySelector('#picture-pane').hidden")
    body = json.loads(chromium.evaluate("document.querySelector('#body').value"))
    assert body == {"signature_name": "serving_default", "inputs": {"a": [0], "b": [0]}}
    chromium.click("#json-pane button")
    chromium.wait_for("document.querySelector('#answer pre')")
    assert json.loads(chromium.text("#answer pre")) == {"outputs": {"difference": [0], "sum": [0]}}
    chromium.evaluate("document.querySelector('#body').value = '{\"inputs\": {\"a\": [1]}}'")
    chromium.click("#json-pane button")
    chromium.wait_for("document.querySelector('#answer .problem')")
    assert chromium.text("#answer .problem") == "Missing named input: b in 'inputs' object."


def test_a_file_that_is_no_picture_is_a_sentence(page_server, chromium, pictures):
    open_model(chromium, page_server, "colours")
    chromium.choose("#signature", "pixels")
    drop(chromium, pictures / "broken.png")
    chromium.wait_for("document.querySelector('#answer .problem')")
    assert chromium.text("#answer .problem") == "broken.png is no picture that this browser can decode."


def test_all_of_it_works_with_the_keyboard(page_server, chromium):
    open_model(chromium, page_server, "arithmetic")
    chromium.evaluate("document.querySelector('[data-model=colours]').focus()")
    for kind in ("rawKeyDown", "char", "keyUp"):
        chromium.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13
        )
    chromium.wait_for("document.querySelector('#model-name').innerText === 'colours'")
    # The list was drawn anew; the focus stays where it was.
    assert chromium.evaluate("document.activeElement.dataset.model") == "colours"
    names = """[...document.querySelectorAll('button, input, select, textarea')].filter((e) => e.checkVisibility())
        .filter((e) => !(e.labels?.length || e.innerText || e.ariaLabel)).map((e) => e.id)"""
    assert chromium.evaluate(names) == []


def test_a_new_version_appears_by_itself(saved_models, start_server, chromium, tools, tmp_path):
    started = start_server(models_dir=tmp_path, enable_web_page=True)
    chromium.open(address(started))
    chromium.wait_for("!document.querySelector('#no-models').hidden")
    tools.publish(saved_models.defaults, tmp_path / "late" / "5")
    chromium.wait_for("document.querySelector('[data-model=late] .AVAILABLE')")
    assert chromium.text("[data-model=late]").split() == ["late", "5", "available"]


def test_a_server_with_tokens_is_asked_with_one(saved_models, start_server, chromium, tools, tmp_path):
    tools.publish(saved_models.defaults, tmp_path / "models" / "safe" / "1")
    (tmp_path / "tokens").write_text("open-sesame\n")
    started = start_server(models_dir=tmp_path / "models", enable_web_page=True, auth_tokens_file=tmp_path / "tokens")
    tools.wait_for(lambda: started.server._manager.available_versions("safe"))
    chromium.open(address(started))
    chromium.wait_for("!document.querySelector('#token-form').hidden")
    assert chromium.text("#pulse") == "The server asks for a token."
    assert chromium.evaluate("document.querySelectorAll('.model').length") == 0
    chromium.evaluate("document.querySelector('#token').value = 'open-sesame'")
    chromium.click("#token-form button")
    chromium.wait_for("document.querySelector('[data-model=safe]')")
    chromium.wait_for("document.querySelector('#tensors tbody').rows.length")
    assert chromium.text("#pulse") == "Up to date"
    chromium.evaluate("sessionStorage.clear()")


def test_the_files_are_named_for_the_package_and_hold_no_address():
    import configparser

    from serving.rest_api import web_page

    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    assert "rest_api/page/*" in setup["options.package_data"]["serving"].split()
    folder = ROOT / "serving" / "rest_api" / "page"
    assert {path.name for path in folder.iterdir()} == {name for name, _ in web_page._FILES.values()}
    for path in folder.iterdir():
        assert "//" not in path.read_text().replace("// ", "").replace("\n//", ""), path.name
