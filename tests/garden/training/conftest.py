"""What the tests of training share."""

import pytest

ARCHITECTURE, IMAGE_SIZE = "mobilenet_v2_035", 32


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Activations of one test must not help another."""
    monkeypatch.setenv("GARDEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_config(photos, source_weights):
    """Settings of a run of seconds."""
    from garden.training.config import TrainingConfig

    def make(**settings):
        return TrainingConfig(
            **{
                "photos": photos,
                "architecture": ARCHITECTURE,
                "weights": str(source_weights),
                "image_size": IMAGE_SIZE,
                "head_epochs": 3,
                "late_epochs": 2,
                "views": 2,
                "batch_size": 8,
                "checkpoint_seconds": 0.0,
                **settings,
            }
        )

    return make
