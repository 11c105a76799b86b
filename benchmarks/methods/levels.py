"""The noise level that a method is given if it needs one: this project's estimate, the same for all methods."""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel, estimate_noise
from diffdenoise.noise.repetition import repetitions


def estimated(scans: list[np.ndarray]) -> list[NoiseLevel]:
    """Of each scan, from it alone or, where the one before or after shows the same object again, from both."""
    found = []
    for number, scan in enumerate(scans):
        first, again = repetitions(scans[max(0, number - 1) : number + 2]) or (scan, None)
        found.append(estimate_noise(first, again=again))
    return found
