"""What of a scan the estimators look at: few pixels, evenly spread, and never a masked background."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_PIXELS = 1_000_000  # looked at, in slices from everywhere
FEWEST = 4  # slices
TILE = 256  # pixels; side of the parts that a slice larger than that is cut into
SMOOTHING = 2.0  # pixels; of the brightness that sorts the places into bins
CONSTANT = 5  # pixels; a square of this side without any variation is a mask, not noise
CELLS = 48  # down and across the image; the place of a pixel is known as well as that


@dataclass(frozen=True)
class Looked:
    """What of a scan is looked at, each (slices, rows, columns): pixels, their brightness, where they are no mask.

    rows, columns: where they are in their image, -1 to 1, (slices, rows) and (slices, columns). alone: where x is a
    difference of repetitions, noise and no anatomy, the first of these. over: what differences of the pixels are
    divided by, their noise being so many times as strong as elsewhere. places: kept by `differences`, by spacing; kept:
    by others, by name.
    """

    x: np.ndarray
    brightness: np.ndarray
    alive: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    alone: Looked | None = None
    over: np.ndarray | None = None
    places: dict[int, tuple[np.ndarray, ...]] = field(default_factory=dict, init=False, repr=False)
    kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def pure(self) -> bool:
        """Whether x holds noise alone."""
        return self.alone is not None


def look(slices: np.ndarray, again: np.ndarray | None = None) -> Looked:
    """Prepare (slices, rows, columns) for the estimators: about MOST_PIXELS of them, evenly spread.

    again: a repetition, the same shape; then the pixels are those of the difference, as noisy as one image.
    """
    from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

    x, rows, columns = _spread(slices)
    x = x.astype(np.float32)
    near = (1, CONSTANT, CONSTANT)
    constant = maximum_filter(x, near) == minimum_filter(x, near)
    one = Looked(x, gaussian_filter(x, (0, SMOOTHING, SMOOTHING)), ~maximum_filter(constant, near), rows, columns)
    if again is None:
        return one
    two = look(again)
    brightness = (one.brightness + two.brightness) / 2
    alive = one.alive & two.alive
    return Looked((one.x - two.x) / np.float32(np.sqrt(2)), brightness, alive, rows, columns, alone=one)


def centres(count: int) -> np.ndarray:
    """Coordinates of the centres of so many equal parts of [-1, 1]."""
    return (2 * np.arange(count) + 1) / count - 1


def _middle(side: int, length: int) -> slice:
    start = (side - length) // 2
    return slice(start, start + length)


def _spread(slices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """About MOST_PIXELS of the slices, evenly spread; slices that are larger than that alone are cut into tiles.

    And where they are, as `Looked` has it.
    """
    rows, columns = (centres(side)[None] for side in slices.shape[1:])
    if slices[0].size > MOST_PIXELS:
        slices = slices[:: -(-len(slices) // 4)]
        count, down, across = (length // part for length, part in zip(slices.shape, (1, TILE, TILE), strict=True))
        inner = [_middle(side, part * TILE) for side, part in zip(slices.shape[1:], (down, across), strict=True)]
        whole = slices[:, inner[0], inner[1]].reshape(count, down, TILE, across, TILE)
        if whole.size:
            slices = whole.swapaxes(2, 3).reshape(-1, TILE, TILE)
            rows = np.tile(rows[0, inner[0]].reshape(down, 1, TILE), (count, across, 1)).reshape(-1, TILE)
            columns = np.tile(columns[0, inner[1]].reshape(1, across, TILE), (count, down, 1)).reshape(-1, TILE)
    some = some_of(len(slices), slices.size)
    here = [np.broadcast_to(axis, (len(slices), axis.shape[-1]))[some] for axis in (rows, columns)]
    return slices[some], here[0], here[1]


def some_of(count: int, size: int) -> np.ndarray:
    """Numbers of those to look at of so many slices that have `size` pixels, rising: about MOST_PIXELS' worth.

    Large slices are FEWEST or more, as far as there are so many: one alone may be empty.
    """
    return one_of_each(max(1, min(round(size / MOST_PIXELS), count // FEWEST)), count)


def one_of_each(few: int, count: int) -> np.ndarray:
    """Numbers below `count`, rising, by chance one of each few that follow one another; always the same ones.

    Every k-th of them could be the same corner of each slice, the same columns of each row.
    """
    starts = np.arange(0, count, few)
    return np.minimum(starts + np.random.default_rng(0).integers(few, size=len(starts)), count - 1)


def some_places(size: int, most: int) -> np.ndarray | slice:
    """Where to look in a flat array of so many pixels: at all of them, or at `most` or a few more, in rising order."""
    return one_of_each(size // most, size) if size >= 2 * most else slice(None)
