"""Noise level and correlation length from noisy images alone; the level as a function of brightness.

The mixed difference at spacing h,

    D_h = (x[i, j] - x[i, j+h] - x[i+h, j] + x[i+h, j+h]) / 2,

cancels constant and linear structure. For white noise its standard deviation is the noise's own at every h (h = 1 is
the diagonal Haar detail of Donoho & Johnstone 1994); noise that is correlated over r pixels cancels too while h <= r
and shows in full from h = r + 1 on. So sigma(D_h) rises with h and then stays: where it stops rising is the
correlation's reach, and there stands the noise level. Anatomy must not count as noise: only the flattest places of each
brightness are looked at, by the gradient of the smoothed image, and of those a low quantile of |D_h|.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

QUANTILE = 0.25  # the median of Donoho would feel fine anatomy
QUANTILE_OF_NORMAL = 0.31863936  # the same quantile of |z|, z standard normal
MOST_VALUES = 500_000
MOST_PIXELS = 4_000_000  # looked at, in evenly spread slices
FEWEST_VALUES = 1000  # per brightness bin
LONGEST_REACH = 4  # pixels; beyond it a hidden patch would leave too little to predict from
FLATTEST = 0.25  # share of the places, at each brightness, that counts
SMOOTHING = 2.0  # pixels; of the gradient that tells flat places
FAINT = 0.25  # of the loudest bin: less is no noise
STILL_RISING = 1.1  # sigma at the next spacing over sigma at this one


@dataclass(frozen=True)
class NoiseLevel:
    """Standard deviation `sigma` at each brightness `knots` (rising), in the images' unit; linear in between.

    reach: the noise is correlated over so many pixels, 0 for white noise.
    """

    knots: tuple[float, ...]
    sigma: tuple[float, ...]
    reach: int = 0

    def variance(self, brightness: np.ndarray) -> np.ndarray:
        """Noise variance at each pixel of a (nearly) clean image, same shape."""
        return np.interp(brightness, self.knots, np.square(self.sigma)).astype(np.float32)

    @property
    def typical(self) -> float:
        """One figure: the median over the brightness bins."""
        return float(np.median(self.sigma))


def constant_level(sigma: float) -> NoiseLevel:
    """A level that does not depend on brightness, of white noise."""
    return NoiseLevel((0.0,), (float(sigma),))


def estimate_noise(slices: np.ndarray, reach: int | None = None, bins: int = 12) -> NoiseLevel:
    """Noise level of (slices, rows, columns); reach: of its correlation in pixels, None to estimate that, too.

    Places without any variation (a background set to a constant) carry no noise and do not count; sigma is 0 if
    nothing else is left. Images of few grey levels are fine: the levels' width counts as part of the noise.
    """
    slices = slices[:: max(1, slices.size // MOST_PIXELS)]
    if reach is None:
        reach = estimate_reach(slices)
    groups = _groups(slices, reach + 1, bins)
    if not groups:
        return constant_level(0.0)
    return NoiseLevel(tuple(knot for knot, _ in groups), tuple(_sigma(detail) for _, detail in groups), reach)


def estimate_reach(slices: np.ndarray) -> int:
    """Over how many pixels the noise of (slices, rows, columns) is correlated, 0 to LONGEST_REACH.

    The least over the brightness bins: anatomy makes sigma rise in some of them, correlated noise in all. Bins with
    next to no noise (a masked background) have no say.
    """
    slices = slices[:: max(1, slices.size // MOST_PIXELS)]
    last = min(LONGEST_REACH + 2, min(slices.shape[1:]) // 4)
    levels = [[_sigma(detail) for _, detail in _groups(slices, spacing, 4)] for spacing in range(1, last + 1)]
    bins = list(zip(*levels, strict=False))
    loudest = max((sigmas[0] for sigmas in bins), default=0.0)
    return min((_stops_rising(sigmas) for sigmas in bins if sigmas[0] >= FAINT * loudest > 0), default=0)


def _stops_rising(sigmas: tuple[float, ...]) -> int:
    """Index of the first sigma that the next one exceeds by less than a tenth."""
    pairs = enumerate(pairwise(sigmas))
    return next((index for index, (here, further) in pairs if further <= STILL_RISING * here), len(sigmas) - 2)


def _sigma(detail: np.ndarray) -> float:
    return float(np.quantile(np.abs(detail), QUANTILE) / QUANTILE_OF_NORMAL) if detail.size else 0.0


def _groups(slices: np.ndarray, spacing: int, bins: int) -> list[tuple[float, np.ndarray]]:
    """(brightness, D_h of the flattest places) of each brightness bin, dark to bright; empty if nothing varies."""
    detail, brightness, slope = _differences(slices, spacing)
    bins = max(1, min(bins, int(FLATTEST * detail.size) // FEWEST_VALUES))
    edges = np.quantile(brightness, np.linspace(0, 1, bins + 1))[1:-1] if detail.size else np.empty(0)
    index = np.searchsorted(edges, brightness, side="right")
    groups = []
    for group in (index == number for number in range(bins)):
        if group.any():
            flat = slope[group] <= np.quantile(slope[group], FLATTEST)
            groups.append((float(np.median(brightness[group])), detail[group][flat]))
    return groups


def _differences(slices: np.ndarray, spacing: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(D_h, brightness, slope) at places that vary, flat arrays, at most MOST_VALUES of them, spread over all."""
    from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter, shift

    if min(slices.shape[1:]) <= spacing:
        return (np.empty(0, np.float32),) * 3
    x = slices.astype(np.float32)
    corner = (slice(None), slice(None, -spacing), slice(None, -spacing))
    a, b, c, e = x[corner], x[:, :-spacing, spacing:], x[:, spacing:, :-spacing], x[:, spacing:, spacing:]
    near = (1, 2 * spacing + 3, 2 * spacing + 3)
    middle = -((spacing + 1) // 2)  # filters look around the middle of the four pixels
    origin = (0, middle, middle)
    varies = (maximum_filter(x, near, origin=origin) > minimum_filter(x, near, origin=origin))[corner]
    smooth = gaussian_filter(x, (0, SMOOTHING, SMOOTHING))
    smooth = shift(smooth, origin, order=0, mode="nearest")
    slope = np.hypot(*np.gradient(smooth, axis=(1, 2)))
    parts = ((a - b - c + e) / 2)[varies], smooth[corner][varies], slope[corner][varies]
    if parts[0].size > MOST_VALUES:
        chosen = np.random.default_rng(0).choice(parts[0].size, MOST_VALUES, replace=False)
        parts = parts[0][chosen], parts[1][chosen], parts[2][chosen]
    return _spread_levels(parts[0]), parts[1], parts[2]


def _spread_levels(detail: np.ndarray) -> np.ndarray:
    """Differences of images with few grey levels, spread evenly over the width of a level; others unchanged.

    A quantile of numbers on a coarse lattice would itself lie on the lattice.
    """
    peak = np.abs(detail).max(initial=0)
    levels = np.unique(np.round(np.abs(detail[:20_000]) / max(peak, 1e-30), 5))
    if not 2 <= len(levels) <= 2000:
        return detail
    step = float(np.median(np.diff(levels))) * peak
    return detail + step * (np.random.default_rng(1).random(detail.shape) - 0.5)
