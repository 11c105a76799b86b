"""The noise level that a method is given if it needs one: this project's estimate, the same for all methods."""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel, estimate_noise
from diffdenoise.noise.repetition import repeated_around, repetitions


def estimated(scans: list[np.ndarray]) -> list[NoiseLevel]:
    """Of each scan, from it alone or, where those before or after show the same object again, from all of these."""

    def one(number: int) -> list[np.ndarray]:
        return [scans[number]] if 0 <= number < len(scans) else []

    found = []
    for number, scan in enumerate(scans):
        first, again = repetitions(repeated_around(number, one)) or (scan, None)
        found.append(estimate_noise(first, again=again))
    return found
