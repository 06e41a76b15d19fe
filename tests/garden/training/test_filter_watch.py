"""The film of a run's filters: what is written for each epoch, and that a killed run goes on with it."""

import keras
import numpy as np
import pytest
from PIL import Image

from garden import cli
from garden.errors import RunError
from garden.inspection.inspected_network import InspectedNetwork
from garden.reports import event_files, inspection_descriptions
from garden.reports.tensorboard_writer import RunWriter
from garden.trained_model import TrainedModel
from garden.training import finetune as finetuning
from garden.training.filter_watch import FilterWatch
from garden.training.phase import Phase


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="frozen")(image)
    x = keras.layers.Conv2D(4, 1, activation="relu", name="mix")(x)
    x = keras.layers.Conv2D(5, 3, strides=2, activation="relu", name="late")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return InspectedNetwork(keras.Model(image, keras.layers.Dense(2, name="logits")(x)))


@pytest.fixture
def make_watch(network, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3)).astype(np.uint8)

    def make(*, trained=("late", "logits"), writer=None, epochs_done=0):
        return FilterWatch(
            tmp_path / "evolution",
            network,
            trained=set(trained),
            pixels=pixels,
            writer=writer,
            epochs_done=epochs_done,
        )

    return make


def train(network):
    kernel = network.operation_of("late").kernel
    kernel.assign(kernel * 1.5 + 0.01)


def events(directory):
    from tensorboard.compat.proto import event_pb2

    for path in event_files.event_files(directory):
        for _, serialized in event_files.read_records(path):
            yield event_pb2.Event.FromString(serialized)


def summaries(directory):
    return [value for event in events(directory) for value in event.summary.value]


def tags_and_steps(directory):
    return sorted((value.tag, event.step) for event in events(directory) for value in event.summary.value)


def test_each_epoch_is_a_frame_and_a_picture_in_tensorboard(make_watch, network, tmp_path, capsys):
    with RunWriter(tmp_path / "tensorboard", labels=("a", "b")) as writer:
        watch = make_watch(writer=writer)
        watch.before("late", 2)
        for epoch in (3, 4):
            train(network)
            watch.after("late", epoch)
        watch.finish()
    line = "watching the filters of late, and patches of late; frozen, the first layer, is frozen"
    assert line in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "evolution").iterdir()} == {
        "evolution.npz",
        "filters.gif",
        "filters.png",
        "patches.gif",
        "patches.png",
    }
    with np.load(tmp_path / "evolution" / "evolution.npz") as numbers:
        assert numbers["epochs"].tolist() == ["epoch 2", "epoch 3", "epoch 4", "kept"]
        np.testing.assert_allclose(numbers["filters"][1], numbers["filters"][0] * 1.5 + 0.01, rtol=1e-5)
        np.testing.assert_array_equal(numbers["filters"][3], numbers["filters"][2])
        assert str(numbers["filters_path"]) == "late"
    with Image.open(tmp_path / "evolution" / "filters.gif") as film:
        # Pillow joins frames that are equal: the last epoch and what is kept differ in their title.
        assert film.n_frames == 4
    assert tags_and_steps(tmp_path / "tensorboard" / "late") == [
        (tag, step) for tag in ("garden/filters/late", "garden/top_patches/late") for step in (2, 3, 4)
    ]


def test_the_tab_garden_takes_a_film_for_one_of_the_network_and_its_layer(make_watch, tmp_path):
    with RunWriter(tmp_path / "tensorboard", labels=("a", "b")) as writer:
        make_watch(writer=writer).before("late", 2)
    described = {
        value.tag: value.metadata.summary_description for value in summaries(tmp_path / "tensorboard" / "late")
    }
    places = {tag: inspection_descriptions.place(tag, text)[0] for tag, text in described.items()}
    assert places == {
        "garden/filters/late": {"image": "", "method": "filters in training", "layer": "late", "unit": ""},
        "garden/top_patches/late": {"image": "", "method": "patches in training", "layer": "late", "unit": ""},
    }


def test_a_run_that_goes_on_takes_later_snapshots_again(make_watch, network):
    watch = make_watch()
    watch.before("late", 0)
    units = watch.evolution.units
    for epoch in (1, 2):
        train(network)
        watch.after("late", epoch)
    again = make_watch(epochs_done=1)
    np.testing.assert_array_equal(again.evolution.units, units)
    assert sorted(path.name for path in again.directory.iterdir()) == ["epoch-00000.npz", "epoch-00001.npz"]
    before = (again.directory / "epoch-00001.npz").read_bytes()
    again.before("late", 1)
    assert (again.directory / "epoch-00001.npz").read_bytes() == before, "what is known is not taken again"


def test_nothing_to_watch_is_said_and_writes_nothing(make_watch, capsys):
    watch = make_watch(trained=("logits",))
    watch.before("head", 0)
    watch.after("head", 1)
    watch.finish()
    assert not watch.watches and not watch.directory.exists()
    said = capsys.readouterr().err.strip()
    assert said.endswith(
        "--watch-filters has nothing to watch: no convolution trains in this run. "
        "Give --unfreeze and --late-epochs, or --weights none."
    )


def test_filters_of_one_pixel_are_no_pictures_but_patches_are(make_watch, capsys, tmp_path):
    watch = make_watch(trained=("mix", "logits"))
    assert "watching patches of late; the convolutions that train are 1×1" in capsys.readouterr().err
    watch.before("late", 0)
    watch.finish()
    assert {path.name for path in watch.directory.iterdir()} == {"evolution.npz", "patches.gif", "patches.png"}


@pytest.mark.slow
def test_a_watched_run_that_was_stopped_ends_as_one_that_was_neither(make_config, tmp_path, monkeypatch):
    config = make_config(head_epochs=1, late_epochs=3, unfreeze="stage7_block1_project_bn")
    plain = finetuning.finetune(config, tmp_path / "plain", tensorboard=False)
    finetuning.finetune(config, tmp_path / "whole", watch_filters=True)
    run_epoch, calls = Phase.run_epoch, []

    def stopping(phase):
        calls.append(phase.name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run_epoch(phase)

    monkeypatch.setattr(Phase, "run_epoch", stopping)
    with pytest.raises(KeyboardInterrupt):
        finetuning.finetune(config, tmp_path / "stopped", watch_filters=True)
    finetuning.finetune(config, tmp_path / "stopped", watch_filters=True)
    assert calls[:4] == ["head", "late", "late", "late"]
    with (
        np.load(tmp_path / "whole" / "evolution" / "evolution.npz") as whole,
        np.load(tmp_path / "stopped" / "evolution" / "evolution.npz") as stopped,
    ):
        assert whole["epochs"].tolist() == ["epoch 1", "epoch 2", "epoch 3", "epoch 4", "kept"]
        assert whole.files == stopped.files
        for name in whole.files:
            if whole[name].dtype.kind == "f":
                np.testing.assert_allclose(whole[name], stopped[name], atol=1e-5)
            else:
                np.testing.assert_array_equal(whole[name], stopped[name])
        assert (whole["filters"][0] != whole["filters"][3]).any(), "the watched layer trains"
    for run in ("whole", "stopped"):
        steps = tags_and_steps(tmp_path / run / "tensorboard" / "late")
        pictures = [step for tag, step in steps if tag.startswith("garden/filters/")]
        assert pictures == [1, 2, 3, 4]
        trained = TrainedModel.load(tmp_path / run)
        for mine, theirs in zip(trained.network.weights, plain.network.weights, strict=True):
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("flags, watched", [([], False), (["--watch-filters"], True)])
def test_the_command_asks_for_a_film_only_where_it_is_told_to(monkeypatch, capsys, flags, watched):
    asked = []

    def finetune(config, output, *, tensorboard, watch_filters):
        asked.append(watch_filters)
        raise RunError("Enough.")

    monkeypatch.setattr(finetuning, "finetune", finetune)
    assert cli.main(["finetune", "photos", "--architecture", "lenet5", "--output", "run", *flags]) == 1
    assert asked == [watched]
