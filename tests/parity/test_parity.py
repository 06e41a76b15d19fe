"""Every network beside an independent implementation with the same random weights."""

from __future__ import annotations

import os
import sys

import pytest

from garden import architectures

oracles = sys.modules["parity_oracles"]

# Families that nobody else implements where it can be had → what proves them instead.
WITHOUT_ORACLE = {
    "all_cnn": "a NumPy forward pass, tests/garden/architectures/test_all_cnn.py",
    "capsnet": "routing by a loop, tests/garden/architectures/test_capsnet.py and tests/garden/ops/test_capsules.py",
    "convnetjs": "a NumPy forward pass, tests/garden/architectures/test_convnetjs.py",
    "maxout": "a NumPy forward pass, tests/garden/architectures/test_maxout.py",
    "lenet": "a NumPy forward pass, tests/garden/architectures/test_lenet.py",
    "efficientnet_lite": "a PyTorch forward pass of our own, tests/garden/architectures/test_efficientnet_lite.py",
    "lenet1989": "a NumPy forward pass, tests/garden/architectures/test_lenet1989.py",
    "neocognitron": "a NumPy forward pass and learning, tests/garden/architectures/test_neocognitron.py",
}

CASES = oracles.load_cases()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{case.architecture}-{case.oracle}", marks=[pytest.mark.slow] if case.slow else [])
        for case in CASES
    ],
)
def test_answers_as_the_other_implementation_does(case):
    try:
        difference = case.difference()
    except ImportError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"{case.package} is not installed: {error}")
    assert difference <= oracles.TOLERANCE


def test_every_family_has_an_oracle_or_says_what_proves_it():
    compared = {architectures.get(case.architecture).family for case in CASES}
    families = {architectures.get(name).family for name in architectures.names()}
    assert compared | set(WITHOUT_ORACLE) == families
    assert not compared & set(WITHOUT_ORACLE)
