"""Whether neighbouring slices, or the frames of a series, help: they show much the same, each with noise of its own.

Then the noise of one cannot be told from the others, and all that they tell about it is signal. Slices that were
interpolated, or reconstructed so that they overlap, share their noise, as do frames that were filtered in time;
unrelated images share nothing else.
"""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.repetition import BLOCK, block_means, own_noise

FEWEST = 3  # slices
FEWEST_FRAMES = 4
OWN = 0.85  # noise in the difference over noise in the sum of neighbours, in the median: a correlation of 0.16
ALIKE = 0.8  # correlation of their coarse structure
MOST_TRIED = 32  # pairs, evenly spread
TRIED_SLICES = 4  # of the frames, in the middle half


def neighbours_help(volume: np.ndarray) -> bool:
    """Of (slices, rows, columns)."""
    return len(volume) >= FEWEST and _each_help_the_next(volume, MOST_TRIED)


def frames_help(frames: np.ndarray) -> bool:
    """Of (frames, slices, rows, columns): volumes of the same places, in the order in which they were taken."""
    slices = frames.shape[1]
    some = frames[:, slices // 4 : slices - slices // 4 : -(-slices // (2 * TRIED_SLICES))]
    return len(frames) >= FEWEST_FRAMES and _each_help_the_next(some, MOST_TRIED // TRIED_SLICES)


def _each_help_the_next(images: np.ndarray, most: int) -> bool:
    """images: (count, ..., rows, columns); most: pairs of one and the next that are tried."""
    if min(images.shape[-2:]) < 2 * BLOCK:
        return False
    step = -(-(len(images) - 1) // most)
    a, b = (part.reshape(-1, *part.shape[-2:]) for part in (images[:-1:step], images[1::step]))
    means = block_means(a), block_means(b)
    if min(of_one.std() for of_one in means) == 0 or np.corrcoef(*means)[0, 1] < ALIKE:
        return False
    shown = own_noise(a, b)
    return bool(shown) and float(np.median(shown)) > OWN
