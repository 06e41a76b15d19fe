"""MobileNetV2 beside keras.applications."""

from __future__ import annotations

import sys

import keras

oracles = sys.modules["parity_oracles"]

CASES = [
    oracles.keras_case("mobilenet_v2_035", keras.applications.MobileNetV2, size=64, alpha=0.35),
    oracles.keras_case("mobilenet_v2", keras.applications.MobileNetV2, size=96),
    oracles.keras_case("mobilenet_v2_140", keras.applications.MobileNetV2, size=32, alpha=1.4),
]
