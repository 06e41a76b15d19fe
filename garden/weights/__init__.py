"""Weights: fetched as packages, read without running anything, matched tensor by tensor."""

from __future__ import annotations

from garden.weights.loading import fingerprint, load_weights
from garden.weights.report import TensorRecord, WeightsReport

__all__ = ["TensorRecord", "WeightsReport", "fingerprint", "load_weights"]
