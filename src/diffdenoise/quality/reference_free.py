"""Checks of a result that need no reference."""

from __future__ import annotations

import numpy as np

from diffdenoise.noise.looked import some_places

FEWEST = 50  # pixels in a brightness bin
NEGLIGIBLE = 0.005
MOST_PIXELS = 1_000_000  # looked at


def worst_bias(noisy: np.ndarray, denoised: np.ndarray, bins: int = 8) -> float:
    """The largest brightness shift, in units of the removed noise; about 0 for a denoiser that only takes noise away.

    Both (slices, rows, columns). The largest |median| of noisy - denoised over bins of the result's brightness, divided
    by the largest spread in a bin (1.4826 times the median absolute deviation): a masked background has none of its
    own. 0 where nothing was removed, and for a shift below NEGLIGIBLE of the result's range.
    """
    places = some_places(noisy.size, MOST_PIXELS)
    brightness = denoised.ravel()[places]
    removed = noisy.ravel()[places] - brightness
    edges = np.unique(np.quantile(brightness, np.linspace(0, 1, bins + 1)))
    index = np.searchsorted(edges[1:-1], brightness, side="right")
    groups = [removed[index == number] for number in range(bins)]
    medians = [(group, np.median(group)) for group in groups if group.size >= FEWEST]
    shift = max((abs(median) for _, median in medians), default=0.0)
    spread = max((1.4826 * np.median(np.abs(group - median)) for group, median in medians), default=0.0)
    low, high = np.percentile(brightness, [1, 99])
    return float(shift / spread) if spread > 0 and shift > NEGLIGIBLE * (high - low) else 0.0
