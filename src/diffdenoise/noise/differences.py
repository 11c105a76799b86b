"""Differences that cancel the anatomy, at the flattest places of each brightness.

The mixed difference at spacing h,

    D_h = (x[i, j] - x[i, j+h] - x[i+h, j] + x[i+h, j+h]) / 2,

cancels constant and linear structure. For white noise its standard deviation is the noise's own at every h (h = 1 is
the diagonal Haar detail of Donoho & Johnstone 1994); for noise that correlates by rho_h at distance h, along rows as
along columns, it is sigma (1 - rho_h), if the noise is that of a filter down and a filter across.

What is left of the anatomy must not count as noise. A place is as flat as D_h^2 is small in a square ring around it.
There is a gap between place and ring, so that their noises are independent: choosing flat places does not favour those
where the noise happens to be weak.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from diffdenoise.noise.looked import CELLS, Looked

GAP, RING = 2, 4  # pixels; from the place to the ring beyond the spacing, and the ring's width
FLATTEST, MOST_FLAT = 0.1, 0.5  # share of the places, at each brightness, that counts; the latter in small images
FEWEST_VALUES = 500  # per brightness bin
PASSES = 6  # of choosing the quiet places by the sigma that the last choice gave; it hardly changes after three
FEWEST_IN_WIDTH = 200  # the same for bins of even width, some of which few pixels fall in
BROAD = 4  # pixels; spacing at which places are judged whose differences at all spacings are compared
BROAD_BINS, MOST_COMPARED = 6, 200_000  # bins of brightness; places, evenly spread
FEWEST_COMPARED = 50  # per brightness bin
MEDIAN_OF_NORMAL = 0.67448975  # of |z|, z standard normal
MOST_TRIED, MOST_LEVELS = 0.9, 500  # share of the differences; if they take no more values, the grey levels are few


class Flat(NamedTuple):
    """The flattest places of one brightness: their median brightness, standard deviation of D_h, and number."""

    brightness: float
    sigma: float
    number: int


def flat_sigmas(looked: Looked, spacing: int, bins: int, quiet: bool = False) -> list[Flat]:
    """The flattest places of at most so many brightness bins of as many pixels each, dark to bright.

    Fewer bins in small images; none where nothing varies. The number does not depend on the spacing, unless the image
    is tiny. Of differences of repetitions all places count. spacing: in pixels, the same both ways. quiet: go on from
    the flattest places to all that are as quiet as their sigma, for white noise.
    """
    places = places_of(looked, spacing)
    bins = max(1, min(bins, int(FLATTEST * np.count_nonzero(looked.alive)) // FEWEST_VALUES))
    if not places[0].size:
        return []
    share = 1.0 if looked.pure else float(np.clip(bins * FEWEST_VALUES / places[0].size, FLATTEST, MOST_FLAT))
    edges = np.quantile(places[1], np.linspace(0, 1, bins + 1))[1:-1]
    return [_flat(group, share, PASSES * (quiet and not looked.pure)) for group in _split(places, edges)]


def evenly_spaced_sigmas(looked: Looked, spacing: int, bins: int) -> list[Flat]:
    """As `flat_sigmas`, in bins of the same width in brightness; those with too few places are left out.

    At the flattest places of repetitions as well.
    """
    places = places_of(looked, spacing)
    if not places[0].size:
        return []
    low, high = np.quantile(places[1], 0.001), np.quantile(places[1], 0.999)
    edges = np.linspace(low, high, bins + 1)[1:-1]
    groups = [group for group in _split(places, edges) if group[0].size * MOST_FLAT >= FEWEST_IN_WIDTH]
    return [_flat(group, max(FLATTEST, FEWEST_IN_WIDTH / group[0].size)) for group in groups]


def variances_at_spacings(looked: Looked, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness of the bins, and the variance of D (bins, last^2) at spacings (1, 1), (1, 2) … (last, last).

    At the flattest places of each brightness, the same for all spacings: where the noise varies in space, other places
    would be flattest for each. Nothing, if `last` is not positive or too few places are outside masks.
    """
    if last < 1:
        return np.empty(0), np.empty((0, 0))
    rows, columns = (side - last for side in looked.x.shape[1:])
    _, unrest, judged = _unrest(looked, min(BROAD, last), 2 * (last + GAP) + 1)
    alive = judged[:, :rows, :columns] & np.logical_and.reduce(_corners(looked.alive, last))
    unrest = unrest[:, :rows, :columns][alive]
    brightness = looked.brightness[:, last // 2 :, last // 2 :][:, :rows, :columns][alive]
    step = 1 + brightness.size // MOST_COMPARED if looked.pure else 1
    place = [axis[::step] for axis in np.nonzero(alive)]
    brightness, unrest = brightness[::step], unrest[::step]
    edges = np.quantile(brightness, np.linspace(0, 1, BROAD_BINS + 1))[1:-1] if brightness.size else np.empty(0)
    found = []
    for group in _split((np.arange(brightness.size), brightness, unrest), edges):
        share = 1.0 if looked.pure else float(np.clip(FEWEST_VALUES / group[0].size, FLATTEST, MOST_FLAT))
        flat = group[0][group[2] <= np.quantile(group[2], share)]
        if len(flat) >= FEWEST_COMPARED:
            found.append((float(np.median(brightness[flat])), _variances(looked, [axis[flat] for axis in place], last)))
    return np.array([one for one, _ in found]), np.array([each for _, each in found])


def _variances(looked: Looked, place: list[np.ndarray], last: int) -> list[float]:
    """Of D at all spacings, at these places (slice, row, column)."""
    x, (image, row, column) = looked.x, place
    over = 1 if looked.over is None else looked.over[image, row, column]
    here = x[image, row, column]
    below = [x[image, row + down, column] for down in range(1, last + 1)]
    beside = [x[image, row, column + across] for across in range(1, last + 1)]
    found = []
    for down, across in product(range(last), repeat=2):
        mixed = (here - below[down] - beside[across] + x[image, row + down + 1, column + across + 1]) / 2
        found.append(deviation_of(_spread_levels(mixed) / over) ** 2)
    return found


def _split(places: tuple[np.ndarray, ...], edges: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """The places between the edges of their brightness, dark to bright, empty groups left out."""
    index = np.searchsorted(edges, places[1], side="right").astype(np.uint16)  # short numbers are sorted by radix
    order, ends = np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1]
    parts = [np.split(part[order], ends) for part in places]
    return [group for group in zip(*parts, strict=True) if group[0].size]


def _flat(group: tuple[np.ndarray, ...], share: float, passes: int = 0) -> Flat:
    """From the flattest places; then, in each pass, from those whose ring holds no more than the last sigma^2.

    Where noise is all there is those are half of the places, and the more the better. Where anatomy is they are few:
    its share in them is less than in sigma, so that sigma can only fall.
    """
    detail, brightness, unrest, *_ = group
    flat = unrest <= np.quantile(unrest, share)
    for _ in range(passes):
        quiet = unrest <= deviation_of(detail[flat]) ** 2
        if np.count_nonzero(quiet) < FEWEST_VALUES:
            break
        flat = quiet
    return Flat(float(np.median(brightness[flat])), deviation_of(detail[flat]), int(np.count_nonzero(flat)))


def deviation_of(detail: np.ndarray) -> float:
    """Standard deviation by the median: what edges are left among the places hardly count."""
    return float(np.median(np.abs(detail))) / MEDIAN_OF_NORMAL


def places_of(looked: Looked, spacing: int) -> tuple[np.ndarray, ...]:
    """(D_h, brightness, mean D_h^2 in the ring, cell) at all places outside masks, flat arrays; made once.

    The cells are the squares of an even grid of CELLS each way over the image, numbered row by row.
    """
    if spacing not in looked.places:
        looked.places[spacing] = _measure_places(looked, spacing)
    return looked.places[spacing]


def _measure_places(looked: Looked, spacing: int) -> tuple[np.ndarray, ...]:
    if min(looked.x.shape[1:]) <= spacing:
        return (np.empty(0, np.float32),) * 4
    detail, unrest, alive = _unrest(looked, spacing, 2 * (spacing + GAP) + 1)
    brightness = np.mean(_corners(looked.brightness, spacing), axis=0)
    down, across = (
        ((axis[:, :-spacing] + 1) * (CELLS / 2)).astype(np.uint16) for axis in (looked.rows, looked.columns)
    )
    cell = down[:, :, None] * np.uint16(CELLS) + across[:, None, :]
    over = _over(looked, spacing)
    detail = _spread_levels(detail[alive]) / (1 if over is None else over[alive])
    return detail, brightness[alive], unrest[alive], cell[alive]


def _unrest(looked: Looked, spacing: int, inner: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(D as it is, mean D^2 in the ring around a hole of side `inner`, whether outside masks), at every place."""
    a, b, c, e = _corners(looked.x, spacing)
    detail = (a - b - c + e) / 2
    alive = np.logical_and.reduce(_corners(looked.alive, spacing))
    over = _over(looked, spacing)
    return detail, _ring_mean(np.square(detail if over is None else detail / over), alive, inner), alive


def _over(looked: Looked, spacing: int) -> np.ndarray | None:
    """What D is to be divided by, at every place."""
    return None if looked.over is None else np.mean(_corners(looked.over, spacing), axis=0)


def _corners(image: np.ndarray, spacing: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    left, right = image[..., :-spacing], image[..., spacing:]
    return left[:, :-spacing], right[:, :-spacing], left[:, spacing:], right[:, spacing:]


def _ring_mean(values: np.ndarray, alive: np.ndarray, inner: int) -> np.ndarray:
    """Mean over the pixels that are alive in the square ring around each pixel, `inner` the side of the hole."""
    from scipy.ndimage import uniform_filter

    def ring(image: np.ndarray) -> np.ndarray:  # beyond the border nothing: mirrored noise would be the place's own
        outer = inner + 2 * RING
        whole, hole = (uniform_filter(image, (1, side, side), mode="constant") * side**2 for side in (outer, inner))
        return whole - hole

    weight = alive.astype(np.float32)
    return ring(values * weight) / np.maximum(ring(weight), 1)


def _spread_levels(detail: np.ndarray) -> np.ndarray:
    """Differences of images with few grey levels, spread evenly over the width of a level; others unchanged.

    A quantile of numbers on a coarse lattice would itself lie on the lattice. The largest differences have no say: a
    failed pixel would hide the lattice, or make one of all others.
    """
    tried = np.abs(detail[:: 1 + detail.size // 20_000])
    tried = tried[tried <= np.quantile(tried, MOST_TRIED)] if tried.size else tried
    peak = tried.max(initial=0)
    if peak == 0:
        return detail
    levels = np.unique(np.round(tried / peak, 3))
    if not 2 <= len(levels) <= MOST_LEVELS:
        return detail
    step = float(np.median(np.diff(levels))) * peak
    return detail + step * (np.random.default_rng(1).random(detail.shape) - 0.5)
