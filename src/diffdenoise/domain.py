"""From a scan's own units to those that the networks work in, and back: normalised, and stabilised if wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.stabilise import Stabilisation, stabilise
from diffdenoise.normalisation import normalise, restore


@dataclass(frozen=True)
class Domain:
    """The way of one scan; level: of its noise as the networks see it."""

    offset: float
    scale: float
    level: NoiseLevel
    stabilisation: Stabilisation | None = None

    @classmethod
    def of(cls, offset: float, scale: float, level: NoiseLevel, even: bool) -> Domain:
        """From a scan's range, its noise level in its own units, and whether that is to be evened out."""
        knots = tuple((knot - offset) / scale for knot in level.knots)
        normalised = replace(level, knots=knots, sigma=tuple(sigma / scale for sigma in level.sigma))
        if not even or max(level.sigma) <= 0:
            return cls(offset, scale, normalised)
        table = stabilise(normalised)
        even_level = replace(normalised, knots=(0.0,), sigma=(table.sigma,), skewness=())
        return cls(offset, scale, even_level, table)

    def into(self, pixels: np.ndarray) -> np.ndarray:
        """Noisy pixels as the networks see them, float32."""
        normalised = normalise(pixels, self.offset, self.scale)
        return self.stabilisation.forward(normalised) if self.stabilisation else normalised

    def back(self, denoised: np.ndarray) -> np.ndarray:
        """Denoised pixels in the scan's units, float32; unbiased where the noise was evened out."""
        normalised = self.stabilisation.inverse(denoised) if self.stabilisation else denoised
        return restore(normalised, self.offset, self.scale)

    def spread_back(self, spread: np.ndarray, denoised: np.ndarray) -> np.ndarray:
        """A spread around denoised pixels (both as the networks see them) in the scan's units, float32."""
        return np.abs(self.back(denoised + spread) - self.back(denoised))
