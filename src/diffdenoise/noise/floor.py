"""What the noise adds to dark places of magnitude images, its floor, and how it is taken off a result.

A denoiser of magnitudes estimates the mean E[M | A] (see `rician`); the inverse of A -> E[M | A] takes the floor off.
At the floor it is infinitely steep: a denoiser that is off by e there becomes a signal of about sqrt(3 e sigma), or
none at all where there is some. The mean of A given that estimate and what the image holds is the better guess.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from diffdenoise.noise.differences import deviation_of
from diffdenoise.noise.looked import MOST_PIXELS, some_places
from diffdenoise.noise.rician import FEWEST_DARK, moments, of_most

NEAR_FLOOR = 0.3  # of the floor; estimates so near to it are taken for empty places, to see how far off they are
WITHIN = 3.0  # times as far off as those are; of a place that may be empty
AROUND = 5.0  # pixels; standard deviation of the window in which may be empty
MOSTLY = (0.3, 0.6)  # share of it that may be: below, a place is not empty; from there on it is, as far as that tells
LIFTED = (2.0, 6.0)  # standard deviations that the mean of those may be above that of most: empty, and surely not
SUREST = 0.9  # of a place where both tell that it is empty
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

    sigma: a channel's. How far off the estimates are, e, is read from those near the floor. What signals there are,
    p(A), is read from the plain inverse where places are not empty (empirical Bayes). With p0 the chance that there is
    none, the expected signal of an estimate m is

        E[A | m] = (1 - p0) int A w(A) dA / (p0 N(m; E[M | 0], e) + (1 - p0) int w(A) dA)

    with w(A) = N(m; E[M | A], max(e, LEAST_OFF)) p(A). With p0 = SUREST it is taken in empty places, with 0 elsewhere,
    and from one to the other as a place is more or less so (`_emptiness`). It is the plain inverse, `without_floor`,
    where next to nothing is empty, or the estimates are exact.
    """

    def plain(magnitude: np.ndarray, told_by: np.ndarray | None = None) -> np.ndarray:
        return without_floor(magnitude, sigma)

    floor = moments().mean[0]
    looked = estimates.ravel()[some_places(estimates.size, MOST_PIXELS)] / sigma
    empty = looked[np.abs(looked / floor - 1) < NEAR_FLOOR]
    error = deviation_of(empty - floor) if empty.size else 0.0
    if empty.size < FEWEST_DARK or error < LEAST_ERROR:
        return plain
    images = estimates[:: 1 + estimates.size // MOST_PIXELS]
    emptiness = _emptiness(images, sigma * (floor + WITHIN * error))
    elsewhere = np.concatenate([plain(image)[emptiness(image) == 0] for image in images])
    seen, if_empty, if_not = _expected_signals(elsewhere / sigma, error)

    def inverse(magnitude: np.ndarray, told_by: np.ndarray | None = None) -> np.ndarray:
        of_sigma, share = magnitude / sigma, emptiness(magnitude if told_by is None else told_by)
        best = share * np.interp(of_sigma, seen, if_empty) + (1 - share) * np.interp(of_sigma, seen, if_not)
        is_weak = np.clip(seen[-1] - of_sigma, 0, 1)  # over the table's last sigma into the plain inverse
        return (is_weak * sigma * best + (1 - is_weak) * plain(magnitude)).astype(magnitude.dtype)

    return inverse


def deviations_of_signal(magnitudes: np.ndarray, deviations: np.ndarray, inverse: Inverse) -> np.ndarray:
    """Deviations around mean magnitudes (slices, rows, columns), of what is left when `inverse_of` takes the floor off.

    Same shape; where the magnitudes are near the floor the signals are less certain than they.
    """
    pairs = zip(magnitudes, deviations, strict=True)
    ends = ((inverse(mean + off, told_by=mean), inverse(mean - off, told_by=mean)) for mean, off in pairs)
    return np.stack([np.abs(above - below) / 2 for above, below in ends])


def _emptiness(images: np.ndarray, below: float) -> Callable[[np.ndarray], np.ndarray]:
    """From an image (rows, columns) to how empty each place is, 0 to 1; images: that tell how dark empty places are.

    What is below the given magnitude may be empty. A place is if most around it may be, and if their mean is that of
    most such places: weak signal lifts it by what a pixel does not show, but many do.
    """
    around = [_dark_around(image, below) for image in images]
    means = np.concatenate([mean[share >= np.mean(MOSTLY)] for share, mean in around])
    middle, spread = of_most(means) if means.size else (0.0, 0.0)
    least, most = (middle + times * spread for times in LIFTED)

    def emptiness(image: np.ndarray) -> np.ndarray:
        share, mean = _dark_around(image, below)
        return np.interp(share, MOSTLY, (0, 1)) * np.interp(mean, (least, most), (1, 0))

    return emptiness


def _dark_around(image: np.ndarray, below: float) -> tuple[np.ndarray, np.ndarray]:
    """For each place, of the window around it: the share that is below, and the mean of that."""
    from scipy.ndimage import gaussian_filter

    dark = (image < below).astype(np.float64)
    share, product = (gaussian_filter(x, AROUND, mode="nearest") for x in (dark, dark * image))
    return share, product / np.maximum(share, 1e-6)


def _expected_signals(found: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(estimates, E[A | m] of each where p0 is SUREST, and where it is 0), of sigma; found: the image's own signals."""
    signal = np.linspace(0, STRONGEST_WEAK, FINE)
    counts = np.exp(-signal / WEAK)
    counts *= SUPPOSED / counts.sum()
    numbers = np.rint(found / signal[1]).astype(np.int64)
    counts += np.bincount(numbers[numbers < FINE], minlength=FINE)
    table, mean, *_ = moments()
    off, expected = max(error, LEAST_OFF), np.interp(signal, table, mean)
    seen = np.linspace(mean[0], expected[-1] - 5 * off, FINE)  # what is below the floor is as at the floor
    likely = np.exp(-0.5 * ((seen[:, None] - expected) / off) ** 2) / off * (counts / counts.sum())
    none, some, moment = np.exp(-0.5 * ((seen - mean[0]) / error) ** 2) / error, likely.sum(1), likely @ signal
    best = ((1 - p0) * moment / np.maximum(p0 * none + (1 - p0) * some, 1e-300) for p0 in (SUREST, 0.0))
    return seen, *best
