"""Whole runs on tiny pictures: what is promised about them, each promise a test."""

import dataclasses
import json
import os

import keras
import numpy as np
import pytest
from PIL import Image

from garden import architectures
from garden.errors import ImageFolderError, ResourceError, RunError, UsageError
from garden.trained_model import TrainedModel
from garden.training import finetune as finetuning
from garden.training.activation_cache import ActivationCache
from garden.training.phase import Phase

ARCHITECTURE, IMAGE_SIZE = "mobilenet_v2_035", 32


def finetune(config, output, **options):
    return finetuning.finetune(config, output, **{"tensorboard": False, **options})


def weights_of(trained):
    return [variable.numpy() for variable in trained.network.weights]


def history(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, photos, source_weights):
    """One run with everything on, for the tests that only look at it."""
    from garden.training.config import TrainingConfig

    output = tmp_path_factory.mktemp("finished") / "run"
    before = os.environ.get("GARDEN_CACHE")
    os.environ["GARDEN_CACHE"] = str(output.parent / "cache")
    try:
        config = TrainingConfig(
            photos=photos,
            architecture=ARCHITECTURE,
            weights=str(source_weights),
            image_size=IMAGE_SIZE,
            head_epochs=3,
            late_epochs=2,
            views=2,
            batch_size=8,
            test=0.2,
            unknown_precision=0.5,
        )
        return config, output, finetune(config, output, tensorboard=True)
    finally:
        if before is None:
            del os.environ["GARDEN_CACHE"]
        else:
            os.environ["GARDEN_CACHE"] = before


def test_a_run_leaves_everything_that_is_promised(finished):
    _, output, _ = finished
    names = {path.name for path in output.iterdir()} - {".lock"}
    assert names == {
        "config.json",
        "evaluation",
        "labels.txt",
        "metrics.jsonl",
        "model_card.md",
        "network.keras",
        "problems.csv",
        "run.json",
        "split.csv",
        "tensorboard",
        "trained_model.json",
        "weights_report.txt",
    }
    record = json.loads((output / "run.json").read_text())
    assert set(record["hashes"]) == {"data", "split", "labels", "initial_weights", "weights", "preparation"}
    assert all(len(value) >= 16 for value in record["hashes"].values())
    assert set(record["versions"]) == {"garden", "tensorflow", "keras", "numpy", "python"}
    assert sum(record["images"].values()) == 36 and min(record["images"].values()) >= 3
    assert record["figures_from"] == "test" and record["seed"] == 0


def test_the_loaded_model_is_the_trained_one(finished):
    _, output, trained = finished
    loaded = TrainedModel.load(output)
    assert loaded.labels == ("columns", "rows", "spots")
    assert dataclasses.replace(loaded, network=None) == dataclasses.replace(trained, network=None)
    pixels = np.random.default_rng(0).normal(size=(2, IMAGE_SIZE, IMAGE_SIZE, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict_logits(pixels), trained.predict_logits(pixels), atol=1e-6)


def test_it_learns_to_tell_the_classes_apart(finished):
    _, output, trained = finished
    epochs = history(output)
    assert [epoch["phase"] for epoch in epochs] == ["head"] * 3 + ["late"] * 2
    assert epochs[-1]["train/loss"] < epochs[0]["train/loss"]


def test_batch_normalization_and_the_frozen_layers_are_bit_identical(finished, source_weights):
    config, _, trained = finished
    network = architectures.build(ARCHITECTURE, num_classes=5, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3))
    network.load_weights(source_weights)
    boundary = trained.provenance["boundary"]
    frozen = {layer.name for layer in keras.Model(network.input, network.get_layer(boundary).output).layers}
    normalizations = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert any(layer.name not in frozen for layer in normalizations), "some normalization is behind the boundary"
    changed = []
    for layer in network.layers[:-1]:
        for source, value in zip(layer.weights, trained.network.get_layer(layer.name).weights, strict=True):
            same = np.array_equal(source.numpy(), value.numpy())
            if layer.name in frozen or isinstance(layer, keras.layers.BatchNormalization):
                assert same, value.path
            else:
                changed.append(not same)
    assert changed and all(changed), "the late convolutions were trained"


def test_a_finished_run_is_not_trained_again(finished, capsys):
    config, output, trained = finished
    before = (output / "network.keras").stat().st_mtime_ns
    again = finetune(config, output)
    assert (output / "network.keras").stat().st_mtime_ns == before
    assert again.metrics == trained.metrics
    assert "is finished; nothing to do." in capsys.readouterr().err


def test_cached_and_uncached_runs_have_equal_losses(make_config, tmp_path):
    config = make_config(augmentation="light", head_epochs=2, late_epochs=2)
    cached = finetune(config, tmp_path / "cached")
    uncached = finetune(dataclasses.replace(config, cache=False), tmp_path / "uncached")
    for mine, theirs in zip(history(tmp_path / "cached"), history(tmp_path / "uncached"), strict=True):
        for name in ("train/loss", "validation/loss"):
            assert mine[name] == pytest.approx(theirs[name], abs=2e-5)
    for mine, theirs in zip(weights_of(cached), weights_of(uncached), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)


def test_the_frozen_layers_run_once_per_image_and_view(make_config, tmp_path, monkeypatch):
    rows = []
    append = ActivationCache.append

    def follow(self, keys, arrays):
        rows.extend(keys)
        append(self, keys, arrays)

    monkeypatch.setattr(ActivationCache, "append", follow)
    finetune(make_config(views=3), tmp_path / "one")
    images = json.loads((tmp_path / "one" / "run.json").read_text())["images"]
    expected = 3 * images["train"] + images["validation"]
    assert len(rows) == len(set(rows)) == expected
    # Another rate, another run: everything is there already.
    finetune(make_config(views=3, head_rate=1e-3), tmp_path / "two")
    assert len(rows) == expected


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("stop_at", [("head", 1), ("head", 3), ("late", 1)])
def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(make_config, tmp_path, monkeypatch, stop_at):
    config = make_config(dropout_rate=0.3, ema=0.5)
    whole = finetune(config, tmp_path / "whole")
    run_epoch = Phase.run_epoch
    with monkeypatch.context() as patch:

        def stop(self):
            if (self.name, self.state.epoch) == stop_at or (stop_at[1] == 3 and self.name == "late"):
                raise _Killed
            return run_epoch(self)

        patch.setattr(Phase, "run_epoch", stop)
        with pytest.raises(_Killed):
            finetune(config, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "run.json").exists()
    resumed = finetune(config, tmp_path / "stopped")
    assert history(tmp_path / "stopped") == history(tmp_path / "whole")
    for mine, theirs in zip(weights_of(resumed), weights_of(whole), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


def test_other_settings_in_the_same_directory_are_refused(make_config, finished):
    config, output, _ = finished
    with pytest.raises(RunError) as error:
        finetune(dataclasses.replace(config, seed=4, late_epochs=7), output)
    assert str(error.value) == (
        f"{output} holds a run with other settings (late_epochs was 2 and is 7; seed was 0 and is 4). "
        "Repeat its command to go on with it, or choose another --output."
    )


def test_what_a_killed_process_was_writing_goes_away(make_config, tmp_path):
    from garden.training.run_directory import RunDirectory

    with RunDirectory(tmp_path / "run", make_config()):
        (tmp_path / "run" / ".checkpoint.4711.partial.npz").touch()
    with RunDirectory(tmp_path / "run", make_config()):
        assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock", "config.json"}


def test_a_directory_with_other_files_is_left_alone(make_config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError) as error:
        finetune(make_config(), tmp_path / "mine")
    assert str(error.value) == (
        f"{tmp_path / 'mine'} is not empty and holds no run; garden would mix its files with yours. "
        "Give --output a new or an empty directory."
    )
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_command_with_a_slip_can_be_mended_and_repeated(make_config, tmp_path):
    config = make_config(head_epochs=1, late_epochs=0)
    with pytest.raises(ImageFolderError):
        finetune(dataclasses.replace(config, photos=tmp_path / "photoes"), tmp_path / "run")
    with pytest.raises(UsageError):
        finetune(dataclasses.replace(config, unfreeze="blokc"), tmp_path / "run")
    assert finetune(config, tmp_path / "run").labels == ("columns", "rows", "spots")


def test_settings_that_cannot_be_read(make_config, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    for text in ("{", '{"photos": "photos", "architecture": "lenet5", "a_later_option": 1}', "[]"):
        (output / "config.json").write_text(text)
        (output / "split.csv").touch()
        with pytest.raises(RunError) as error:
            finetune(make_config(), output)
        assert str(error.value) == (
            f"{output / 'config.json'} is damaged or of another version of garden, so the run cannot go on. "
            "Choose another --output."
        )


def test_an_output_among_the_pictures_is_refused(make_photos, make_config, tmp_path):
    photos = make_photos(tmp_path / "photos", per_class=2)
    for train in (finetune, finetuning.cross_validate):
        with pytest.raises(RunError) as error:
            train(make_config(photos=photos, folds=2), photos / "run")
        assert str(error.value) == (
            f"{photos / 'run'} lies in the folder of pictures, where it would count as a class. "
            "Give --output a place outside of it."
        )
    assert not (photos / "run").exists()


def test_an_output_that_cannot_be_written(make_config, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    sentences = {
        "file": f"{tmp_path / 'file'} is a file; --output must name a directory. Choose another one.",
        "file/run": f"{tmp_path / 'file/run'} cannot be made (Not a directory). Give --output a place you can write "
        "to.",
        "mine": f"{tmp_path / 'mine'} is not empty and holds no cross-validation; garden would mix its files with "
        "yours. Give --output a new or an empty directory.",
    }
    for name, sentence in sentences.items():
        with pytest.raises(RunError) as error:
            finetuning.cross_validate(make_config(folds=2), tmp_path / name)
        assert str(error.value) == sentence

    def refuse(self, problems):
        raise PermissionError(13, "Permission denied", str(tmp_path / "run" / "problems.csv"))

    monkeypatch.setattr(finetuning.RunDirectory, "write_problems", refuse)
    with pytest.raises(RunError) as error:
        finetune(make_config(), tmp_path / "run")
    assert str(error.value) == (
        f"{tmp_path / 'run' / 'problems.csv'} cannot be written (Permission denied). Give --output a place you can "
        "write to, or change its permissions."
    )


def test_a_cache_that_cannot_be_written(make_config, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GARDEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(ResourceError) as error:
        finetune(make_config(), tmp_path / "run")
    assert str(error.value).startswith(f"The activation cache {tmp_path / 'file' / 'activations'}")
    assert str(error.value).endswith(
        " cannot be written (Not a directory). Name another place with the environment variable GARDEN_CACHE, or run "
        "with --no-cache."
    )


def test_a_loss_that_is_no_number_ends_the_run(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(Phase, "_apply", lambda *arguments: (float("nan"), 0.0))
    with pytest.raises(RunError) as error:
        finetune(make_config(head_rate=9.0), tmp_path / "run")
    assert str(error.value) == (
        "The loss is not a finite number any more in epoch 1 of phase head; its rate of 9 is too high for these "
        "pictures. Give a smaller --head-rate and another --output."
    )


def test_two_processes_do_not_share_a_run(make_config, tmp_path):
    from garden.training.run_directory import RunDirectory

    config = make_config()
    with RunDirectory(tmp_path / "run", config), pytest.raises(RunError) as error:
        finetune(config, tmp_path / "run")
    assert str(error.value) == (
        f"Another process is working in {tmp_path / 'run'}; two would overwrite each other. "
        "Wait for it, stop it, or choose another --output."
    )


def test_a_broken_picture_is_named_and_left_out(make_photos, make_config, tmp_path, capsys):
    photos = make_photos(tmp_path / "photos", per_class=6)
    whole = (photos / "rows" / "1.png").read_bytes()
    (photos / "rows" / "1.png").write_bytes(whole[: len(whole) // 2])
    finetune(make_config(photos=photos, head_epochs=1, late_epochs=0), tmp_path / "run")
    assert "left out: " in capsys.readouterr().err
    problems = (tmp_path / "run" / "problems.csv").read_text()
    assert str(photos / "rows" / "1.png") in problems
    assert "rows/1.png" not in (tmp_path / "run" / "split.csv").read_text()


def test_pictures_that_changed_since_are_noticed(make_photos, make_config, tmp_path, monkeypatch):
    photos = make_photos(tmp_path / "photos", per_class=6)
    config = make_config(photos=photos, head_epochs=2, late_epochs=1)
    run_epoch = Phase.run_epoch
    with monkeypatch.context() as patch:

        def stop(self):
            if self.name == "late":
                raise _Killed
            return run_epoch(self)

        patch.setattr(Phase, "run_epoch", stop)
        with pytest.raises(_Killed):
            finetune(config, tmp_path / "run")
    Image.new("RGB", (40, 40), "red").save(photos / "rows" / "new.png")
    with pytest.raises(ImageFolderError) as error:
        finetune(config, tmp_path / "run")
    assert str(error.value) == (
        f"The images under {photos} have changed since this run began, so it cannot go on as it was. "
        "Put them back, or start a new run with another --output."
    )


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_afterwards(make_config, tmp_path, monkeypatch):
    import errno

    config = make_config(head_epochs=2, late_epochs=1)
    with monkeypatch.context() as patch:

        def full(self, position, arrays):
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run" / "checkpoint.npz"))

        patch.setattr(finetuning.RunDirectory, "save_checkpoint", full)
        with pytest.raises(ResourceError) as error:
            finetune(config, tmp_path / "run")
    assert str(error.value) == (
        f"The disk is full while writing {tmp_path / 'run' / 'checkpoint.npz'}. "
        "The run is intact: the same command goes on with it. Free some space first."
    )
    assert finetune(config, tmp_path / "run").metrics["accuracy"] >= 0


def test_memory_that_runs_out_is_one_sentence(make_config, tmp_path, monkeypatch):
    import tensorflow as tf

    def hungry(self):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(Phase, "run_epoch", hungry)
    with pytest.raises(ResourceError) as error:
        finetune(make_config(), tmp_path / "run")
    assert str(error.value) == (
        "Memory ran out while training. The run is intact: the same command goes on with it. A new run with a "
        "smaller --batch-size, --image-size or --views, or with --unfreeze none, needs less."
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "none", "head_epochs": 2, "late_epochs": 1},
        {"mixed_precision": True},
        {"unfreeze": "all", "mix": "mixup"},
        {"unfreeze": "none"},
        {"mix": "cutmix", "class_weights": "balanced", "augmentation": "heavy"},
        {"head_rate": None, "late_rate": None},
        {"head_epochs": 0},
    ],
    ids=lambda settings: "-".join(f"{name}={value}" for name, value in settings.items()),
)
def test_every_option_trains_to_the_end(make_config, tmp_path, settings):
    trained = finetune(make_config(**settings), tmp_path / "run")
    epochs = history(tmp_path / "run")
    assert all(np.isfinite(epoch["train/loss"]) for epoch in epochs)
    assert all(np.isfinite(value).all() for value in weights_of(trained))
    assert {variable.dtype for variable in trained.network.weights} == {"float32"}
    loaded = TrainedModel.load(tmp_path / "run")
    assert loaded.network.compute_dtype == "float32"


def test_from_scratch_batch_normalization_learns(make_config, tmp_path):
    trained = finetune(make_config(weights="none", head_epochs=2, late_epochs=0), tmp_path / "run")
    moved = [
        not np.allclose(layer.moving_mean.numpy(), 0)
        for layer in trained.network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert moved and all(moved)


@pytest.mark.parametrize(("rate", "advised"), [(1.0, True), (0.001, False)])
def test_from_scratch_a_rate_that_throws_the_network_off_is_told(make_config, tmp_path, capsys, rate, advised):
    settings = {"architecture": "lenet5", "weights": "none", "head_epochs": 1, "late_epochs": 0, "views": 1}
    finetune(make_config(**settings, head_rate=rate), tmp_path / "run", tensorboard=False)
    advice = (
        f"The loss is far above that of guessing, 1.099: a rate of {rate:g} is too high for this network. Start again "
        "with a smaller --head-rate, or auto, and another --output.\n"
    )
    assert capsys.readouterr().err.count(advice) == int(advised)


def test_cross_validation_holds_every_image_out_once(make_config, tmp_path):
    figures = finetuning.cross_validate(
        make_config(folds=3, head_epochs=2, late_epochs=0), tmp_path / "run", tensorboard=False
    )
    assert figures["images"] == 36 and len(figures["folds"]) == 3
    assert json.loads((tmp_path / "run" / "folds.json").read_text()) == figures
    rows = [
        line.split(",")[0]
        for fold in (1, 2, 3)
        for line in (tmp_path / "run" / f"fold-{fold}/evaluation/validation/predictions.csv")
        .read_text()
        .splitlines()[1:]
    ]
    assert len(rows) == len(set(rows)) == 36
    accuracies = [fold["accuracy"] for fold in figures["folds"]]
    assert min(accuracies) <= figures["accuracy"] <= max(accuracies)
