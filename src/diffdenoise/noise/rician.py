"""Rician noise: the magnitude M = |A + sigma (n + i m)| of a complex MR signal A, its moments and its floor.

With q = A^2 / (2 sigma^2) and F the confluent hypergeometric function 1F1 (Rice 1944; Koay & Basser 2006):

    E[M^k] = (2 sigma^2)^(k/2) Gamma(1 + k/2) F(-k/2, 1, -q)

so that in the dark (A = 0) the mean is 1.253 sigma, the floor, the deviation 0.655 sigma, and the skewness 0.63.
A denoiser of magnitudes estimates the mean E[M | A]; the inverse of A -> E[M | A] takes the floor off. At the floor
it is infinitely steep: a denoiser that is off by e there becomes a signal of about sqrt(3 e sigma). Where much of an
image is empty the mean of A given that estimate and what the image holds is the better guess (`inverse_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from diffdenoise.noise.differences import deviation_of
from diffdenoise.noise.looked import MOST_PIXELS, Looked

RAYLEIGH_RATIO, RAYLEIGH_SKEWNESS = (1.7, 2.1), (0.4, 0.9)  # accepted around 1.91 and 0.63
DARK = 0.2  # share of the pixels, the darkest; their median is the background's brightness
FEWEST_DARK = 500  # pixels
WIDE = 8.0  # pixels; over which the brightness of a background is taken first
STRONGEST = 20.0  # sigma; signals of the tables; the noise of a stronger one is Gaussian
POINTS = 401
NEAR_FLOOR = 0.3  # of the floor; estimates so near to it are taken for empty places, to see how far off they are
AROUND, SUREST = 15, 0.9  # pixels; side of the square that tells whether a place is empty, and how sure one may be
WEAK, STRONGEST_WEAK, FINE = 2.0, 6.0, 1201  # sigma; mean of weak signals, the strongest, and entries of their table
LEAST_ERROR = 1e-3  # sigma


@cache
def moments() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(signal, mean, deviation, skewness) of magnitudes, rising signals of 0 to 20, all in units of sigma."""
    from scipy.special import gamma, hyp1f1

    signal = np.linspace(0, STRONGEST, POINTS)
    raw = lambda k: 2 ** (k / 2) * gamma(1 + k / 2) * hyp1f1(-k / 2, 1, -(signal**2) / 2)  # noqa: E731
    mean, square, cube = raw(1), raw(2), raw(3)
    variance = square - mean**2
    return signal, mean, np.sqrt(variance), (cube - 3 * mean * variance - mean**3) / variance**1.5


def deviation_at(brightness: np.ndarray, sigma: float) -> np.ndarray:
    """Standard deviation of the noise where the mean magnitude is `brightness`, in the unit of sigma."""
    _, mean, deviation, _ = moments()
    return sigma * np.interp(brightness / sigma, mean, deviation)


def skewness_at(brightness: np.ndarray, sigma: float) -> np.ndarray:
    """Skewness of the noise where the mean magnitude is `brightness`."""
    _, mean, _, skewness = moments()
    return np.interp(brightness / sigma, mean, skewness)


def without_floor(magnitude: np.ndarray, sigma: float) -> np.ndarray:
    """The signal of which the mean magnitude is this; 0 where it is the floor or less. Same shape and dtype."""
    signal, mean, _, _ = moments()
    of_sigma = magnitude / sigma
    strong = of_sigma - 0.5 / np.maximum(of_sigma, 1)  # the first two terms of a series, right to 1e-4 there
    inverted = sigma * np.where(of_sigma > mean[-1], strong, np.interp(of_sigma, mean, signal))
    return inverted.astype(magnitude.dtype)


def inverse_of(estimates: np.ndarray, sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """What takes the floor off slices of a denoiser's estimates of mean magnitudes (slices, rows, columns).

    It maps an image (rows, columns) to the same shape and dtype; sigma: a channel's. How far off the estimates are, e,
    is read from those near the floor; p0, how likely a place is empty, from how many around it are that dark. With a
    prior of weak signals p(A) elsewhere, the expected signal is

        E[A | m] = (1 - p0) int A w(A) dA / (p0 N(m; E[M | 0], e) + (1 - p0) int w(A) dA)

    with w(A) = N(m; E[M | A], e) p(A). It is the plain inverse, `without_floor`, where next to nothing is empty, or
    the estimates are exact.
    """
    from scipy.ndimage import uniform_filter

    plain = partial(without_floor, sigma=sigma)
    table, mean, _, _ = moments()
    looked = estimates.ravel()[:: 1 + estimates.size // MOST_PIXELS] / sigma
    empty = looked[np.abs(looked / mean[0] - 1) < NEAR_FLOOR]
    error = deviation_of(empty - mean[0]) if empty.size else 0.0
    if empty.size < FEWEST_DARK or error < LEAST_ERROR:
        return plain
    signal = np.linspace(0, STRONGEST_WEAK, FINE)
    expected = np.interp(signal, table, mean)
    seen = np.linspace(0, expected[-1] - 5 * error, FINE)
    likely = np.exp(-0.5 * ((seen[:, None] - expected) / error) ** 2)
    prior = likely * np.exp(-signal / WEAK) / WEAK * signal[1]
    tables = likely[:, 0], prior.sum(1), (prior * signal).sum(1)

    def inverse(magnitude: np.ndarray) -> np.ndarray:
        of_sigma = magnitude / sigma
        dark = of_sigma < (1 + NEAR_FLOOR) * mean[0]
        around = uniform_filter(dark.astype(np.float32), AROUND, mode="nearest")
        p0 = np.clip(around, 1 - SUREST, SUREST)
        none, some, moment = (np.interp(of_sigma, seen, values) for values in tables)
        weak = (1 - p0) * moment / np.maximum(p0 * none + (1 - p0) * some, 1e-300)
        is_weak = np.clip(seen[-1] - of_sigma, 0, 1)  # over the table's last sigma into the plain inverse
        return (is_weak * sigma * weak + (1 - is_weak) * plain(magnitude)).astype(magnitude.dtype)

    return inverse


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
        if _is_rayleigh(x[dark]):
            return dark
    return None


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
