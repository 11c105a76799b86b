"""Bring scans to about [0, 1] and back: affine, invertible, never clipped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.looked import some_places

Mode = Literal["noise", "scan", "fixed"]

LOW, HIGH = 0.5, 99.5  # percentiles that become 0 and 1
MOST_PIXELS = 2_000_000
SLACK = 1.5  # a scan may be scaled by so much more or less than any training scan, before its noise is disbelieved
# Times as strong, or as weak: so far off is the median over brightnesses of a single slice, if its noise is correlated
# or white.
ALIKE, ALIKE_WHITE = 1.25, 1.12
LOWEST, HIGHEST = -0.5, 2.5  # of a scan's range in the common unit; beyond, it is of another, however noisy it is
FOREIGN = 30.0  # times as wide a range, or as narrow: so are not scans of one unit, HU or 8-bit grey
KNOTS = 24  # brightnesses at which the noise of the training scans is kept


@dataclass(frozen=True)
class Normalisation:
    """The rule a model was trained with; kept in the model file.

    mode: "noise" brings each scan's noise to the same strength, so that a network need not find it out, by a scale of
    `scale` sigma, though not to less than `least` or more than `most` times the scan's own range. "scan" takes that
    range. "fixed" uses the numbers of the training scans for all, so that equal values stay equal (HU, 8-bit grey).

    knots, sigma: the noise of the training scans at brightnesses, in their own unit, if they have one in common. A scan
    that is as noisy as they at each brightness, as far as can be told, and about as bright, is of that unit, and takes
    their numbers, offset and unit: what a single slice shows of its noise is off by more.
    """

    mode: Mode
    offset: float = 0.0
    scale: float = 1.0
    least: float = 1.0
    most: float = 1.0
    unit: float = 1.0
    knots: tuple[float, ...] = ()
    sigma: tuple[float, ...] = ()

    @classmethod
    def of_dict(cls, stored: dict[str, Any]) -> Normalisation:
        """What `dataclasses.asdict` made of one, also by way of JSON. Raises ValueError where it makes no sense."""
        curve = {name: tuple(map(float, stored.get(name, ()))) for name in ("knots", "sigma")}
        rule = cls(**{**stored, **curve})
        scales = [rule.scale, rule.least, rule.most, rule.unit, *rule.sigma]
        if rule.mode not in get_args(Mode) or not all(map(math.isfinite, [rule.offset, *scales, *rule.knots])):
            raise ValueError(f"normalisation {rule.mode} with offset {rule.offset} and scales {scales}")
        if min(scales) <= 0 or len(rule.knots) != len(rule.sigma) or list(rule.knots) != sorted(rule.knots):
            raise ValueError(f"normalisation with scales {scales} at {rule.knots}")
        return rule

    def apply(self, own: tuple[float, float], noise: NoiseLevel) -> tuple[float, float]:
        """(offset, scale > 0) for a scan, in its units; own: its range (see `measure_range`)."""
        if self.mode == "fixed":
            return self.offset, self.scale
        offset, scale = own
        if self.is_alike(noise) and self._is_near(offset) and self._is_near(offset + scale):
            return self.offset, self.unit
        return offset, scale if self.mode == "scan" else scale * self._share(noise.loudest / scale)

    def is_foreign(self, own: tuple[float, float], told: bool = False) -> bool:
        """Whether a scan of this range is of another unit than the one in which equal values are to mean the same.

        told: how strong the noise is was given, in that unit.
        """
        unit = self.scale if self.mode == "fixed" else self.unit if told and self.knots else own[1]
        return not 1 / FOREIGN < own[1] / unit < FOREIGN

    def is_alike(self, noise: NoiseLevel) -> bool:
        """Whether noise is as strong as that of the training scans, in the unit that these have in common."""
        return bool(self.knots) and _is_about_one(float(np.median(self._over(noise))), noise)

    def believed(self, noise: NoiseLevel, air: NoiseLevel | None) -> NoiseLevel:
        """The noise of a scan: as measured, or as its empty background has it if only that is like the training scans'.

        Of few slices, those of fine and strong structure, much of that passes for noise. air: see `level_of_air`.
        """
        if air is None or not self.is_alike(air):
            return noise
        over = self._over(noise)
        return noise if all(_is_about_one(float(times), noise) for times in (over.min(), over.max())) else air

    def _over(self, noise: NoiseLevel) -> np.ndarray:
        """How many times as strong as that of the training scans it is, at each of its brightnesses."""
        return np.array(noise.sigma) / np.interp(noise.knots, self.knots, self.sigma)

    def _is_near(self, value: float) -> bool:
        return LOWEST <= (value - self.offset) / self.unit <= HIGHEST

    def _share(self, noise: float) -> float:
        return min(max(self.scale * noise, self.least), self.most)


def _is_about_one(times: float, noise: NoiseLevel) -> bool:
    """As far as noise like that can be measured."""
    most = ALIKE if noise.reach else ALIKE_WHITE
    return 1 / most < times < most


def measure_range(pixels: np.ndarray) -> tuple[float, float]:
    """(offset, scale) that bring the bulk of the pixels to [0, 1]; a constant image gets scale 1.

    The very lowest value does not count: it is often padding (-3024 HU) or a background set to zero.
    """
    flat = pixels.reshape(-1)
    flat = flat[some_places(flat.size, MOST_PIXELS)]
    inner = flat[flat > flat.min()]
    low, high = np.percentile(inner, [LOW, HIGH]) if inner.size else (0.0, 0.0)
    if high <= low:  # nearly constant, such as one bright spot on a flat ground: take the whole range
        low, high = pixels.min(), pixels.max()
    return float(low), float(high - low) if high > low else 1.0


def fit_normalisation(ranges: Sequence[tuple[float, float]], noises: Sequence[NoiseLevel], mode: Mode) -> Normalisation:
    """The rule for scans with these ranges (see `measure_range`) and noise; both in each scan's own units.

    The median over them becomes [0, 1]: of the ranges, for "fixed"; of the ranges in units of the noise, for "noise".
    """
    if mode == "fixed":
        offset, scale = np.median(ranges, axis=0)
        return Normalisation("fixed", float(offset), float(scale))
    noisy = [(own, noise) for own, noise in zip(ranges, noises, strict=True) if noise.loudest > 0]
    if mode == "scan" or not noisy:
        return Normalisation("scan")
    unit = float(np.median([scale / noise.loudest for (_, scale), noise in noisy]))
    shares = [unit * noise.loudest / scale for (_, scale), noise in noisy]
    alone = Normalisation("noise", scale=unit, least=min(shares) / SLACK, most=max(shares) * SLACK)
    knots, sigma = _in_common([noise for _, noise in noisy])
    rule = replace(alone, knots=knots, sigma=sigma)
    alike = [alone.apply(own, noise) for own, noise in noisy if rule.is_alike(noise)]
    if not alike:
        return alone
    offset, scale = np.median(alike, axis=0)
    return replace(rule, offset=float(offset), unit=float(scale))


def _in_common(noises: Sequence[NoiseLevel]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Brightnesses, and the median there of the noise of those scans that are as dark and as bright."""
    ends = [(noise.knots[0], noise.knots[-1]) for noise in noises]
    knots = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), KNOTS)
    curves = [np.interp(knots, noise.knots, noise.sigma, left=np.nan, right=np.nan) for noise in noises]
    known = [bool((curve > 0).any()) for curve in np.transpose(curves)]
    sigma = [np.median(curve[curve > 0]) for curve in np.transpose(curves)[known]]
    return tuple(map(float, knots[known])), tuple(map(float, sigma))


def normalise(pixels: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """(pixels - offset) / scale, float32."""
    return ((pixels - np.float32(offset)) / np.float32(scale)).astype(np.float32)


def restore(pixels: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """Undo `normalise`, float32."""
    return (pixels * np.float32(scale) + np.float32(offset)).astype(np.float32)
