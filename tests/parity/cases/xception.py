"""Xception beside keras.applications."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]

CASES = [oracles.keras_case("xception", keras.applications.Xception, size=75)]
