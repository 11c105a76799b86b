"""Noise that is stronger in some places than in others of the same brightness: a smooth map over the image plane.

Parallel imaging amplifies the noise where its coils see alike (the g-factor, Pruessmann et al. 1999), in CT the rays
through the middle of a body are the weakest. With r and c from -1 to 1 down and across the image, P_k the Legendre
polynomials, the noise is m times as strong as its brightness says,

    log m(r, c) = sum over k + l <= degree of a_kl P_k(r) P_l(c),

0 on the mean over what is measured.
It is fitted to what the flattest places of each of four brightnesses show in 8 x 8 cells, together with a factor for
each brightness; all slices of a scan as one. Anatomy that passes for noise can only add, so what is far above the map
counts less than what is below. The degree, 0 (no map), 2 or 4, is chosen by Schwarz' criterion, with the scatter around
the map for the error. From an image alone a map is believed only where the noise reaches a pixel far or less and the
scatter is small: where differences over more pixels are needed, or no place is flat (echo-planar heads), anatomy shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import legvander

from diffdenoise.noise.differences import deviation_of, places_of
from diffdenoise.noise.looked import CELLS, Looked, centres

DEGREES = (0, 2, 4)
MOST_TERMS = 1 + max(DEGREES)  # each way
SHARE, FEWEST = 0.3, 50  # of a group's places, the flattest; fewer places say nothing
BINS, WIDE = 4, 8  # of brightness; of the image, down and across
FEWEST_GROUPS = 24
FAINT = 0.25  # of the loudest: where the brightness lets expect less, there is no noise
SYSTEMATIC = 0.03  # relative error of a group, beside that of chance
ABOVE, BELOW = 1.5, 4.0  # errors; a group further above (below) the map counts in proportion, not by the square
REDRAWN = 20  # times; weights of the fit
LEAST = 0.05  # root mean square of log m; a flatter map is not worth the name
# What is believed of an image alone: maps up to this spacing, to this scatter around them beyond that of chance, which
# is this share at most of the scatter without a map; up to this greatest over least m, and from this root mean square.
# Fine anatomy at 6/255 makes maps of up to 0.09, and of 0.15, with a share of 0.76, where counting noise is weaker yet.
FURTHEST, SCATTERED, UNEXPLAINED, STEEPEST, LEAST_ALONE = 2, 0.1, 0.72, 4.0, 0.1


@dataclass(frozen=True)
class Variation:
    """a_kl (degree + 1, degree + 1); empty for noise that is alike everywhere. m is held in [low, high].

    low, high: of m, as far as it was measured.
    """

    coefficients: tuple[tuple[float, ...], ...] = ()
    low: float = 1.0
    high: float = 1.0

    @property
    def is_even(self) -> bool:
        """Whether there is none."""
        return not self.coefficients

    @classmethod
    def of_dict(cls, stored: dict[str, Any]) -> Variation:
        """What `dataclasses.asdict` made of one, also by way of JSON. Raises ValueError for what is none."""
        table, low, high = np.array(stored["coefficients"], float), stored["low"], stored["high"]
        square = table.shape == (0,) or (table.ndim == 2 and len(set(table.shape)) == 1 <= len(table) <= MOST_TERMS)
        if not (square and np.isfinite(table).all() and 0 < low <= high < np.inf):
            raise ValueError(f"a map of {table.shape} coefficients, from {low} to {high}")
        return cls(tuple(tuple(row) for row in stored["coefficients"]), low, high)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """m on the grid of these coordinates (..., R) and (..., C), in [-1, 1]: (..., R, C), float32."""
        if self.is_even:
            return np.ones((*rows.shape, columns.shape[-1]), np.float32)
        table = np.array(self.coefficients)
        degree = len(table) - 1
        log = legvander(rows, degree) @ table @ np.swapaxes(legvander(columns, degree), -1, -2)
        return np.exp(log).clip(self.low, self.high).astype(np.float32)

    def over(self, shape: tuple[int, ...]) -> np.ndarray:
        """m at each pixel of a whole image (..., rows, columns): (rows, columns), float32."""
        return self.at(centres(shape[-2]), centres(shape[-1]))

    def __str__(self) -> str:
        """For people."""
        return "as strong everywhere" if self.is_even else f"{self.low:.2f} to {self.high:.2f} times as strong by place"


EVEN = Variation()


class _Groups(NamedTuple):
    """Places of like brightness near each other: their middle, the number of the brightness, how many they are; the
    log of what they show over what is expected, its error.
    """

    rows: np.ndarray
    columns: np.ndarray
    bins: np.ndarray
    sizes: np.ndarray
    log: np.ndarray
    errors: np.ndarray


def evened(looked: Looked, variation: Variation) -> Looked:
    """The same, to be looked at as if the noise were alike everywhere."""
    return looked if variation.is_even else replace(looked, over=variation.at(looked.rows, looked.columns))


def variation_of(looked: Looked, spacing: int, expected: Callable[[np.ndarray], np.ndarray]) -> Variation:
    """The map of the noise of what is looked at; even where there is no good sign that it is not.

    spacing: of the differences, beyond the reach of the noise's correlation; expected: their deviation at given
    brightnesses.
    """
    if spacing > FURTHEST and not looked.pure:
        return EVEN
    groups = _measured(looked, spacing, expected)
    if len(groups.log) < FEWEST_GROUPS:
        return EVEN
    fits = [_fit(groups, degree) for degree in DEGREES]
    error = groups.errors * max(1.0, deviation_of((groups.log - fits[-1].shown) / groups.errors))
    price = [_cost((groups.log - fit.shown) / error) + len(fit.a) * np.log(len(error)) for fit in fits]
    degree, fit = DEGREES[int(np.argmin(price))], fits[int(np.argmin(price))]
    if degree == 0 or fit.log_m.std() < LEAST or not (looked.pure or _is_clear(groups, fits[0], fit)):
        return EVEN
    table = np.zeros((degree + 1, degree + 1))
    table[_orders(degree)] = fit.a
    table[0, 0] = -np.average(fit.log_m, weights=groups.sizes)
    low, high = (float(np.exp(end + table[0, 0])) for end in (fit.log_m.min(), fit.log_m.max()))
    return Variation(tuple(tuple(map(float, row)) for row in table), low, high)


def _is_clear(groups: _Groups, alike: _Fit, fit: _Fit) -> bool:
    """Whether a map is to be believed that comes from an image alone, whose anatomy may show in it."""
    before, left = (deviation_of(groups.log - one.shown) for one in (alike, fit))
    beyond_chance = np.sqrt(max(0.0, left**2 - float(np.median(groups.errors)) ** 2))
    strong = fit.log_m.std() >= LEAST_ALONE and np.ptp(fit.log_m) <= np.log(STEEPEST)
    return bool(strong and left <= UNEXPLAINED * before and beyond_chance <= SCATTERED)


def _measured(looked: Looked, spacing: int, expected: Callable[[np.ndarray], np.ndarray]) -> _Groups:
    detail, brightness, unrest, cell = places_of(looked, spacing)
    deviation = expected(brightness) if brightness.size else brightness
    heard = deviation > FAINT * deviation.max(initial=0)
    deviation, brightness, cell = deviation[heard], brightness[heard], cell[heard]
    share, unrest = detail[heard] / deviation, unrest[heard] / np.square(deviation)
    edges = np.quantile(brightness, np.linspace(0, 1, BINS + 1))[1:-1] if brightness.size else []
    row, column = np.divmod(cell, np.uint16(CELLS))
    bins = np.searchsorted(edges, brightness, side="right")
    group = (bins * WIDE + row * WIDE // CELLS) * WIDE + column * WIDE // CELLS
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(BINS * WIDE**2 + 1))
    middle = centres(CELLS)
    found = []
    for number in range(BINS * WIDE**2):
        places = order[ends[number] : ends[number + 1]]
        if not looked.pure and places.size:
            places = places[unrest[places] <= np.quantile(unrest[places], SHARE)]
        shown = deviation_of(share[places]) if places.size >= FEWEST else 0.0
        if shown > 0:
            where = middle[row[places]].mean(), middle[column[places]].mean()
            error = np.hypot(SYSTEMATIC, 1.2 * spacing / np.sqrt(places.size))  # near places correlate
            found.append((*where, number // WIDE**2, ends[number + 1] - ends[number], np.log(shown), error))
    return _Groups(*np.array(found).reshape(-1, 6).T)


class _Fit(NamedTuple):
    """a_kl in the order of `_orders`, log m in each group, and the log that is expected to be shown there."""

    a: np.ndarray
    log_m: np.ndarray
    shown: np.ndarray


def _fit(groups: _Groups, degree: int) -> _Fit:
    """The map, and a factor for each brightness, by weights that are redrawn.

    Dark places are often at the rim and bright ones in the middle: only both together tell which of it is the place.
    """
    down, across = _orders(degree)
    basis = legvander(groups.rows, degree)[:, down] * legvander(groups.columns, degree)[:, across]
    terms = np.hstack([groups.bins[:, None] == np.unique(groups.bins), basis])
    shown = np.full_like(groups.log, np.median(groups.log))
    for _ in range(REDRAWN):
        off = (groups.log - shown) / groups.errors
        limit = np.where(off > 0, ABOVE, BELOW)
        weights = np.sqrt(np.minimum(1, limit / np.maximum(np.abs(off), 1e-9))) / groups.errors
        solved = np.linalg.lstsq(terms * weights[:, None], groups.log * weights, rcond=None)[0]
        shown = terms @ solved
    a = solved[terms.shape[1] - basis.shape[1] :]
    return _Fit(a, basis @ a, shown)


def _cost(off: np.ndarray) -> float:
    """Sum over the groups of how far off they are, in errors: squared, in proportion beyond the limits."""
    limit, size = np.where(off > 0, ABOVE, BELOW), np.abs(off)
    return float(np.where(size < limit, size**2, limit * (2 * size - limit)).sum())


def _orders(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, l) of all terms."""
    pairs = [(k, total - k) for total in range(1, degree + 1) for k in range(total + 1)]
    down, across = np.array(pairs, int).reshape(-1, 2).T
    return down, across
