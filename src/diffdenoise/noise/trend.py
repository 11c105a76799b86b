"""Which kind of noise it is: how its level depends on brightness.

With s the measured standard deviation at brightness b, in the scan's own units:

    gaussian   s^2 = sigma^2
    poisson    s^2 = sigma^2 + (b - offset) / lam        sigma 0 for counting noise alone
    gamma      s   = (b - offset) / sqrt(looks)          multiplicative noise of any origin
    rician     s^2 = sigma^2 var(|t + n + i m|)          at b = sigma E|t + n + i m|: 0.655 sigma in the dark
    signal-dependent                                     as poisson or gamma, but no such noise: from an MR scanner
    projected                                            as it is measured: of CT, which goes by paths, not brightness

The offset is 0 unless the scan holds negative values: then (HU) it is fitted. Anatomy adds to s where a brightness has
no flat places, so a curve may lie below some of the points but not above them. Rician noise is told by its background,
where values are Rayleigh distributed: never negative, mean over standard deviation 1.91, skewness 0.63.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from diffdenoise.noise.background import air_of, background_of
from diffdenoise.noise.counts import counts_to_a_unit
from diffdenoise.noise.differences import evenly_spaced_sigmas
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.looked import Looked, look
from diffdenoise.noise.rician import deviation_at, moments, rician_sigma, skewness_at
from diffdenoise.noise.spatial import EVEN, evened
from diffdenoise.noise.texture import Machine

Kind = Literal["gaussian", "poisson", "gamma", "rician", "signal-dependent", "projected", "unknown"]
GROWING: tuple[Kind, ...] = ("poisson", "gamma", "signal-dependent")  # over the whole range of brightness

BINS = 20  # of brightness
FEWEST_BINS = 4  # from fewer, no trend can be told
SHARES = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2)  # tried: how much of the brightest's variance is in the dark, too
ABOVE, BELOW = 4.0, 10.0  # standard errors; a point further above (below) the curve counts as this far
SIMPLER = 0.25  # standard errors in the mean; a curve must be so much better than a constant
GOOD_FIT = 0.1  # misfit below which a Rician curve is taken at its word
POINTS = 65  # of the curve that makes a level of counts
SPACING = 10  # of the entries of the Rician tables that make a level: half a sigma of signal
MOST_MISFIT = 0.2  # of the points' middle from the best curve; beyond it the kind is unknown
DARKER, BRIGHTER = (0.0, 1 / 3, 2 / 3), (1.5, 2.5, 4.0)  # times the signal at either end of a measured level
FLAT = 1.3  # greatest over least level: next to no trend, though anatomy hides the curve


@dataclass(frozen=True)
class Trend:
    """The kind of noise and its parameters (see the module), in the scan's units; what does not apply is 0.

    sigma: the constant part (rician: of each channel); lam: counts per unit of brightness; looks: of multiplicative
    noise; offset: the brightness without signal; misfit: median relative deviation of the measured levels from the
    curve, 0.1 or less in a good fit. counted: lam is exact, for the values are whole counts (see `counts`).
    """

    kind: Kind
    sigma: float = 0.0
    lam: float = 0.0
    looks: float = 0.0
    offset: float = 0.0
    misfit: float = 0.0
    counted: bool = False

    @property
    def is_rician(self) -> bool:
        """Whether the measured levels follow the curve of Rician noise so well that it takes their place."""
        return self.kind == "rician" and self.misfit < GOOD_FIT

    def deviation(self, brightness: np.ndarray) -> np.ndarray:
        """Of noise of a kind that grows with brightness at these, as its curve has it."""
        signal = np.maximum(np.asarray(brightness, np.float64) - self.offset, 0)
        return signal / np.sqrt(self.looks) if self.looks else np.sqrt(self.sigma**2 + signal / self.lam)

    def skewness(self, brightness: np.ndarray) -> np.ndarray:
        """Of the noise at these brightnesses, as its kind has it; 0 where the kind is symmetric or unknown."""
        signal = np.maximum(np.asarray(brightness, np.float64) - self.offset, 0)
        if self.kind == "rician":
            return skewness_at(signal, self.sigma)
        if self.kind == "gamma":
            return np.full_like(signal, 2 / np.sqrt(self.looks))
        if self.kind == "poisson":  # third cumulant over the deviation cubed, of the counting part and of both
            return signal / self.lam**2 / np.maximum(self.sigma**2 + signal / self.lam, 1e-30) ** 1.5
        return np.zeros_like(signal)


def classify_noise(slices: np.ndarray, level: NoiseLevel) -> Trend:
    """The kind of noise of (slices, rows, columns) in their own units, not normalised; level: estimated from them."""
    return trend_of(look(slices), level)


def trend_of(looked: Looked, level: NoiseLevel, differences: Looked | None = None, machine: Machine = "") -> Trend:
    """As `classify_noise`, of what is looked at: one image; and the differences of its repetitions, if there are some.

    On these the curve over brightness is free of the anatomy. A dark background shows itself in the image alone. The
    level's bins hold as many pixels each, most of them background; here they are measured anew, each as wide. machine:
    where the image comes from; an MR scanner counts nothing, and speckle is not of its making. In CT the air around a
    body is quieter than the body, however bright: no curve says how much.
    """
    flat = max(level.sigma) < FLAT * min(level.sigma)
    if machine == "CT":
        return Trend("gaussian" if flat else "projected", sigma=level.typical)
    known = background_of(looked) if level.variation.is_even and differences is None else None
    if known is not None and (known.reach or level.reach):
        return Trend("rician", sigma=known.sigma)
    looked = evened(looked, level.variation)
    curve_of = evened(differences, level.variation) if differences else looked
    found = evenly_spaced_sigmas(curve_of, level.reach + 1, BINS)
    found = [flat for flat in found if flat.sigma > 0]
    if len(found) < FEWEST_BINS:
        return Trend("unknown", sigma=level.typical)
    brightness, sigmas, places = (np.array(part, dtype=np.float64) for part in zip(*found, strict=True))
    sigmas /= level.texture.shown(level.reach + 1, level.reach + 1)
    errors = 0.03 + 1.2 / np.sqrt(places)
    offset = float(brightness.min()) if looked.x.min() < 0 else 0.0
    cost, best = _best(brightness, sigmas, errors, offset)
    if machine == "MR" and best.kind in GROWING:
        best = replace(best, kind="signal-dependent")
    counts = counts_to_a_unit(looked.x, brightness, sigmas) if best.kind == "poisson" and not level.reach else 0.0
    if counts:
        return Trend("poisson", lam=counts, misfit=_misfit(sigmas, np.sqrt(brightness / counts)), counted=True)
    channel = rician_sigma(looked)
    if channel:
        curve = deviation_at(brightness, channel)
        if float(_cost(np.log(sigmas / curve) / errors)) < cost + SIMPLER:
            best = Trend("rician", sigma=channel, misfit=_misfit(sigmas, curve))
    if flat and (best.kind == "gaussian" or best.misfit > MOST_MISFIT):
        return Trend("gaussian", sigma=level.typical, misfit=best.misfit)
    return best if best.misfit <= MOST_MISFIT else Trend("unknown", sigma=level.typical, misfit=best.misfit)


def as_its_kind(level: NoiseLevel, trend: Trend) -> NoiseLevel:
    """The level with the skewness of its kind; that kind's own curve for whole counts, and Rician noise that fits.

    What grows with brightness does so beyond the brightest places that were measured, too. What is above its curve is
    anatomy, but for a constant part, which the darkest places show.
    """
    if trend.is_rician:
        return rician_level(trend.sigma, level)
    if trend.counted:
        return counted_level(trend.lam, level)
    if trend.kind in GROWING:
        curve = np.maximum(trend.deviation(np.array(level.knots)), level.sigma[0])
        level = _continued(replace(level, sigma=tuple(np.minimum(level.sigma, curve).tolist())), trend)
    skewness = trend.skewness(np.array(level.knots))
    return replace(level, skewness=tuple(map(float, skewness))) if skewness.any() else level


def _continued(level: NoiseLevel, trend: Trend) -> NoiseLevel:
    """A level that goes on as the curve of its kind does, from either end of what was measured."""

    def part(end: int, times: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        signal = level.knots[end] - trend.offset
        if signal <= 0:
            return (), ()
        knots = trend.offset + signal * np.array(times)
        sigma = level.sigma[end] * trend.deviation(knots) / trend.deviation(np.array(level.knots[end]))
        return tuple(knots.tolist()), tuple(sigma.tolist())

    (dark, quiet), (bright, loud) = part(0, DARKER), part(-1, BRIGHTER)
    return replace(level, knots=dark + level.knots + bright, sigma=quiet + level.sigma + loud)


def rician_level(sigma: float, level: NoiseLevel) -> NoiseLevel:
    """That of Rician noise with `sigma` in each channel, correlated as `level` says."""
    _, mean, deviation, skewness, excess, dark = (tuple(map(float, table[::SPACING])) for table in moments())
    knots, of_each = (tuple(sigma * value for value in table) for table in (mean, deviation))
    return replace(level, knots=knots, sigma=of_each, skewness=skewness, excess=excess, dark=dark)


def level_of_air(looked: Looked, level: NoiseLevel) -> NoiseLevel | None:
    """That of the noise of an empty background, whatever the anatomy shows; None without one. level: what that shows.

    There is nothing else in the air; but not always is noise in the anatomy the same.
    """
    air = air_of(looked)
    like = air and replace(level, reach=air.reach, texture=air.texture, variation=EVEN)
    return rician_level(air.sigma, like) if air and like else None


def counting_level(counts: float, brightest: float) -> NoiseLevel:
    """That of counting noise, `counts` to a unit of brightness, up to four times the `brightest` of an image.

    Half of the brightnesses are below half of that, so that `typical` is what may be typical of it.
    """
    return _counting(counts, 4 * max(brightest, 1 / counts) * np.linspace(0, 1, POINTS) ** 3)


def counted_level(counts: float, level: NoiseLevel) -> NoiseLevel:
    """The same with the brightnesses of a measured level, each of which is as frequent, and up to four times those.

    Without its map: what varies over the image beyond brightness is not counting noise.
    """
    finer = np.interp(np.linspace(0, 1, POINTS), np.linspace(0, 1, len(level.knots)), level.knots)
    return _counting(counts, np.unique([0.0, *finer, *(finer[-1] * np.arange(2, 5))]))


def _counting(counts: float, brightness: np.ndarray) -> NoiseLevel:
    tables = brightness, np.sqrt(brightness / counts), Trend("poisson", lam=counts).skewness(brightness)
    knots, sigma, skewness = (tuple(map(float, table)) for table in tables)
    return NoiseLevel(knots, sigma, skewness=skewness)


def _best(brightness: np.ndarray, sigmas: np.ndarray, errors: np.ndarray, offset: float) -> tuple[float, Trend]:
    """(cost, the best of constant, poisson and gamma curves), with a preference for the constant."""
    width = float(brightness.max() - offset)
    signal = np.clip((brightness - offset) / width, 1e-6, None)
    shapes: list[tuple[Kind, float, np.ndarray]] = [("gaussian", 1.0, np.ones_like(signal))]
    shapes += [("poisson", share, np.sqrt(share + (1 - share) * signal)) for share in SHARES]
    shapes += [("gamma", share, share + (1 - share) * signal) for share in (SHARES if offset else (0.0,))]
    fits = [(*_fit(sigmas, shape, errors), kind, share, shape) for kind, share, shape in shapes]
    cost, scale, kind, share, shape = min(fits, key=lambda fit: fit[0] - SIMPLER * (fit[2] == "gaussian"))
    misfit = _misfit(sigmas, scale * shape)
    if kind == "gaussian":
        return cost, Trend(kind, sigma=scale, misfit=misfit)
    if kind == "poisson":
        constant, slope = scale**2 * share, scale**2 * (1 - share) / width
        if offset:  # a constant part and a lower offset are the same
            return cost, Trend(kind, lam=1 / slope, offset=offset - constant / slope, misfit=misfit)
        return cost, Trend(kind, sigma=float(np.sqrt(constant)), lam=1 / slope, misfit=misfit)
    slope = scale * (1 - share) / width
    return cost, Trend(kind, looks=slope**-2, offset=offset - scale * share / slope, misfit=misfit)


def _fit(sigmas: np.ndarray, shape: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """(mean deviation in standard errors, scale) of the best multiple of a shape, one that passes through a point."""
    scales = sigmas / shape
    deviation = np.log(scales[:, None] / scales[None, :]) / errors[:, None]  # of each point (rows) from each curve
    costs = _cost(deviation)
    return float(costs.min()), float(scales[costs.argmin()])


def _cost(deviation: np.ndarray) -> np.ndarray:
    """Mean over the points (axis 0) of how far they are from a curve, signed standard errors."""
    return np.where(deviation > 0, np.minimum(deviation, ABOVE), np.minimum(-deviation, BELOW)).mean(0)


def _misfit(sigmas: np.ndarray, curve: np.ndarray) -> float:
    return float(np.median(np.abs(sigmas / curve - 1)))
