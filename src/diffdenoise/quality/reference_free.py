"""Checks of a result that need no reference."""

from __future__ import annotations

import numpy as np

FEWEST = 50  # pixels in a brightness bin


def worst_bias(noisy: np.ndarray, denoised: np.ndarray, bins: int = 8) -> float:
    """The largest brightness shift, in units of the removed noise; about 0 for a denoiser that only takes noise away.

    Both (slices, rows, columns). For each bin of the result's brightness |median| / spread of noisy - denoised, the
    spread being 1.4826 times the median absolute deviation. 0 where nothing was removed.
    """
    removed, brightness = (noisy - denoised).ravel(), denoised.ravel()
    step = max(1, removed.size // 1_000_000)
    removed, brightness = removed[::step], brightness[::step]
    edges = np.unique(np.quantile(brightness, np.linspace(0, 1, bins + 1)))
    index = np.searchsorted(edges[1:-1], brightness, side="right")
    return max((_shift(removed[index == number]) for number in range(bins)), default=0.0)


def _shift(removed: np.ndarray) -> float:
    if removed.size < FEWEST:
        return 0.0
    middle = np.median(removed)
    spread = 1.4826 * np.median(np.abs(removed - middle))
    return float(abs(middle) / spread) if spread > 0 else 0.0
