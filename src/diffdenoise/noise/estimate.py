"""Noise level from noisy images alone, as a function of intensity.

The diagonal Haar detail d = (a - b - c + e) / 2 of each 2x2 block cancels constant and linear structure and keeps white
noise at its full standard deviation (Donoho & Johnstone 1994). Its size is read off separately in bins of local
brightness, because noise often depends on it: Rician noise is weaker in air, Poisson noise grows with the signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

QUANTILE = 0.25  # a low quantile of |d| is hardly touched by edges; the median of Donoho is, on fine anatomy
QUANTILE_OF_NORMAL = 0.31863936  # the same quantile of |z|, z standard normal
MOST_BLOCKS = 500_000
FEWEST_BLOCKS = 200  # per bin


@dataclass(frozen=True)
class NoiseLevel:
    """Standard deviation `sigma` at each brightness `knots` (rising), in the images' unit; linear in between."""

    knots: tuple[float, ...]
    sigma: tuple[float, ...]

    def variance(self, brightness: np.ndarray) -> np.ndarray:
        """Noise variance at each pixel of a (nearly) clean image, same shape."""
        return np.interp(brightness, self.knots, np.square(self.sigma)).astype(np.float32)

    @property
    def typical(self) -> float:
        """One figure: the median over the brightness bins."""
        return float(np.median(self.sigma))


def constant_level(sigma: float) -> NoiseLevel:
    """A level that does not depend on brightness."""
    return NoiseLevel((0.0,), (float(sigma),))


def estimate_noise(slices: np.ndarray, bins: int = 12) -> NoiseLevel:
    """Noise level of (slices, rows, columns), assuming noise independent between pixels.

    Places without any variation over 6x6 pixels (a background set to a constant) carry no noise and do not count; sigma
    is 0 if nothing else is left. Images of few grey levels are fine: the levels' width counts as part of the noise.
    """
    detail, brightness = _haar(slices)
    if detail.size > MOST_BLOCKS:
        chosen = np.random.default_rng(0).choice(detail.size, MOST_BLOCKS, replace=False)
        detail, brightness = detail[chosen], brightness[chosen]
    detail = _spread_levels(detail)
    bins = min(bins, detail.size // FEWEST_BLOCKS)
    if bins < 1:
        return constant_level(_sigma(detail))
    edges = np.unique(np.quantile(brightness, np.linspace(0, 1, bins + 1)))
    if len(edges) < 2:
        return constant_level(_sigma(detail))
    index = np.clip(np.searchsorted(edges, brightness, side="right") - 1, 0, len(edges) - 2)
    groups = [index == number for number in range(len(edges) - 1)]
    groups = [group for group in groups if group.any()]
    knots = [float(np.median(brightness[group])) for group in groups]
    return NoiseLevel(tuple(knots), tuple(_sigma(detail[group]) for group in groups))


def _sigma(detail: np.ndarray) -> float:
    return float(np.quantile(np.abs(detail), QUANTILE) / QUANTILE_OF_NORMAL) if detail.size else 0.0


def _haar(slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(detail, brightness) of each 2x2 block that varies, flat; brightness is averaged over 3x3 blocks."""
    from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

    x = slices[:, : slices.shape[1] // 2 * 2, : slices.shape[2] // 2 * 2].astype(np.float32)
    a, b, c, e = x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]
    parts = np.stack([a, b, c, e])
    near = (1, 3, 3)
    varies = maximum_filter(parts.max(0), near) > minimum_filter(parts.min(0), near)
    brightness = uniform_filter(parts.mean(0), near, mode="nearest")
    return ((a - b - c + e) / 2)[varies], brightness[varies]


def _spread_levels(detail: np.ndarray) -> np.ndarray:
    """Details of images with few grey levels, spread evenly over the width of a level; others unchanged.

    A quantile of numbers on a coarse lattice would itself lie on the lattice.
    """
    levels = np.unique(np.round(np.abs(detail[:20_000]) / max(np.abs(detail).max(initial=0), 1e-30), 5))
    if not 2 <= len(levels) <= 2000:
        return detail
    step = float(np.median(np.diff(levels))) * np.abs(detail).max()
    return detail + step * (np.random.default_rng(1).random(detail.shape) - 0.5)
