"""The texture of noise where it is alone: in the difference of two images of one object (see `repetition`).

No image is there to be kept away from, and so the spectrum is measured frequency by frequency: S, the power of windows,
each in units of its own. Of the shapes of `texture` the likeliest is taken, however strong the noise is (Whittle 1953),
the one with the least

    log(mean of S / P) + mean of log P,  over the frequencies; a tenth of the mean power is added to both.

A scanner drifts between two images: their difference is as smooth as the object is bright, and the lowest frequencies
say nothing. What else moved is in few windows, mostly; so S is found from the windows' median, not their mean.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np

from diffdenoise.noise.looked import Looked
from diffdenoise.noise.rician import rician_sigma
from diffdenoise.noise.texture import DARK, GRAINS, GRID, LOUD, OF_GRAIN, Texture, must_gain, power, shapes
from diffdenoise.threads import made_once

FEWEST, SEEN = 12, 0.95  # windows; of one's pixels, neither masked nor dark
LEAST = 0.1  # of the mean power, added to all: what is off where there is next to none matters little
DRIFT = 4  # lowest frequencies, of GRID / 2; scanners of phantoms have up to 200 times as much there as elsewhere
GAIN = 0.001  # of the mean log likelihood, for each error that a less simple shape must gain
FIRST, KEPT = (GRAINS[0], GRAINS[6], GRAINS[-1]), 200  # shares of white noise that are tried of all shapes; of the best


def texture_alone(looked: Looked) -> Texture | None:
    """The texture of what is looked at, which holds noise alone; None if it is too little to tell."""
    measured = spectrum(looked)
    if measured is None:
        return None
    shown, extra = _shown()
    rough = [_costs(measured, shown, extra, grain, every=2).argsort()[:KEPT] for grain in FIRST]
    likely = np.unique(np.concatenate(rough))
    costs = np.stack([_costs(measured, shown[likely], extra[likely], grain) for grain in GRAINS])
    grain, shape = np.unravel_index(costs.argmin(), costs.shape)
    return replace(shapes()[likely[shape]], grain=GRAINS[grain])


def _costs(measured: np.ndarray, shown: np.ndarray, extra: np.ndarray, grain: float, every: int = 1) -> np.ndarray:
    """Of shapes (N, ...) with so much grain, by every so many of the frequencies each way."""
    some = np.s_[..., ::every, ::every]
    weights, p = _weights()[some] / _weights()[some].sum(), LEAST + (1 - grain) * shown[some] + grain
    strength = (weights * (LEAST + measured[some]) / p).sum((1, 2))
    return np.log(strength) + (weights * np.log(p)).sum((1, 2)) + GAIN * (extra + OF_GRAIN * (grain > 0))


def spectrum(looked: Looked) -> np.ndarray | None:
    """S from 0 to 1/2 both ways, (GRID / 2 + 1, GRID / 2 + 1), of mean 1 but for the lowest; None if there's little."""
    windows = _windows(looked)
    if len(windows) < FEWEST:
        return None
    taper = np.hanning(GRID + 1)[:-1]
    s = np.abs(np.fft.fft2(windows * np.outer(taper, taper))) ** 2
    strength = s.mean((1, 2), keepdims=True)
    loud = strength[:, 0, 0] >= LOUD**2 * np.quantile(strength, 0.9)
    s = np.median((s / strength)[loud], axis=0)
    mirrored = -np.arange(GRID)
    s = s + s[mirrored]
    s = s + s[:, mirrored]
    s = s[: GRID // 2 + 1, : GRID // 2 + 1]
    return s / (_weights() * s).sum()


def _windows(looked: Looked) -> np.ndarray:
    """Half overlapping squares, (N, GRID, GRID), without masks and where magnitudes are no longer those of noise."""
    step, (rows, columns) = GRID // 2, looked.x.shape[1:]
    corners = product(range(0, rows - GRID + 1, step), range(0, columns - GRID + 1, step))
    places = [np.s_[:, row : row + GRID, column : column + GRID] for row, column in corners]
    seen = looked.alive & (looked.brightness > DARK * (rician_sigma(looked.alone or looked) or -np.inf))
    found = [np.empty((0, GRID, GRID), np.float32)]
    for place in places:
        x = looked.x[place]
        found.append(x[(seen[place].mean((1, 2)) >= SEEN) & x.any((1, 2))])
    return np.concatenate(found)


@cache
def _weights() -> np.ndarray:
    """How much each frequency of `spectrum` counts: as many as it stands for, as a share; the lowest nothing."""
    number = np.arange(GRID // 2 + 1)
    line = np.where(np.isin(number, (0, GRID // 2)), 1.0, 2.0)
    counted = np.outer(line, line) * (np.hypot(number[:, None], number) > DRIFT)
    return (counted / counted.sum()).astype(np.float32)


@made_once
def _shown() -> tuple[np.ndarray, np.ndarray]:
    """Of each shape: what windows show of its power, and what it must gain."""
    found = []
    for texture in shapes():
        p = power(texture, GRID, GRID)
        for axis in (0, 1):
            p = (4 * p + np.roll(p, 1, axis) + np.roll(p, -1, axis)) / 6
        found.append(p[: GRID // 2 + 1, : GRID // 2 + 1].astype(np.float32))
    return np.stack(found), np.array([must_gain(texture) for texture in shapes()], np.float32)
