"""Repetitions: one object imaged again. Their difference holds noise alone.

Where anatomy is fine and nowhere flat (echo-planar heads) it passes for noise in a single image. In (a - b) / sqrt(2)
it cancels, while noise that is independent in both keeps its level. Taken for repetitions are images whose coarse
structure is the same and whose noise is not: one image that was processed in two ways repeats nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from diffdenoise.noise.differences import flat_sigmas
from diffdenoise.noise.looked import MOST_PIXELS, look

BLOCK = 8  # pixels; side of the blocks whose means are compared
UNLIKE = 0.14  # of their spread, in their differences: a correlation of 0.99, or 14 % brighter
OWN = 0.5  # noise in the difference over noise in the sum, at the brightness where it is most: 1 if each has its own
BINS = 4  # of brightness
MOST_TRIED = 16  # pairs, evenly spread
AROUND = 4  # scans each way; eight pairs show a smooth map of the noise where one does not (docs/noise.md)


def repetitions(stacks: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
    """Two stacks (slices, rows, columns) of the same places, of each place two images; None if there are none.

    stacks: (slices, rows, columns) each, in the order in which they were taken; neighbours are tried.
    """
    pairs = list(pairwise(stacks))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for a, b in pairs[:: max(1, -(-len(pairs) // MOST_TRIED))]:
        if sum(first.size for first, _ in found) < MOST_PIXELS and is_repetition(a, b):
            found.append((a, b))
    if len(found) < 2:
        return found[0] if found else None
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])


def repeated_around(number: int, volumes: Callable[[int], Sequence[np.ndarray]]) -> list[np.ndarray]:
    """The volumes of a scan, and before and after them those of its neighbours as far as each repeats the one before.

    volumes: those of the scan of a number, (slices, rows, columns) each, in order; none beyond the first and the last.
    """
    own = volumes(number)
    before, after = (_onwards(own[end], number, step, volumes) for end, step in ((0, -1), (-1, 1)))
    return [*before[::-1], *own, *after]


def _onwards(
    last: np.ndarray, number: int, step: int, volumes: Callable[[int], Sequence[np.ndarray]]
) -> list[np.ndarray]:
    """Of the scans on one side, step 1 or -1, the volumes nearest to `last`, as far as each repeats the one before."""
    found: list[np.ndarray] = []
    for other in range(number + step, number + step * (AROUND + 1), step):
        there = volumes(other)
        near = there[min(0, step)] if there else None
        if near is None or not is_repetition(last, near):
            break
        found.append(near)
        last = near
        enough = sum(one.size for one in found) >= MOST_PIXELS / 2
        if enough or len(there) > 1:  # a series has repetitions of its own
            break
    return found


def is_repetition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two stacks (slices, rows, columns) show the same object, each with noise of its own."""
    if a.shape != b.shape or min(a.shape[1:]) < 2 * BLOCK or np.array_equal(a, b):
        return False
    means = block_means(a), block_means(b)
    if (means[0] - means[1]).std() >= UNLIKE * min(of_one.std() for of_one in means):
        return False
    return max(own_noise(a, b), default=0.0) > OWN


def own_noise(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Noise in the difference of two stacks over noise in their sum, at each of a few brightnesses.

    1 where each has noise of its own, sqrt((1 - rho) / (1 + rho)) where it correlates by rho, less where there is no
    flat place: anatomy, which they share, passes for noise there.
    """
    between = replace(look(a, again=b), alone=None)  # looked at like the sum, where there is anatomy
    both = replace(between, x=look(a).x + look(b).x)
    shown = zip(flat_sigmas(between, 1, BINS), flat_sigmas(both, 1, BINS), strict=False)
    return [math.sqrt(2) * one.sigma / two.sigma for one, two in shown if two.sigma > 0]


def block_means(stack: np.ndarray) -> np.ndarray:
    """Of a stack (slices, rows, columns): the means of squares of BLOCK pixels, in a row."""
    slices, rows, columns = stack.shape[0], *(side // BLOCK for side in stack.shape[1:])
    whole = stack[:, : rows * BLOCK, : columns * BLOCK].reshape(slices, rows, BLOCK, columns, BLOCK)
    return whole.mean((2, 4), dtype=np.float64).ravel()
