"""Bring scans to about [0, 1] and back: affine, invertible, never clipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LOW, HIGH = 0.5, 99.5  # percentiles that become 0 and 1
MOST_PIXELS = 2_000_000


@dataclass(frozen=True)
class Normalisation:
    """The rule a model was trained with; kept in the model file.

    mode: "scan" measures each scan's own range, as arbitrary units (MR) need; "fixed" uses the numbers of the training
    scans for all, so that equal values stay equal (HU, 8-bit grey).
    """

    mode: Literal["scan", "fixed"]
    offset: float = 0.0
    scale: float = 1.0

    def range_of(self, pixels: np.ndarray) -> tuple[float, float]:
        """(offset, scale) for a scan, in its units; scale > 0."""
        return (self.offset, self.scale) if self.mode == "fixed" else measure_range(pixels)


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


def fit_normalisation(ranges: Sequence[tuple[float, float]], mode: Literal["scan", "fixed"]) -> Normalisation:
    """The rule for scans with these ranges (see `measure_range`): for "fixed" the median over them."""
    if mode == "scan":
        return Normalisation("scan")
    offset, scale = np.median(ranges, axis=0)
    return Normalisation("fixed", float(offset), float(scale))


def normalise(pixels: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """(pixels - offset) / scale, float32."""
    return ((pixels - np.float32(offset)) / np.float32(scale)).astype(np.float32)


def restore(pixels: np.ndarray, offset: float, scale: float) -> np.ndarray:
    """Undo `normalise`, float32."""
    return (pixels * np.float32(scale) + np.float32(offset)).astype(np.float32)
