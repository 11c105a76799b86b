"""The noise level that a method is given if it needs one: this project's estimate, the same for all methods."""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel, estimate_noise
from diffdenoise.noise.repetition import candidates, repetitions


def estimated(scans: list[np.ndarray]) -> list[NoiseLevel]:
    """Of each scan, from it alone or, where the next one shows the same object again, from both."""
    found = []
    for scan, stacks in zip(scans, candidates([[scan] for scan in scans]), strict=True):
        first, again = repetitions(stacks) or (scan, None)
        found.append(estimate_noise(first, again=again))
    return found
