"""From a scan's own units to those that the networks work in, and back: normalised, and stabilised if wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from diffdenoise.far_out import Limits
from diffdenoise.noise.estimate import NoiseLevel, with_one_sigma
from diffdenoise.noise.stabilise import Stabilisation, stabilise
from diffdenoise.normalisation import normalise, restore


@dataclass(frozen=True)
class Domain:
    """The way of one scan; level: of its noise as the networks see it; limits: beyond them they see something else."""

    offset: float
    scale: float
    level: NoiseLevel
    stabilisation: Stabilisation | None = None
    limits: Limits | None = None

    @classmethod
    def of(cls, offset: float, scale: float, level: NoiseLevel, even: bool, limits: Limits | None = None) -> Domain:
        """From a scan's range, its noise level in its own units, whether that is to be evened out, and its limits."""
        knots = tuple((knot - offset) / scale for knot in level.knots)
        normalised = replace(level, knots=knots, sigma=tuple(sigma / scale for sigma in level.sigma))
        if not even or max(level.sigma) <= 0:
            return cls(offset, scale, normalised, limits=limits)
        table = stabilise(normalised)
        return cls(offset, scale, with_one_sigma(normalised, table.sigma), table, limits)

    def into(self, pixels: np.ndarray) -> np.ndarray:
        """Noisy pixels (..., rows, columns) as the networks see them, float32."""
        shown = self.limits.tamed(pixels) if self.limits else pixels
        normalised = normalise(shown, self.offset, self.scale)
        return self.stabilisation.forward(normalised) if self.stabilisation else normalised

    def far_out(self, pixels: np.ndarray) -> np.ndarray:
        """Where the networks see something else than these noisy pixels (..., rows, columns), for it is far out."""
        return self.limits.tamed(pixels) != pixels if self.limits else np.zeros(pixels.shape, bool)

    def back(self, denoised: np.ndarray) -> np.ndarray:
        """Denoised pixels in the scan's units, float32; unbiased where the noise was evened out."""
        normalised = self.stabilisation.inverse(denoised) if self.stabilisation else denoised
        return restore(normalised, self.offset, self.scale)

    def spread_back(self, spread: np.ndarray, denoised: np.ndarray) -> np.ndarray:
        """A spread around denoised pixels (both as the networks see them) in the scan's units, float32."""
        if self.stabilisation is None:  # a difference of restored pixels would be rounded as these are
            return (np.float32(self.scale) * spread).astype(np.float32)
        back = self.stabilisation.inverse
        return (np.float32(self.scale) * np.abs(back(denoised + spread) - back(denoised))).astype(np.float32)
