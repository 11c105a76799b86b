"""Whether neighbouring slices of a volume help: they show much the same anatomy, each with noise of its own.

Then the noise of a slice cannot be told from its neighbours, and all that they tell about it is signal. Slices that
were interpolated, or reconstructed so that they overlap, share their noise; unrelated images share nothing else.
"""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.repetition import BLOCK, block_means, own_noise

FEWEST = 3  # slices
OWN = 0.85  # noise in the difference over noise in the sum of neighbours, in the median: a correlation of 0.16
ALIKE = 0.8  # correlation of their coarse structure
MOST_TRIED = 32  # pairs, evenly spread


def neighbours_help(volume: np.ndarray) -> bool:
    """Of (slices, rows, columns)."""
    if len(volume) < FEWEST or min(volume.shape[1:]) < 2 * BLOCK:
        return False
    step = -(-(len(volume) - 1) // MOST_TRIED)
    a, b = volume[:-1:step], volume[1::step]
    means = block_means(a), block_means(b)
    if min(of_one.std() for of_one in means) == 0 or np.corrcoef(*means)[0, 1] < ALIKE:
        return False
    shown = own_noise(a, b)
    return bool(shown) and float(np.median(shown)) > OWN
