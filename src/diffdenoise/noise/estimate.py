"""Noise level, reach and texture from noisy images alone; the level as a function of brightness.

At the flattest places of each brightness the mixed differences D_h (see `differences`) show a share of sigma: the
level is what they show one pixel beyond the reach of the correlation (see `reach`), divided by that share, which the
noise's `texture` tells. Where a brightness has no flat places (the cortex), anatomy passes for noise. It can only add.
As noise grows or falls with brightness, but has no hill in between, what stands out above the best rising or falling
curve is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from diffdenoise.noise.alone import texture_alone
from diffdenoise.noise.background import background_of
from diffdenoise.noise.differences import flat_sigmas
from diffdenoise.noise.looked import Looked, look
from diffdenoise.noise.reach import FAINT, LONGEST_REACH, reach_of
from diffdenoise.noise.rician import deviation_at
from diffdenoise.noise.spatial import EVEN, Variation, evened, variation_of
from diffdenoise.noise.texture import WHITE, Texture, texture_of

BINS = 12  # of brightness
RAYLEIGH = float(np.sqrt(np.pi / (4 - np.pi)))  # mean over deviation of magnitudes without signal
MORE = ("skewness", "excess", "dark")  # that a level may have at each knot, beside sigma
PASSES = 2  # of the level by brightness and its variation over the image, each given the other
STANDS_OUT = 1.03  # over the rising or falling curve; more, beyond chance, is anatomy


@dataclass(frozen=True)
class NoiseLevel:
    """Standard deviation `sigma` at each brightness `knots` (rising), in the images' unit; linear in its square.

    reach: the noise is correlated over so many pixels, 0 for white noise; texture: how. skewness, excess (of kurtosis
    over that of Gauss): at each knot; no skewness given is none at all, no excess 1.5 times the square of the skewness,
    as that of Gamma noise. dark: at each knot, the share of the variance that correlates not as the texture says but as
    magnitudes do where there is no signal; none given is none. variation: over the image, beyond that with brightness.
    rays: k of `rays`, by how much noise of projections is stronger along one direction than along another.
    """

    knots: tuple[float, ...]
    sigma: tuple[float, ...]
    reach: int = 0
    texture: Texture = WHITE
    skewness: tuple[float, ...] = ()
    excess: tuple[float, ...] = ()
    dark: tuple[float, ...] = ()
    variation: Variation = EVEN
    rays: float = 0.0

    @classmethod
    def of_dict(cls, stored: dict[str, Any]) -> NoiseLevel:
        """What `dataclasses.asdict` made of one, also by way of JSON."""
        curve = {name: tuple(stored.get(name, ())) for name in ("knots", "sigma", *MORE)}
        parts = {"texture": Texture.of_dict(stored["texture"]), "variation": Variation.of_dict(stored["variation"])}
        return cls(**{**stored, **curve, **parts})

    def variance(self, brightness: np.ndarray, over: np.ndarray | float = 1.0) -> np.ndarray:
        """Noise variance at each pixel of a (nearly) clean image, same shape.

        over: times as strong as elsewhere, at each pixel (see `over`).
        """
        return (np.interp(brightness, self.knots, np.square(self.sigma)) * np.square(over)).astype(np.float32)

    def over(self, shape: tuple[int, ...]) -> np.ndarray | float:
        """How many times as strong as its brightness says the noise is at each pixel of whole images (..., R, C)."""
        return 1.0 if self.variation.is_even else self.variation.over(shape)

    def variance_of(self, noisy: np.ndarray, brightness: np.ndarray, over: np.ndarray | float = 1.0) -> np.ndarray:
        """Noise variance as the noisy pixels themselves show it, given the brightness around each; same shape.

        Noise n has a t(n), Stein's kernel, with E[n f(n)] = E[t f'(n)] for every f. With v the variance of n, s its
        skewness, e its excess and u = n / sqrt(v), it is for the distributions of Pearson (1895)

            t = v (12 + 4 e - 3 s^2 + (6 + e) s u + (2 e - 3 s^2) u^2) / (12 + 6 e - 6 s^2),

        v (1 + s u / 2) for Gamma noise, and within 3 % of the truth on the mean for Rician noise. With v alone what is
        skewed passes for signal. White noise only.
        """
        variance = self.variance(brightness, over)
        if not self.skewness or not self.texture.is_white:
            return variance
        s = np.interp(brightness, self.knots, self.skewness)
        e = np.interp(brightness, self.knots, self.excess) if self.excess else 1.5 * s**2
        u = (noisy - brightness) / np.sqrt(np.maximum(variance, 1e-30))
        kernel = (12 + 4 * e - 3 * s**2 + (6 + e) * s * u + (2 * e - 3 * s**2) * u**2) / (12 + 6 * e - 6 * s**2)
        return (variance * np.maximum(kernel, 0)).astype(np.float32)

    def dark_at(self, brightness: np.ndarray) -> np.ndarray:
        """The share of the variance at these brightnesses that `dark` tells; same shape, float32."""
        return np.interp(brightness, self.knots, self.dark or np.zeros(len(self.knots))).astype(np.float32)

    @property
    def is_of_magnitudes(self) -> bool:
        """Whether it is a Rician curve (see `trend.rician_level`); no other kind is given an excess."""
        return bool(self.excess)

    @property
    def typical(self) -> float:
        """One figure: the median over the brightness bins."""
        return float(np.median(self.sigma))

    @property
    def loudest(self) -> float:
        """Another one, which does not depend on how much of the image is a quiet background."""
        return max(self.sigma)


def scaled(level: NoiseLevel, times: float) -> NoiseLevel:
    """The level of noise that is so many times as strong.

    How the noise of magnitudes depends on brightness is set by its own strength: there brightnesses go with it, from
    that of no signal and no noise, which the first knot tells, the mean and the deviation of no signal with noise.
    """
    louder = replace(level, sigma=tuple(times * sigma for sigma in level.sigma))
    if not level.is_of_magnitudes:
        return louder
    zero = level.knots[0] - RAYLEIGH * level.sigma[0]
    return replace(louder, knots=tuple(zero + times * (knot - zero) for knot in level.knots))


def without_grain(level: NoiseLevel) -> NoiseLevel:
    """The level of correlated noise alone, without the white noise beside it."""
    grain = level.texture.grain
    return replace(scaled(level, (1 - grain) ** 0.5), texture=replace(level.texture, grain=0.0))


def constant_level(sigma: float) -> NoiseLevel:
    """A level that does not depend on brightness, of white noise."""
    return NoiseLevel((0.0,), (float(sigma),))


def with_one_sigma(level: NoiseLevel, sigma: float) -> NoiseLevel:
    """The same where noise is known to be as strong, and symmetric, at every brightness."""
    return replace(level, knots=(0.0,), sigma=(float(sigma),), skewness=(), excess=(), dark=())


def with_texture(level: NoiseLevel, texture: Texture) -> NoiseLevel:
    """The level of the same differences, were they of noise with another texture."""
    beyond = level.reach + 1
    factor = level.texture.shown(beyond, beyond) / texture.shown(beyond, beyond)
    return replace(scaled(level, factor), texture=texture)


def estimate_noise(slices: np.ndarray, reach: int | None = None, again: np.ndarray | None = None) -> NoiseLevel:
    """Noise level of (slices, rows, columns); reach: of its correlation in pixels, None to estimate that, too.

    again: a repetition (see `repetition`), which frees the estimate of the anatomy.
    Places without any variation (a background set to a constant) carry no noise and do not count; sigma is 0 if
    nothing else is left. Images of few grey levels are fine: the levels' width counts as part of the noise.
    """
    return level_of(look(slices, again), reach)


def level_of(looked: Looked, reach: int | None = None) -> NoiseLevel:
    """As `estimate_noise`, of what is looked at."""
    level = level_by_brightness(looked, reach)
    for _ in range(PASSES):
        spacing = level.reach + 1
        shown = level.texture.shown(spacing, spacing)
        variation = variation_of(looked, spacing, lambda brightness: shown * np.sqrt(level.variance(brightness)))  # noqa: B023
        if variation.is_even:
            break
        level = replace(level_by_brightness(evened(looked, variation), level.reach), variation=variation)
    known = background_of(looked) if reach is None and level.variation.is_even else None
    if known is None or not (known.reach or level.reach):  # of white noise the differences tell as much
        return level
    sigma = tuple(map(float, deviation_at(np.array(level.knots), known.sigma)))
    return NoiseLevel(level.knots, sigma, known.reach, known.texture)


def even_level(looked: Looked, level: NoiseLevel) -> NoiseLevel:
    """The level of correlated noise that is as strong at every brightness: from the flattest places of all together.

    Few brightnesses have places that are flat over its reach, and what anatomy there is adds to each of their levels.
    """
    spacing = level.reach + 1
    found = flat_sigmas(evened(looked, level.variation), spacing, bins=1)
    sigma = tuple(float(flat.sigma / level.texture.shown(spacing, spacing)) for flat in found)
    return replace(level, knots=(0.0,), sigma=sigma) if found else level


def level_by_brightness(looked: Looked, reach: int | None = None) -> NoiseLevel:
    """The level of noise that is taken to vary with brightness alone."""
    if reach is None:
        reach = min(LONGEST_REACH, reach_of(looked))
    # Correlated noise makes the rings themselves uncertain: there the flattest places alone are the better choice.
    bins_found = flat_sigmas(looked, reach + 1, BINS, quiet=reach == 0)
    if not bins_found:
        return constant_level(0.0)
    sigmas = np.array([flat.sigma for flat in bins_found])
    counts = np.array([flat.number for flat in bins_found])
    alone = texture_alone(looked) if reach and looked.pure else None
    texture = alone or (texture_of(looked, reach) if reach else WHITE)
    sigmas = sigmas / texture.shown(reach + 1, reach + 1)
    if not looked.pure:
        sigmas = _without_anatomy(sigmas, 1.2 / np.sqrt(counts))
    return NoiseLevel(tuple(flat.brightness for flat in bins_found), tuple(map(float, sigmas)), reach, texture)


def _without_anatomy(sigmas: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Cut what stands out above the highest curve below `sigmas` that rises (or falls, whichever fits better).

    errors: relative standard errors; a minimum of several estimates lies below the truth by about one of them.
    """
    loud = sigmas >= FAINT * sigmas.max()
    floor = np.where(loud, sigmas, np.inf)  # the dark or saturated ends of a scale may hold next to no noise
    rising = np.minimum.accumulate(floor[::-1])[::-1]
    falling = np.minimum.accumulate(floor)
    curve = rising if rising[loud].sum() >= falling[loud].sum() else falling
    return np.where(loud & (sigmas > (STANDS_OUT + 2 * errors) * curve), (1 + errors) * curve, sigmas)
