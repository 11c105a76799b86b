"""A series: frames of the same places, one after the other, seen through their principal components.

With x_t the T frames and u_k the rows of an orthonormal matrix, the components and the way back are

    y_k = sum_t u_kt x_t,        x_t = sum_k u_kt y_k

If the frames' noise is independent, that of y_k has the variance sum_t u_kt^2 sigma_t^2, a frame's own where all are
equally noisy, and the texture of a frame's. So a component is a noisy image like any other, and whoever denoises images
denoises it. But what the frames share (the anatomy: sqrt(T) times their mean) is gathered in few components, far above
the noise, and the others hold next to nothing else. An error in the components is as large in the frames. (Principal
components as MP-PCA has them, Veraart et al. 2016, yet of the whole scan: there it keeps or drops each one in small
blocks, here a network sees each as the image that it is.)

The rows are the eigenvectors of how much frames have in common, summed over all places, so of the noise of a single
pixel they know one part in as many as there are pixels. A change in time that is weak but extended (an activation)
hides below the noise in that sum; the same sum over smoothed frames shows it, so the two are added, each in units of
its own noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag
from scipy.ndimage import gaussian_filter

from diffdenoise.noise.looked import MOST_PIXELS as LOOKED_AT
from diffdenoise.noise.looked import Looked, look

SMOOTHING = 1.5  # pixels, in the plane
LEAST_EMPTY, MOST_EMPTY = 0.2, 8  # share of the components that must hold none, for the noise to be measured on these
MOST_PIXELS = 200_000_000  # of all frames, that are looked at, in evenly spread slices
VOID = 1e-12  # of the largest eigenvalue: rounding, where frames are empty or repeat one another
SIGNAL = 1.01  # times the largest eigenvalue of noise; from there on a component is taken for one with signal


@dataclass(frozen=True)
class Components:
    """rows: (frames, frames), orthonormal, float32, by falling eigenvalue (of each part, if it was made in parts).

    signal: so many hold some, the first ones; void: so many are exactly 0, not even noise, the last ones (as many as
    there are empty or repeated frames).
    """

    rows: np.ndarray
    signal: int
    void: int = 0

    def of(self, frames: np.ndarray) -> np.ndarray:
        """The components (T, ...) of frames (T, ...)."""
        return np.tensordot(self.rows, frames, 1)

    def back(self, components: np.ndarray) -> np.ndarray:
        """The frames (T, ...) of components (T, ...)."""
        return np.tensordot(self.rows.T, components, 1)

    def to_learn_from(self) -> np.ndarray:
        """Combinations of frames, rows of unit length: all components, those with signal as often, and the frames.

        Drawn from evenly, a network meets each of the three as often; single scans are denoised well, too.
        """
        frames = len(self.rows)
        signal = np.tile(self.rows[: self.signal], (-(-frames // self.signal), 1))[:frames]
        return np.concatenate([self.rows, signal, np.eye(frames, dtype=np.float32)])

    def spread(self, variances: np.ndarray) -> np.ndarray:
        """The variances (T, ...) of the components of frames whose noise, independent, has these variances."""
        return np.tensordot(np.square(self.rows), variances, 1)

    def spread_back(self, variances: np.ndarray) -> np.ndarray:
        """The variances (T, ...) of the frames of components whose errors, independent, have these variances."""
        return np.tensordot(np.square(self.rows.T), variances, 1)


def components_of(
    images: np.ndarray, count: int, into: Callable[[np.ndarray], np.ndarray] = lambda frames: frames
) -> Components:
    """The principal components of a series of `count` frames that lie one after the other, (slices, rows, columns).

    into: what is done with the frames of a place, (count, rows, columns), before.
    """
    plain, smooth, places = np.zeros((count, count)), np.zeros((count, count)), len(images) // count
    looked_at = range(0, places, max(1, round(images.size / MOST_PIXELS)))
    for place in looked_at:
        frames = into(images[place::places])
        smoothed = gaussian_filter(frames, (0, SMOOTHING, SMOOTHING))
        plain, smooth = plain + _shared(frames), smooth + _shared(smoothed)
    values, vectors = np.linalg.eigh(_over_noise(plain) + _over_noise(smooth))
    rows = vectors.T[::-1] * np.where(vectors.sum(0)[::-1] < 0, -1.0, 1.0)[:, None]  # the anatomy as bright as it is
    loudest = SIGNAL * _of_noise(values) * _edge(count, len(looked_at) * images[0].size)
    void = int((values <= VOID * values[-1]).sum())
    return Components(rows.astype(np.float32), max(1, int((values > loudest).sum())), void)


def components_of_parts(
    images: np.ndarray, count: int, most: int | None, into: Callable[[np.ndarray], np.ndarray] = lambda frames: frames
) -> Components:
    """The components of equal parts of a series, each of at most so many frames in a row; all at once if most is 0.

    The first component of T frames is sqrt(T) times as bright as a frame: of many more than a network has learned from,
    it is brighter than all that it knows. images, count, into: as for `components_of`.
    """
    places, parts = len(images) // count, np.array_split(np.arange(count), -(-count // (most or count)))
    volumes = [images[part[0] * places : (part[-1] + 1) * places] for part in parts]
    found = [components_of(part, len(part) // places, into) for part in volumes]
    return Components(block_diag(*(one.rows for one in found)), sum(one.signal for one in found))


def noise_of_series(images: np.ndarray, count: int) -> Looked | None:
    """What the estimators look at to measure the noise of a series: components that hold no signal.

    images: as for `components_of`, in the scan's units. None where there are too few such components. In differences of
    frames all that changes in time passes for noise; these components have the least of it.
    """
    components, places = components_of(images, count), len(images) // count
    empty = components.rows[components.signal : count - components.void]
    if len(empty) < max(2, LEAST_EMPTY * count):
        return None
    empty = empty[:: -(-len(empty) // MOST_EMPTY)]
    step = max(1, round(len(empty) * places * images[0].size / LOOKED_AT))
    parts = [images[place::places] for place in range(0, places, step)]
    noise, bright = (np.concatenate([np.tensordot(rows, part, 1) for part in parts]) for rows in (empty, empty**2))
    beside = look(bright)
    return replace(beside, x=look(noise).x, alone=beside)


def _shared(frames: np.ndarray) -> np.ndarray:
    """(T, T), the sum of products of two frames each over all pixels."""
    flat = frames.reshape(len(frames), -1).astype(np.float64)
    return flat @ flat.T


def _over_noise(shared: np.ndarray) -> np.ndarray:
    return shared / max(_of_noise(np.linalg.eigvalsh(shared)), 1e-30)


def _edge(frames: int, pixels: int) -> float:
    """The largest eigenvalue of white noise, of 1 on the mean (Marchenko & Pastur 1967), over both of the sums."""
    independent = pixels / (4 * np.pi * SMOOTHING**2)  # of the smoothed ones
    return float(np.mean([(1 + np.sqrt(frames / count)) ** 2 for count in (pixels, independent)]))


def _of_noise(values: np.ndarray) -> float:
    """A typical eigenvalue of noise: the median of the lower half, of those that are not void."""
    there = np.sort(values[values > VOID * values.max()])
    return float(np.median(there[: max(1, len(there) // 2)])) if len(there) else 0.0
