"""Whether neighbouring slices, or the frames of a series, help: they show much the same, each with noise of its own.

Then the noise of one cannot be told from the others, and all that they tell about it is signal. Slices that were
interpolated, or reconstructed so that they overlap, share their noise, as do frames that were filtered in time;
unrelated images share nothing else. Between frames the anatomy cancels, so their differences tell it alone: those of
one frame and the next are as noisy as those of one and the next but one.
"""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.differences import flat_sigmas
from diffdenoise.noise.looked import look
from diffdenoise.noise.repetition import BINS, BLOCK, block_means, own_noise

FEWEST = 3  # slices, frames
OWN_IN_TIME = 0.9  # noise in the differences of one frame and the next, over that of one and the next but one
OWN = 0.85  # noise in the difference over noise in the sum of neighbours, in the median: a correlation of 0.16
ALIKE = 0.8  # correlation of their coarse structure
MOST_TRIED = 32  # pairs, evenly spread
TRIED_SLICES = 4  # of the frames, in the middle half


def neighbours_help(volume: np.ndarray) -> bool:
    """Of (slices, rows, columns)."""
    return own_between(volume) > OWN


def neighbours_share_noise(volume: np.ndarray) -> bool:
    """Whether some of a slice's noise can be told from the next one; False where that is not known."""
    return 0 < own_between(volume) <= OWN


def own_between(volume: np.ndarray) -> float:
    """Noise in the difference over noise in the sum of neighbours; 0 where they are too few, or unlike, to tell."""
    if len(volume) < FEWEST:
        return 0.0
    step = -(-(len(volume) - 1) // MOST_TRIED)
    a, b = volume[:-1:step], volume[1::step]
    return _median(own_noise(a, b)) if _alike(a, b) else 0.0


def frames_help(images: np.ndarray, count: int) -> bool:
    """Of (slices, rows, columns): `count` volumes of the same places, in the order in which they were taken."""
    if count < FEWEST:
        return False
    frames, slices = images.reshape(count, -1, *images.shape[1:]), len(images) // count
    some = frames[:, slices // 4 : slices - slices // 4 : -(-slices // (2 * TRIED_SLICES))]
    step = -(-len(some) // (MOST_TRIED // TRIED_SLICES))
    threes = [some[t : t + 3] for t in range(0, len(some) - 2, step)]
    alike = np.median([_alike(a, b) for a, b, _ in threes])
    return bool(alike) and _median([ratio for three in threes for ratio in own_in_time(*three)]) > OWN_IN_TIME


def own_in_time(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> list[float]:
    """Noise in a - b over noise in a - c at each of a few brightnesses, of stacks that were taken one after the other.

    sqrt((1 - rho_1) / (1 - rho_2)), with the noise's correlations at a distance of one frame and of two.
    """
    near, far = (flat_sigmas(look(a, again=other), 1, BINS) for other in (b, c))
    return [one.sigma / two.sigma for one, two in zip(near, far, strict=False) if two.sigma > 0]


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the coarse structure of two stacks is."""
    if min(a.shape[1:]) < 2 * BLOCK:
        return False
    means = block_means(a), block_means(b)
    return bool(min(of_one.std() for of_one in means) > 0 and np.corrcoef(*means)[0, 1] >= ALIKE)


def _median(shown: list[float]) -> float:
    return float(np.median(shown)) if shown else 0.0
