"""Rician noise: the magnitude M = |A + sigma (n + i m)| of a complex MR signal A, its moments and its floor.

With q = A^2 / (2 sigma^2) and F the confluent hypergeometric function 1F1 (Rice 1944; Koay & Basser 2006):

    E[M^k] = (2 sigma^2)^(k/2) Gamma(1 + k/2) F(-k/2, 1, -q)

so that in the dark (A = 0) the mean is 1.253 sigma, the floor, the deviation 0.655 sigma, and the skewness 0.63.
A denoiser of magnitudes estimates the mean E[M | A]; the inverse of A -> E[M | A] takes the floor off. At the floor
it is infinitely steep: a denoiser that is off by e there becomes a signal of about sqrt(3 e sigma), or none at all
where there is some. The mean of A given that estimate and what the image holds is the better guess (`inverse_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from diffdenoise.noise.differences import deviation_of
from diffdenoise.noise.looked import MOST_PIXELS, Looked

RAYLEIGH_RATIO, RAYLEIGH_SKEWNESS = (1.7, 2.1), (0.4, 0.9)  # accepted around 1.91 and 0.63
DARK = 0.2  # share of the pixels, the darkest; their median is the background's brightness
FEWEST_DARK = 500  # pixels
APART, MOST_ASKED = 3.0, 100_000  # standard deviations from the middle of the dark; places that tell that
WIDE = 8.0  # pixels; over which the brightness of a background is taken first
STRONGEST = 20.0  # sigma; signals of the tables; the noise of a stronger one is Gaussian
POINTS = 401
NEAR_FLOOR = 0.3  # of the floor; estimates so near to it are taken for empty places, to see how far off they are
WITHIN = 3.0  # times as far off as those are; of a place that may be empty
AROUND, SUREST = 15, 0.9  # pixels; side of the square that tells whether a place is empty, and how sure one may be
MOSTLY = 0.4  # share of such a square that may be empty; where less is, nothing is
LEAST_OFF = 0.15  # sigma; how far off estimates are where there is signal, at least: more than in empty places
STRONGEST_WEAK, FINE = 6.0, 1201  # sigma; the strongest of weak signals, and entries of their table
WEAK, SUPPOSED = 2.0, 100  # sigma; mean of weak signals, and in how many pixels, before the image tells
LEAST_ERROR = 1e-3  # sigma


class Moments(NamedTuple):
    """Of magnitudes, for rising signals of 0 to 20, all in units of sigma; excess: kurtosis over that of Gauss."""

    signal: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    skewness: np.ndarray
    excess: np.ndarray


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
    return Moments(signal, mean, np.sqrt(variance), third / variance**1.5, fourth / variance**2 - 3)


def deviation_at(brightness: np.ndarray, sigma: float) -> np.ndarray:
    """Standard deviation of the noise where the mean magnitude is `brightness`, in the unit of sigma."""
    of = moments()
    return sigma * np.interp(brightness / sigma, of.mean, of.deviation)


def skewness_at(brightness: np.ndarray, sigma: float) -> np.ndarray:
    """Skewness of the noise where the mean magnitude is `brightness`."""
    of = moments()
    return np.interp(brightness / sigma, of.mean, of.skewness)


def without_floor(magnitude: np.ndarray, sigma: float) -> np.ndarray:
    """The signal of which the mean magnitude is this; 0 where it is the floor or less. Same shape and dtype."""
    signal, mean, *_ = moments()
    of_sigma = magnitude / sigma
    strong = of_sigma - 0.5 / np.maximum(of_sigma, 1)  # the first two terms of a series, right to 1e-4 there
    inverted = sigma * np.where(of_sigma > mean[-1], strong, np.interp(of_sigma, mean, signal))
    return inverted.astype(magnitude.dtype)


def inverse_of(estimates: np.ndarray, sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    """What takes the floor off slices of a denoiser's estimates of mean magnitudes (slices, rows, columns).

    It maps an image (rows, columns) to the same shape and dtype; sigma: a channel's. Empty places are those around
    which many are within a few e of the floor, e read from those near it, and on the mean no higher than most such
    places are: weak signal lifts that. p0 is how likely such a place is empty, 0 outside them. What signals there are
    elsewhere, p(A), is read from the plain inverse there (empirical Bayes). Then

        E[A | m] = (1 - p0) int A w(A) dA / (p0 N(m; E[M | 0], e) + (1 - p0) int w(A) dA)

    with w(A) = N(m; E[M | A], max(e, LEAST_OFF)) p(A). It is the plain inverse, `without_floor`, where next to nothing
    is empty, or the estimates are exact.
    """
    plain = partial(without_floor, sigma=sigma)
    table, mean, *_ = moments()
    looked = estimates.ravel()[:: 1 + estimates.size // MOST_PIXELS] / sigma
    empty = looked[np.abs(looked / mean[0] - 1) < NEAR_FLOOR]
    error = deviation_of(empty - mean[0]) if empty.size else 0.0
    if empty.size < FEWEST_DARK or error < LEAST_ERROR:
        return plain
    some_images = estimates[:: 1 + estimates.size // MOST_PIXELS]
    below = sigma * (mean[0] + WITHIN * error)
    chance = partial(_chance_of_none, below=below, darkest=_darkest(some_images, below))
    off, signal = max(error, LEAST_OFF), np.linspace(0, STRONGEST_WEAK, FINE)
    expected = np.interp(signal, table, mean)
    seen = np.linspace(mean[0], expected[-1] - 5 * off, FINE)  # what is below the floor is as at the floor
    weak = _signals(some_images, plain, chance, signal * sigma)
    likely = np.exp(-0.5 * ((seen[:, None] - expected) / off) ** 2) / off * weak
    none, some, moment = np.exp(-0.5 * ((seen - mean[0]) / error) ** 2) / error, likely.sum(1), likely @ signal

    def inverse(magnitude: np.ndarray) -> np.ndarray:
        of_sigma, p0 = magnitude / sigma, chance(magnitude)
        of_none, of_some, of_moment = (np.interp(of_sigma, seen, values) for values in (none, some, moment))
        best = (1 - p0) * of_moment / np.maximum(p0 * of_none + (1 - p0) * of_some, 1e-300)
        is_weak = np.clip(seen[-1] - of_sigma, 0, 1)  # over the table's last sigma into the plain inverse
        return (is_weak * sigma * best + (1 - is_weak) * plain(magnitude)).astype(magnitude.dtype)

    return inverse


def _chance_of_none(magnitude: np.ndarray, below: float, darkest: float) -> np.ndarray:
    """How likely each place of an image (rows, columns) is empty, as so many around are below, their mean darkest."""
    share, mean = _dark_around(magnitude, below)
    return np.where((share < MOSTLY) | (mean > darkest), 0, np.minimum(share, SUREST))


def _darkest(images: np.ndarray, below: float) -> float:
    """Up to where the mean of what is below is that of nothing, as in most places that mostly are."""
    around = [_dark_around(image, below) for image in images]
    values = np.concatenate([mean[share >= MOSTLY] for share, mean in around])
    middle, spread = _of_most(values) if values.size else (0.0, 0.0)
    return middle + APART * spread


def _dark_around(magnitude: np.ndarray, below: float) -> tuple[np.ndarray, np.ndarray]:
    """For each place of an image, of the square around it: the share that is below, and the mean of that."""
    from scipy.ndimage import uniform_filter

    dark = (magnitude < below).astype(np.float64)
    share, product = (uniform_filter(x, AROUND, mode="nearest") for x in (dark, dark * magnitude))
    return share, product / np.maximum(share, 1e-6)


def _signals(
    images: np.ndarray,
    plain: Callable[[np.ndarray], np.ndarray],
    chance: Callable[[np.ndarray], np.ndarray],
    signal: np.ndarray,
) -> np.ndarray:
    """Shares of all weak signals that are about these, evenly spaced from 0, where places are not empty."""
    counts = SUPPOSED * np.exp(-signal / (WEAK / STRONGEST_WEAK * signal[-1]))
    counts *= SUPPOSED / counts.sum()
    for image in images:
        found = np.rint(plain(image)[chance(image) == 0] / signal[1]).astype(np.int64)
        counts += np.bincount(found[found < len(counts)], minlength=len(counts))
    return counts / counts.sum()


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
        dark = _alike(dark, around)
        if _is_rayleigh(x[dark]):
            return dark
    return None


def _alike(dark: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Those of the dark places that are as bright as most, as far as those below these spread.

    Weak signal lifts magnitudes little, and hides on the bright side.
    """
    if not dark.any():
        return dark
    middle, spread = _of_most(around[dark])
    return dark & (np.abs(around - middle) <= APART * spread)


def _of_most(values: np.ndarray) -> tuple[float, float]:
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
