"""Pixels that are far out of a scan's range: padding around a field of view, dead and hot pixels, metal.

A network has seen none like them, and spoils what is around: a pixel of a hundred times the range its neighbours by
many times the noise, padding of -32768 the rim of the image. So it is shown what is ordinary in their place; and as
there is no denoising them by what is not there, they come back as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffdenoise.noise.looked import some_places
from diffdenoise.normalisation import MOST_PIXELS

UNLIKELY = 3.0  # times the noise: so far below all else zeros of few counts are not
PADDING = 0.01  # share of the pixels that have the lowest value, at least, where that is padding
GAP = 0.1  # of the range, between padding and all else
BELOW, ABOVE = 1.0, 2.0  # in units of the range, counted from its lower end: what is inside is never far out
HIGHEST = 4.0  # the same: more is shown of nothing, but where more than RARE of the pixels are brighter
RARE = 0.1  # percent; so many at each end may be cut off
SURE = 8.0  # times the noise: so much less or more than its neighbours no pixel is by chance


@dataclass(frozen=True)
class Limits:
    """What is ordinary in a scan, in its units.

    padding: the value of pixels outside the field of view, if there are such, which are shown as `dark`. From `within`
    on, below and above, a pixel that differs from its neighbours by more than `step` is shown as their median; what is
    beyond `cut` after that is cut off there.
    """

    dark: float
    step: float
    within: tuple[float, float]
    cut: tuple[float, float]
    padding: float | None = None

    def tamed(self, images: np.ndarray) -> np.ndarray:
        """Images (..., rows, columns) as they are shown to networks; the same array where nothing is far out."""
        shown = images if self.padding is None else np.where(images == self.padding, self.dark, images)
        low, high = self.within
        if shown.min() >= low and shown.max() <= high:
            return shown
        return self._without_lone(shown).clip(*self.cut).astype(images.dtype, copy=False)

    def _without_lone(self, images: np.ndarray) -> np.ndarray:
        from scipy.ndimage import median_filter

        beside = median_filter(images, (1,) * (images.ndim - 2) + (3, 3))
        low, high = self.within
        lone = (np.abs(images - beside) > self.step) & ((images < low) | (images > high))
        return np.where(lone, beside, images)


def limits_of(pixels: np.ndarray, own: tuple[float, float], noise: float) -> Limits:
    """Of a scan (slices, rows, columns); own: its range (see `measure_range`); noise: the strongest, in its units."""
    offset, scale = own
    flat = pixels.reshape(-1)
    flat = flat[some_places(flat.size, MOST_PIXELS)]
    lowest = float(flat.min())
    padded = lowest < offset - max(GAP * scale, UNLIKELY * noise) and float(np.mean(flat == lowest)) >= PADDING
    low, high = np.percentile(flat[flat > lowest] if padded else flat, [RARE, 100 - RARE])
    return Limits(
        dark=offset,
        step=max(scale, SURE * noise),
        within=(offset - BELOW * scale, offset + ABOVE * scale),
        cut=(min(float(low), offset - BELOW * scale), max(float(high), offset + HIGHEST * scale)),
        padding=lowest if padded else None,
    )
