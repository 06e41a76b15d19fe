"""Settings are checked when they are made, and survive JSON."""

from pathlib import Path

import pytest

from garden.errors import UsageError
from garden.training.config import TrainingConfig

PHOTOS = {"photos": Path("photos"), "architecture": "lenet5"}


def test_json_both_ways():
    config = TrainingConfig(**PHOTOS, late_rate=None, dropout_rate=0.3, mix="cutmix")
    assert TrainingConfig.from_json(config.to_json()) == config


def test_the_fingerprint_changes_with_what_decides_the_weights_and_with_nothing_else():
    config = TrainingConfig(**PHOTOS)
    assert TrainingConfig(**PHOTOS, seed=1).fingerprint() != config.fingerprint()
    assert TrainingConfig(**PHOTOS, cache=False, checkpoint_seconds=0.0).fingerprint() == config.fingerprint()
    assert config.differences(TrainingConfig(**PHOTOS, seed=1, cache=False)) == ["seed"]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"augmentation": "strong"}, "--augmentation strong is not known; give one of none, light, heavy."),
        ({"mix": "cutout"}, "--mix cutout is not known; give one of none, mixup, cutmix."),
        ({"validation": 0.0}, "--validation 0 is out of range; give a number above 0 and at most 0.9."),
        (
            {"validation": 0.6, "test": 0.4},
            "--validation 0.6 and --test 0.4 leave less than a tenth of the images to train on; together they may be "
            "at most 0.9.",
        ),
        ({"folds": 1}, "--folds 1 leaves nothing to hold out; give 2 or more, or 0 for one split."),
        (
            {"folds": 5, "test": 0.1},
            "--folds and --test exclude each other: every fold is the test images of one run.",
        ),
        (
            {"head_epochs": 0, "late_epochs": 0},
            "--head-epochs 0 and --late-epochs 0 train nothing; give one of them a number above 0.",
        ),
        ({"batch_size": 0}, "--batch-size 0 is out of range; give a number at least 1 and at most 65536."),
        (
            {"head_epochs": 0, "unfreeze": "none"},
            "--head-epochs 0 and --unfreeze none train nothing; give --head-epochs a number above 0, or --unfreeze "
            "auto.",
        ),
        (
            {"weights": "none", "unfreeze": "pool4"},
            "--weights none trains everything, so --unfreeze pool4 cannot be followed; leave it out, or give "
            "--weights.",
        ),
        (
            {"weights": "none", "unfreeze": "none"},
            "--weights none trains everything, so --unfreeze none cannot be followed; leave it out, or give --weights.",
        ),
        ({"seed": -1}, "--seed -1 is out of range; give a number at least 0 and at most 4294967295."),
        ({"late_rate": -1.0}, "--late-rate -1 is out of range; give a number above 0 and at most 10."),
    ],
)
def test_a_wrong_setting_gets_its_sentence(setting, sentence):
    with pytest.raises(UsageError) as error:
        TrainingConfig(**{**PHOTOS, **setting})
    assert str(error.value) == sentence
