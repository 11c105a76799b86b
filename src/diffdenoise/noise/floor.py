"""What the noise adds to dark places of magnitude images, its floor, and how it is taken off a result.

A denoiser of magnitudes estimates the mean E[M | A] (see `rician`); the inverse of A -> E[M | A] takes the floor off.
At the floor it is infinitely steep: a denoiser that is off by e there becomes a signal of about sqrt(3 e sigma), or
none at all where there is some. The mean of A given that estimate and what the image holds is the better guess.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from diffdenoise.noise.differences import deviation_of
from diffdenoise.noise.looked import MOST_PIXELS
from diffdenoise.noise.rician import APART, FEWEST_DARK, moments, of_most

NEAR_FLOOR = 0.3  # of the floor; estimates so near to it are taken for empty places, to see how far off they are
WITHIN = 3.0  # times as far off as those are; of a place that may be empty
AROUND, SUREST = 15, 0.9  # pixels; side of the square that tells whether a place is empty, and how sure one may be
MOSTLY = 0.4  # share of such a square that may be empty; where less is, nothing is
LEAST_OFF = 0.15  # sigma; how far off estimates are where there is signal, at least: more than in empty places
STRONGEST_WEAK, FINE = 6.0, 1201  # sigma; the strongest of weak signals, and entries of their table
WEAK, SUPPOSED = 2.0, 100  # sigma; mean of weak signals, and in how many pixels, before the image tells
LEAST_ERROR = 1e-3  # sigma


def without_floor(magnitude: np.ndarray, sigma: float) -> np.ndarray:
    """The signal of which the mean magnitude is this; 0 where it is the floor or less. Same shape and dtype."""
    signal, mean, *_ = moments()
    of_sigma = magnitude / sigma
    strong = of_sigma - 0.5 / np.maximum(of_sigma, 1)  # the first two terms of a series, right to 1e-4 there
    inverted = sigma * np.where(of_sigma > mean[-1], strong, np.interp(of_sigma, mean, signal))
    return inverted.astype(magnitude.dtype)


class Inverse(Protocol):
    """From magnitudes (rows, columns) to signals, same shape and dtype; told_by: what tells the empty places, if not
    they themselves.
    """

    def __call__(self, magnitude: np.ndarray, told_by: np.ndarray | None = None) -> np.ndarray:
        """The signals."""


def inverse_of(estimates: np.ndarray, sigma: float) -> Inverse:
    """What takes the floor off slices of a denoiser's estimates of mean magnitudes (slices, rows, columns).

    sigma: a channel's. Empty places are those around which many are within a few e of the floor, e read from those near
    it, and on the mean no higher than most such places are: weak signal lifts that. p0 is how likely such a place is
    empty, 0 outside them. What signals there are elsewhere, p(A), is read from the plain inverse there (empirical
    Bayes). Then

        E[A | m] = (1 - p0) int A w(A) dA / (p0 N(m; E[M | 0], e) + (1 - p0) int w(A) dA)

    with w(A) = N(m; E[M | A], max(e, LEAST_OFF)) p(A). It is the plain inverse, `without_floor`, where next to nothing
    is empty, or the estimates are exact.
    """

    def plain(magnitude: np.ndarray, told_by: np.ndarray | None = None) -> np.ndarray:
        return without_floor(magnitude, sigma)

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

    def inverse(magnitude: np.ndarray, told_by: np.ndarray | None = None) -> np.ndarray:
        of_sigma, p0 = magnitude / sigma, chance(magnitude if told_by is None else told_by)
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
    middle, spread = of_most(values) if values.size else (0.0, 0.0)
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
