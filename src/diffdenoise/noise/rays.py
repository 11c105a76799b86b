"""Noise of filtered back-projection: stronger along directions whose rays lost more on their way.

What varies along a direction at a place comes from the rays through it that run across that direction. The more of them
an object took away, the noisier they are: with p(x, theta) the path through the image, at place x and across theta,

    the power at x along theta is exp(k p(x, theta)), over its mean over all directions, times that of `texture`.

In the middle of a disc that is 1. At its rim the rays along the radius pass through its whole, those across it through
little, and noise of a CT phantom is there 1.8 times as strong along the rim's own direction as across it. z that
does not know that is wrong in every direction but right on their mean, where no test of its texture shows it, and the
student learns to leave noise along one direction, and to turn it upside down along the other: 5 to 7 dB of that
phantom (docs/noise.md).

Paths are taken through the image itself, between its air (0 a pixel) and what most of its object is (1 a pixel): so k,
a pixel's worth, does not depend on units. A fan of rays, filters in the beam and a tube current that follows the body
are all in k, as far as they can be.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.ndimage import binary_erosion, rotate
from torch import Generator, Tensor

from diffdenoise.noise.texture import MARGIN, Texture, draw

DIRECTIONS = 8
COARSE = 64  # parts of an image's shorter side, at least, among which paths are told apart
WINDOW, FEWEST = 32, 24  # pixels; windows that k is found by
BAND = (0.1, 0.4)  # cycles a pixel, of the frequencies that it is found by; below them is anatomy
OF_OBJECT = (0.7, 1.3)  # of what most of the object is
FLATTEST, ENOUGH = 0.25, 64  # share of the windows, where there is anatomy; so many, or all, if that is fewer
MOST_ASKED = 8  # slices
SURE = 4.0  # errors; a k nearer to 0 is none
MOST = 0.05  # a pixel: that of water is 0.02 a millimetre, without any filter in the beam
OUTLYING, REDRAWN = 1.5, 10  # deviations, from where on a window counts in proportion; weights of the fit


def paths(image: np.ndarray) -> np.ndarray:
    """Through (rows, columns), across each direction: (DIRECTIONS, rows / step, columns / step), in its pixels.

    Directions rise from that along the rows by a turn from columns to rows; step: see `step_of`.
    """
    step = step_of(image.shape)
    density = _density(image, step)
    side = int(np.ceil(np.hypot(*density.shape)))
    (top, left) = ((side - length) // 2 for length in density.shape)
    inner = np.s_[top : top + density.shape[0], left : left + density.shape[1]]
    square = np.zeros((side, side), np.float32)
    square[inner] = density
    found = []
    for angle in 180 / DIRECTIONS * np.arange(DIRECTIONS):
        across = rotate(square, angle, reshape=False, order=1).sum(0)
        smeared = np.broadcast_to(across, square.shape)
        found.append(rotate(smeared, -angle, reshape=False, order=1, mode="nearest")[inner])
    return step * np.stack(found)


def step_of(shape: tuple[int, ...]) -> int:
    """Pixels of an image to one of its paths."""
    return max(1, min(shape[-2:]) // COARSE)


def _density(image: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (-(-side // step) * step for side in image.shape)
    whole = np.pad(image, ((0, rows - image.shape[0]), (0, columns - image.shape[1])), mode="edge")
    parts = whole.reshape(rows // step, step, columns // step, step)
    coarse = parts.mean((1, 3))
    seen = binary_erosion(parts.min((1, 3)) < parts.max((1, 3)), np.ones((3, 3)), border_value=1)
    # What a scanner pads with may lie far below its air.
    air, brightest = np.quantile(coarse[seen] if seen.any() else coarse, (0.01, 0.99))
    above = coarse[coarse > (air + brightest) / 2]
    most = np.median(above) if above.size else air
    return np.clip((coarse - air) / (most - air), 0, 2) if most > air else np.zeros_like(coarse)


def rays_of(slices: np.ndarray, again: np.ndarray | None = None) -> float:
    """k of (slices, rows, columns) with correlated noise, 0 if there is none to be seen; again: a repetition.

    By the power of windows along each direction, over the mean of all. From images alone the flattest are asked, for
    anatomy has directions of its own.
    """
    some = np.unique(np.linspace(0, len(slices) - 1, MOST_ASKED).round().astype(int))
    found = [_windows(slices[number], None if again is None else again[number]) for number in some]
    powers, lengths = (np.concatenate(part) for part in zip(*found, strict=True))
    if again is None and len(powers):
        whole = powers.mean(1)
        flat = whole <= np.quantile(whole, min(1, max(FLATTEST, ENOUGH / len(whole))))
        powers, lengths = powers[flat], lengths[flat]
    if len(powers) < FEWEST:
        return 0.0
    y, x = (values - values.mean(1, keepdims=True) for values in (np.log(powers), lengths))
    k, error = _slope(x.ravel(), y.ravel())
    return min(k, MOST) if k > SURE * error else 0.0


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """k of y = k x, and its standard error; what is far off counts in proportion, not by the square (Huber 1964)."""
    weights, k = np.ones_like(y), 0.0
    for _ in range(REDRAWN):
        k = (weights * x * y).sum() / max((weights * x * x).sum(), 1e-30)
        off = np.abs(y - k * x)
        weights = 1 / np.maximum(1, off / max(OUTLYING * 1.48 * np.median(off), 1e-30))
    return float(k), float(np.sqrt((weights * off**2).sum() / weights.sum() / max((weights * x * x).sum(), 1e-30)))


def _windows(one: np.ndarray, two: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Power along each direction and paths across it, of half overlapping windows of the object, (N, DIRECTIONS)."""
    image, noise = (one, one) if two is None else ((one + two) / 2, one - two)
    length, step = paths(image), step_of(image.shape)
    density = np.kron(_density(image, step), np.ones((step, step), np.float32))
    taper, masks = np.outer(*2 * [np.hanning(WINDOW + 1)[:-1]]), _sectors()
    powers, lengths = [np.empty((0, DIRECTIONS))], [np.empty((0, DIRECTIONS))]
    for row, column in product(*(range(0, side - WINDOW + 1, WINDOW // 2) for side in image.shape)):
        here = np.s_[row : row + WINDOW, column : column + WINDOW]
        part = noise[here] - noise[here].mean()
        if not (OF_OBJECT[0] < density[here].mean() < OF_OBJECT[1] and part.any()):
            continue
        power = np.abs(np.fft.fft2(part * taper)) ** 2
        powers.append(np.einsum("kij,ij->k", masks, power)[None])
        lengths.append(length[None, :, (row + WINDOW // 2) // step, (column + WINDOW // 2) // step])
    return np.concatenate(powers), np.concatenate(lengths)


@lru_cache(1)
def _sectors() -> np.ndarray:
    """Which frequencies of a window lie along each direction, each as a share of them: (DIRECTIONS, WINDOW, WINDOW)."""
    down, across = np.fft.fftfreq(WINDOW)[:, None], np.fft.fftfreq(WINDOW)[None]
    distance = np.hypot(down, across)
    masks = (BAND[0] < distance) & (distance < BAND[1]) & (_off(down, across) < 0.5)
    return masks / masks.sum((1, 2), keepdims=True)


def _off(down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """How far frequencies are from each direction, in steps from one to the next: (DIRECTIONS, rows, columns)."""
    turn = np.arctan2(down, across)[None] * DIRECTIONS / np.pi - np.arange(DIRECTIONS)[:, None, None]
    return np.abs((turn + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2)


def amplitudes(image: np.ndarray, k: float) -> np.ndarray:
    """How many times as strong noise is along each direction: (DIRECTIONS, rows / step, columns / step), float16.

    The mean of the squares is 1 everywhere. image: (rows, columns), noisy as it is: paths are long means.
    """
    lost = k * paths(image)
    power = np.exp(lost - lost.max(0))
    return np.sqrt(power / power.mean(0)).astype(np.float16)


def amplitudes_over(image: np.ndarray, k: float) -> np.ndarray:
    """The same at each of its pixels, (DIRECTIONS, rows, columns), float32."""
    rows, columns = (slice(0, side) for side in image.shape)
    return within(amplitudes(image, k), step_of(image.shape), rows, columns)


def within(coarse: np.ndarray, step: int, rows: slice, columns: slice) -> np.ndarray:
    """Those amplitudes at each pixel of a part of the image, linear in between: (DIRECTIONS, R, C), float32."""
    return _between(_between(coarse.astype(np.float32), 1, rows, step), 2, columns, step)


def _between(values: np.ndarray, axis: int, part: slice, step: int) -> np.ndarray:
    """Values of parts of `step` pixels along an axis, at each pixel of a slice of it."""
    last = values.shape[axis] - 1
    place = ((np.arange(part.start, part.stop, dtype=np.float32) + 0.5) / step - 0.5).clip(0, last)
    below = np.minimum(place.astype(int), max(0, last - 1))
    weight = (place - below).astype(np.float32).reshape(-1, *(values.ndim - 1 - axis) * [1])
    one, other = (values.take(number, axis) for number in (below, np.minimum(below + 1, last)))
    return one + weight * (other - one)


def draw_along(amplitude: np.ndarray, texture: Texture, generator: Generator) -> Tensor:
    """Noise of mean 0 and variance 1, (rows, columns), float32: of a texture, so many times as strong along each
    direction, amplitude (DIRECTIONS, rows, columns).
    """
    shape = amplitude.shape[1:]
    whole = tuple(next_fast_len(side + MARGIN, real=True) for side in shape)
    spectrum = torch.fft.rfft2(draw(whole, texture, generator)) * _fans(*whole)
    along = torch.fft.irfft2(spectrum, s=whole)[:, : shape[0], : shape[1]]
    return (along * torch.from_numpy(amplitude)).sum(0)


@lru_cache(8)  # crops of one size; whole slices are large
def _fans(rows: int, columns: int) -> Tensor:
    """What of the frequencies of `rfft2` belongs to each direction, (DIRECTIONS, R, C); together 1."""
    off = _off(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    shares = np.where(off < 1, np.cos(np.pi / 2 * off) ** 2, 0)
    shares[:, 0, 0] = 1 / DIRECTIONS
    return torch.from_numpy(shares.astype(np.float32))
