"""Rician noise: the magnitude M = |A + sigma (n + i m)| of a complex MR signal A, its moments, and what shows sigma.

With q = A^2 / (2 sigma^2) and F the confluent hypergeometric function 1F1 (Rice 1944; Koay & Basser 2006):

    E[M^k] = (2 sigma^2)^(k/2) Gamma(1 + k/2) F(-k/2, 1, -q)

so that in the dark (A = 0) the mean is 1.253 sigma, the floor, the deviation 0.655 sigma, and the skewness 0.63.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from diffdenoise.noise.differences import deviation_of
from diffdenoise.noise.looked import Looked

RAYLEIGH_RATIO, RAYLEIGH_SKEWNESS = (1.7, 2.1), (0.4, 0.9)  # accepted around 1.91 and 0.63
DARK = 0.2  # share of the pixels, the darkest; their median is the background's brightness
FEWEST_DARK = 500  # pixels
APART, MOST_ASKED = 3.0, 100_000  # standard deviations from the middle of the dark; places that tell that
WIDE = 8.0  # pixels; over which the brightness of a background is taken first
STRONGEST = 20.0  # sigma; signals of the tables; the noise of a stronger one is Gaussian
POINTS = 401


class Moments(NamedTuple):
    """Of magnitudes, for rising signals of 0 to 20, all in units of sigma; excess: kurtosis over that of Gauss.

    dark: the share of the variance that is not in proportion to the noise of the channels. Noises that correlate by rho
    make a part of the magnitudes' variance that does, too, by Hermite's expansion of M the square of the derivative of
    the mean; the rest correlates by rho^2 and higher powers, and is all where there is no signal.
    """

    signal: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    skewness: np.ndarray
    excess: np.ndarray
    dark: np.ndarray


@cache
def moments() -> Moments:
    """The tables."""
    from scipy.special import gamma, hyp1f1

    signal = np.linspace(0, STRONGEST, POINTS)
    raw = lambda k: 2 ** (k / 2) * gamma(1 + k / 2) * hyp1f1(-k / 2, 1, -(signal**2) / 2)  # noqa: E731
    mean, square, cube, fourth = (raw(k) for k in (1, 2, 3, 4))
    variance = square - mean**2
    third = cube - 3 * mean * square + 2 * mean**3
    fourth = fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4
    dark = 1 - np.square(np.gradient(mean, signal, edge_order=2)) / variance
    skewness, excess = third / variance**1.5, fourth / variance**2 - 3
    return Moments(signal, mean, np.sqrt(variance), skewness, excess, dark.clip(0, 1))


def deviation_at(brightness: np.ndarray, sigma: float) -> np.ndarray:
    """Standard deviation of the noise where the mean magnitude is `brightness`, in the unit of sigma."""
    of = moments()
    return sigma * np.interp(brightness / sigma, of.mean, of.deviation)


def skewness_at(brightness: np.ndarray, sigma: float) -> np.ndarray:
    """Skewness of the noise where the mean magnitude is `brightness`."""
    of = moments()
    return np.interp(brightness / sigma, of.mean, of.skewness)


def rician_sigma(looked: Looked) -> float:
    """Sigma of each channel, where it is looked at as 1 times as strong, if the background is Rayleigh, else 0."""
    empty = empty_places(looked)
    if empty is None:
        return 0.0
    return float(np.sqrt(np.mean(np.square(_as_strong(looked, looked.x)[empty], dtype=np.float64)) / 2))


def empty_places(looked: Looked) -> np.ndarray | None:
    """Where what is looked at is an empty background, (slices, rows, columns), if that is Rayleigh; None if not.

    Places are as bright as the dark ones around: on the mean over many pixels, for that of correlated noise varies; or,
    where the background is too small for that, over few.
    """
    from scipy.ndimage import gaussian_filter

    if looked.x.min() < 0 or not looked.alive.any():
        return None
    x = _as_strong(looked, looked.x)
    for brightness in (gaussian_filter(looked.x, (0, WIDE, WIDE)), looked.brightness):
        around = _as_strong(looked, brightness)
        middle = np.quantile(around[looked.alive], DARK / 2)
        dark = looked.alive & (np.abs(around / max(middle, 1e-30) - 1) < 0.3)
        # Of dark places alone: what is bright would be seen from afar, and air near the head left out.
        total, share = (gaussian_filter(part, (0, WIDE, WIDE)) for part in (np.where(dark, x, 0), dark.astype(x.dtype)))
        dark = _alike(dark, np.divide(total, share, out=np.zeros_like(x), where=dark))
        if _is_rayleigh(x[dark]):
            return dark
    return None


def _alike(dark: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Those of the dark places that are as bright as most, as far as those below these spread.

    Weak signal lifts magnitudes little, and hides on the bright side.
    """
    if not dark.any():
        return dark
    middle, spread = of_most(around[dark])
    return dark & (np.abs(around - middle) <= APART * spread)


def of_most(values: np.ndarray) -> tuple[float, float]:
    """The middle of most values, and the deviation of those below it from it."""
    values = np.sort(values[:: 1 + values.size // MOST_ASKED])
    middle = float(np.median(_closest_half(_closest_half(values))))
    return middle, deviation_of(middle - values[values <= middle])


def _closest_half(values: np.ndarray) -> np.ndarray:
    """Of sorted values those that are closest together."""
    half = (len(values) + 1) // 2
    first = int(np.argmin(values[half - 1 :] - values[: len(values) - half + 1]))
    return values[first : first + half]


def _as_strong(looked: Looked, values: np.ndarray) -> np.ndarray:
    """Divided by how many times as strong as elsewhere the noise is taken to be."""
    return values if looked.over is None else values / looked.over


def _is_rayleigh(dark: np.ndarray) -> bool:
    if dark.size < FEWEST_DARK or dark.std() == 0:
        return False
    dark = dark.astype(np.float64)  # cubes of large numbers are beyond single precision
    ratio, skewness = dark.mean() / dark.std(), np.mean((dark - dark.mean()) ** 3) / dark.std() ** 3
    return all(low < value < high for value, (low, high) in ((ratio, RAYLEIGH_RATIO), (skewness, RAYLEIGH_SKEWNESS)))


def magnitude_correlation(rho: np.ndarray) -> np.ndarray:
    """Of the magnitudes in an empty background, where the noise of each channel correlates by rho; same shape."""
    from scipy.special import hyp2f1

    return np.pi / 4 * (hyp2f1(-0.5, -0.5, 1, np.square(rho)) - 1) / (1 - np.pi / 4)
