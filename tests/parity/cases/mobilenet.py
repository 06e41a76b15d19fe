"""MobileNet beside keras.applications."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]

CASES = [
    oracles.keras_case("mobilenet_025", keras.applications.MobileNet, size=64, alpha=0.25),
    oracles.keras_case("mobilenet_050", keras.applications.MobileNet, size=75, alpha=0.5),
    oracles.keras_case("mobilenet_075", keras.applications.MobileNet, size=32, alpha=0.75),
    oracles.keras_case("mobilenet", keras.applications.MobileNet, size=96),
]
