"""Between slices and the volumes of the formats that hold volumes: (x, y[, z[, t[, c]]]), x the fastest in memory."""

from __future__ import annotations

import numpy as np


def slice_axis(shape: tuple[int, ...], zooms: tuple[float, ...]) -> int:
    """The spatial axis with the largest voxels; of equals the last; a single-slice axis comes first."""
    # An axis of length 1 must be the slice axis: any other choice cuts a flat image into strips one pixel wide.
    sizes = [round(abs(float(zoom)), 3) if np.isfinite(zoom) else 0.0 for zoom in zooms[:3]]
    if len(shape) < 3:
        return 2
    return max(range(3), key=lambda axis: (shape[axis] == 1, sizes[axis], axis))


def stacked(array: np.ndarray) -> np.ndarray:
    """(..., rows, columns) -> (slices, rows, columns)."""
    return array.reshape(-1, *array.shape[-2:])


def as_parts(stored: np.ndarray, axis: int = -1) -> np.ndarray:
    """A complex array as a real one, real and imaginary parts side by side along a new axis; a real one as it is.

    They are denoised as two volumes: noise is Gaussian in both, and they share none.
    """
    return np.stack([stored.real, stored.imag], axis=axis) if stored.dtype.kind == "c" else stored


def from_parts(parts: np.ndarray, axis: int = -1, like: np.dtype | None = None) -> np.ndarray:
    """The complex array of these parts, in their precision; in the byte order of `like`."""
    real, imaginary = np.moveaxis(parts, axis, 0)
    dtype = np.result_type(parts.dtype, np.complex64).newbyteorder((like or real.dtype).byteorder)
    joined = np.empty(real.shape, dtype)
    joined.real, joined.imag = real, imaginary
    return joined


def as_slices(stored: np.ndarray, axis: int) -> np.ndarray:
    """(x, y[, z, t, c]) -> (c * t * z, rows, columns), z the fastest of the three where z is the slice axis."""
    spread = _slices_first(stored, axis)
    return spread.reshape(-1, *spread.shape[-2:])


def from_slices(slices: np.ndarray, shape: tuple[int, ...], axis: int) -> np.ndarray:
    """The volume of this shape that `as_slices` cut."""
    # the same rearrangement of an array of indices would be slow: undo its two steps instead
    template = _slices_first(np.broadcast_to(np.int8(0), shape), axis)
    full = slices.reshape(template.shape)
    if len(shape) > 2:
        full = np.moveaxis(full, -3, len(shape) - 1 - axis)
    return full.T


def _slices_first(stored: np.ndarray, axis: int) -> np.ndarray:
    flipped = stored.T  # NIfTI's first axis is the fastest in memory: now columns come last
    return flipped if stored.ndim < 3 else np.moveaxis(flipped, stored.ndim - 1 - axis, -3)
