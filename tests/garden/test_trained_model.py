"""TrainedModel: what is saved comes back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from garden.errors import RunError
from garden.trained_model import TrainedModel


def test_what_is_saved_comes_back(convolutional_model, tmp_path):
    trained = dataclasses.replace(
        convolutional_model, unknown_threshold=0.4, metrics={"accuracy": 0.5}, provenance={"seed": 3}
    )
    trained.save(tmp_path / "run")
    again = TrainedModel.load(tmp_path / "run")
    for field in dataclasses.fields(TrainedModel):
        if field.name != "network":
            assert getattr(again, field.name) == getattr(trained, field.name), field.name
    prepared = np.random.default_rng(0).normal(size=(2, *trained.image_spec.input_shape)).astype(np.float32)
    np.testing.assert_array_equal(again.predict_logits(prepared), trained.predict_logits(prepared))


def test_scores_are_the_softmax_of_logits_over_the_temperature(convolutional_model):
    trained = dataclasses.replace(convolutional_model, temperature=2.0)
    scores = trained.scores_of_logits(np.log([[1.0, 4.0, 9.0]])).numpy()
    np.testing.assert_allclose(scores, [[1 / 6, 2 / 6, 3 / 6]], rtol=1e-6)


def test_a_folder_without_a_finished_run_gets_its_sentence(tmp_path):
    with pytest.raises(RunError) as caught:
        TrainedModel.load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no trained network (there is no trained_model.json). Run `garden finetune PHOTOS "
        "--architecture NAME --output RUN` to the end first, then name that RUN."
    )
