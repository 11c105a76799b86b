"""What of a scan the estimators look at: few pixels, evenly spread, and never a masked background."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MOST_PIXELS = 1_000_000  # looked at, in evenly spread slices
TILE = 512  # pixels; side of the parts that a slice larger than that is cut into
SMOOTHING = 2.0  # pixels; of the brightness that sorts the places into bins
CONSTANT = 5  # pixels; a square of this side without any variation is a mask, not noise


@dataclass(frozen=True)
class Looked:
    """What of a scan is looked at, each (slices, rows, columns): pixels, their brightness, where they are no mask.

    alone: where x is a difference of repetitions, noise and no anatomy, the first of these. places: kept by
    `differences`, for each spacing.
    """

    x: np.ndarray
    brightness: np.ndarray
    alive: np.ndarray
    alone: Looked | None = None
    places: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict, init=False, repr=False)

    @property
    def pure(self) -> bool:
        """Whether x holds noise alone."""
        return self.alone is not None


def look(slices: np.ndarray, again: np.ndarray | None = None) -> Looked:
    """Prepare (slices, rows, columns) for the estimators: about MOST_PIXELS of them, evenly spread.

    again: a repetition, the same shape; then the pixels are those of the difference, as noisy as one image.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

    x = _spread(slices).astype(np.float32)
    near = (1, CONSTANT, CONSTANT)
    constant = maximum_filter(x, near) == minimum_filter(x, near)
    one = Looked(x, gaussian_filter(x, (0, SMOOTHING, SMOOTHING)), ~maximum_filter(constant, near))
    if again is None:
        return one
    two = look(again)
    brightness = (one.brightness + two.brightness) / 2
    return Looked((one.x - two.x) / np.float32(np.sqrt(2)), brightness, one.alive & two.alive, alone=one)


def _spread(slices: np.ndarray) -> np.ndarray:
    """About MOST_PIXELS of the slices, evenly spread; slices that are larger than that alone are cut into tiles."""
    if slices[0].size > MOST_PIXELS:
        slices = slices[:: -(-len(slices) // 4)]
        count, rows, columns = (length // part for length, part in zip(slices.shape, (1, TILE, TILE), strict=True))
        whole = slices[:, : rows * TILE, : columns * TILE].reshape(count, rows, TILE, columns, TILE)
        slices = whole.swapaxes(2, 3).reshape(-1, TILE, TILE) if whole.size else slices
    return slices[:: max(1, round(slices.size / MOST_PIXELS))]
