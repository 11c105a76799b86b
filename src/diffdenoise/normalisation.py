"""Bring scans to about [0, 1] and back: affine, invertible, never clipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LOW, HIGH = 0.5, 99.5  # percentiles that become 0 and 1
MOST_PIXELS = 2_000_000
SLACK = 1.5  # a scan may be scaled by so much more or less than any training scan, before its noise is disbelieved


@dataclass(frozen=True)
class Normalisation:
    """The rule a model was trained with; kept in the model file.

    mode: "noise" brings each scan's noise to the same strength, so that a network need not find it out, by a scale of
    `scale` sigma, though not to less than `least` or more than `most` times the scan's own range. "scan" takes that
    range. "fixed" uses the numbers of the training scans for all, so that equal values stay equal (HU, 8-bit grey).
    """

    mode: Literal["noise", "scan", "fixed"]
    offset: float = 0.0
    scale: float = 1.0
    least: float = 1.0
    most: float = 1.0

    def apply(self, own: tuple[float, float], sigma: float) -> tuple[float, float]:
        """(offset, scale > 0) for a scan, in its units; own: its range (see `measure_range`); sigma: of its noise."""
        if self.mode == "fixed":
            return self.offset, self.scale
        offset, scale = own
        return offset, scale if self.mode == "scan" else scale * self._share(sigma / scale)

    def _share(self, noise: float) -> float:
        return min(max(self.scale * noise, self.least), self.most)


def measure_range(pixels: np.ndarray) -> tuple[float, float]:
    """(offset, scale) that bring the bulk of the pixels to [0, 1]; a constant image gets scale 1.

    The very lowest value does not count: it is often padding (-3024 HU) or a background set to zero.
    """
    flat = pixels.reshape(-1)
    flat = flat[:: max(1, flat.size // MOST_PIXELS)]
    inner = flat[flat > flat.min()]
    low, high = np.percentile(inner, [LOW, HIGH]) if inner.size else (0.0, 0.0)
    if high <= low:  # nearly constant, such as one bright spot on a flat ground: take the whole range
        low, high = pixels.min(), pixels.max()
    return float(low), float(high - low) if high > low else 1.0


def fit_normalisation(
    ranges: Sequence[tuple[float, float]], sigmas: Sequence[float], mode: Literal["noise", "scan", "fixed"]
) -> Normalisation:
    """The rule for scans with these ranges (see `measure_range`) and noise; both in each scan's own units.

    The median over them becomes [0, 1]: of the ranges, for "fixed"; of the ranges in units of the noise, for "noise".
    """
    if mode == "fixed":
        offset, scale = np.median(ranges, axis=0)
        return Normalisation("fixed", float(offset), float(scale))
    noisy = [(scale, sigma) for (_, scale), sigma in zip(ranges, sigmas, strict=True) if sigma > 0]
    if mode == "scan" or not noisy:
        return Normalisation("scan")
    unit = float(np.median([scale / sigma for scale, sigma in noisy]))
    shares = [unit * sigma / scale for scale, sigma in noisy]
    return Normalisation("noise", scale=unit, least=min(shares) / SLACK, most=max(shares) * SLACK)


def normalise(pixels: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """(pixels - offset) / scale, float32."""
    return ((pixels - np.float32(offset)) / np.float32(scale)).astype(np.float32)


def restore(pixels: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """Undo `normalise`, float32."""
    return (pixels * np.float32(scale) + np.float32(offset)).astype(np.float32)
