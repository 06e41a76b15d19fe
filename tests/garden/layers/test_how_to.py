"""The layer of docs/how-to/add-a-layer.md is a layer as the page says."""

from __future__ import annotations

import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest


@pytest.fixture
def channel_gain():
    page = Path(__file__).parents[3] / "docs/how-to/add-a-layer.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)[1]
    registered = keras.saving.get_custom_objects()
    before = dict(registered)
    module = types.ModuleType("garden.layers.channel_gain")
    exec(code, module.__dict__)
    yield module.ChannelGain
    registered.clear()
    registered.update(before)


def test_it_multiplies_is_saved_and_refuses(channel_gain, tmp_path):
    pixels = keras.Input((None, None, 2))
    model = keras.Model(pixels, channel_gain(3.0)(pixels))
    model.layers[-1].gain.assign([3.0, 0.5])
    numbers = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(model(numbers), numbers * [3, 0.5])
    model.save(tmp_path / "gain.keras")
    again = keras.saving.load_model(tmp_path / "gain.keras")
    np.testing.assert_array_equal(again(numbers), numbers * [3, 0.5])
    assert again.layers[-1].get_config()["initial"] == 3.0
    with pytest.raises(ValueError, match=r"^`initial` must be a number above 0\. Received: initial=0\.$"):
        channel_gain(0)
