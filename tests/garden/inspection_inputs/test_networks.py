"""What a user may name as a network: a run, an architecture, a file of Keras; and what is said of anything else."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from garden.errors import ArchitectureError, InspectionError, RunError, UsageError
from garden.inspection import SCORES
from garden.inspection_inputs import networks


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model of somebody: probabilities of 3 classes from pictures of 12×16 within -1..1."""
    image = keras.Input((12, 16, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = tmp_path / "theirs.keras"
    keras.Model(image, keras.layers.Dense(3, activation="softmax", name="answer")(x)).save(path)
    return path


def test_run_is_opened_with_its_labels_and_pixels(colour_model: Any, tmp_path: Path) -> None:
    run = tmp_path / "colours-run"
    dataclasses.replace(colour_model, metrics={"accuracy": 0.75}).save(run)
    source = networks.open_network(str(run))
    assert source.title == "colours-run"
    assert source.network.labels == colour_model.labels
    assert source.network.image_spec == colour_model.image_spec
    assert source.directory == run
    assert source.trained is not None
    assert source.facts["input"] == "8×8×3"
    assert source.facts["accuracy"] == "0.750 on the pictures that were held out"
    pixels = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(source.network.logits(pixels), colour_model.predict_logits(pixels), atol=1e-5)


def test_architecture_with_random_weights_says_that_nothing_was_learned() -> None:
    source = networks.open_network("lenet5", weights="none")
    assert source.facts["weights"] == "random: nothing was learned"
    assert source.network.num_classes == 10
    again = networks.open_network("lenet5", weights="none")
    for one, other in zip(source.network.model.get_weights(), again.network.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_directory_without_a_run_does_not_hide_the_architecture_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lenet5").mkdir()
    monkeypatch.chdir(tmp_path)
    assert networks.open_network("lenet5", weights="none").facts["architecture"] == "lenet5"


def test_file_is_opened_with_the_pixels_and_names_that_are_told(model_file: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncicada\n\n")
    source = networks.open_network(str(model_file), input_range="-1..1", labels_file=names)
    assert source.network.labels == ("ant", "bee", "cicada")
    assert source.network.image_spec.mean == (127.5,) * 3
    assert source.network.image_spec.input_shape == (12, 16, 3)
    assert source.network.score_kind == "logits"
    assert source.network.shape_of(SCORES) == (3,)


def test_model_of_any_size_needs_one(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    path = tmp_path / "any.keras"
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))).save(path)
    with pytest.raises(UsageError) as caught:
        networks.open_network(str(path))
    assert str(caught.value) == (
        "The model of any.keras takes pictures of any size; inspection needs one. Give it with --input-size 224."
    )
    assert networks.open_network(str(path), input_size=(20, 20)).network.input_shape == (20, 20, 3)


def test_one_channel_takes_the_middle_of_the_range(tmp_path: Path) -> None:
    image = keras.Input((8, 8, 1))
    path = tmp_path / "gray.keras"
    keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image))).save(path)
    assert networks.open_network(str(path), input_range="-1..1").network.image_spec.mean == (127.5,)
    with pytest.raises(UsageError, match=r"takes luminance, but --input-range caffe is for colours\. Choose 0\.\.255"):
        networks.open_network(str(path), input_range="caffe")


def test_what_is_no_network_is_told(tmp_path: Path, model_file: Path) -> None:
    with pytest.raises(ArchitectureError, match=r"A network to inspect is such a name, the directory of a run"):
        networks.open_network("squeezenet9")
    with pytest.raises(RunError, match="holds no trained network"):
        networks.open_network(str(tmp_path))
    with pytest.raises(UsageError, match=r"There is no file .*missing\.keras\. Name a file that keras\.Model"):
        networks.open_network(str(tmp_path / "missing.keras"))
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"no zip file")
    with pytest.raises(InspectionError, match=rf"Keras cannot load {re.escape(str(broken))}: .*must come from "):
        networks.open_network(str(broken))
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\n")
    with pytest.raises(UsageError, match=r"names\.txt has 2 names, but theirs\.keras has 3 scores; there must be "):
        networks.open_network(str(model_file), labels_file=names)
    names.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"cannot be read from .*names\.txt \(it is no UTF-8 text\)\. Name a text"):
        networks.open_network(str(model_file), labels_file=names)


def test_architecture_without_pretrained_weights_is_refused_rather_than_random() -> None:
    with pytest.raises(UsageError) as caught:
        networks.open_network("lenet5")
    assert str(caught.value).startswith(
        "The catalogue has no pretrained weights of lenet5, and a network that has learned nothing has nothing to show."
    )
    assert str(caught.value).endswith("or say --weights none to look at random weights.")


def test_classes_of_imagenet_have_names() -> None:
    labels = networks._imagenet_labels()
    assert len(labels) == 1000
    assert (labels[0], labels[281], labels[504]) == ("tench", "tabby cat", "coffee mug")


@pytest.mark.parametrize(
    ("option", "value"),
    [("input_range", "0..1"), ("input_size", (20, 20)), ("labels_file", Path("names.txt")), ("output", 1)],
)
def test_options_of_a_file_are_not_ignored_elsewhere(
    option: str, value: Any, colour_model: Any, tmp_path: Path
) -> None:
    flag = {"output": "--score-output", "labels_file": "--labels"}.get(option, f"--{option.replace('_', '-')}")
    with pytest.raises(UsageError) as caught:
        networks.open_network("squeezenet1_1", **{option: value})
    assert str(caught.value) == (
        f"{flag} has no meaning here: squeezenet1_1 is looked for in the catalogue, whose networks have their own. "
        f"Leave {flag} out."
    )
    colour_model.save(tmp_path / "run")
    with pytest.raises(UsageError, match=f"{flag} has no meaning here: .*run is a run, which has its own. Leave"):
        networks.open_network(str(tmp_path / "run"), **{option: value})


def test_weights_are_of_architectures_only(colour_model: Any, model_file: Path, tmp_path: Path) -> None:
    colour_model.save(tmp_path / "run")
    with pytest.raises(UsageError, match=r"--weights has no meaning here: .*run is a run, which has its own\. Leave"):
        networks.open_network(str(tmp_path / "run"), weights="imagenet")
    with pytest.raises(UsageError, match=r"--weights has no meaning here: .*theirs\.keras is a file with weights of"):
        networks.open_network(str(model_file), weights="imagenet")
