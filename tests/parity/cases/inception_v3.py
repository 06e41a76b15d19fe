"""Inception-v3 beside keras.applications."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]

CASES = [oracles.keras_case("inception_v3", keras.applications.InceptionV3, size=107)]
