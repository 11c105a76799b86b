"""What an estimate kept of the noise, by frequency band."""

from __future__ import annotations

import numpy as np

BANDS = {"low": (0.0, 0.125), "middle": (0.125, 0.25), "high": (0.25, 0.8)}  # cycles per pixel, radial


def kept_by_band(error: np.ndarray, noise: np.ndarray, mask: np.ndarray) -> dict[str, dict[str, float]]:
    """For each band and "all": "kept", the slope of the error on the noise, and "mse", in units of the noise's.

    error = estimate - clean, noise = noisy - clean, mask: where to look; all (slices, rows, columns).
    """
    spectra = [np.fft.fft2(np.where(mask, image, 0)) for image in (error, noise)]
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(size) for size in error.shape[-2:]), indexing="ij"))
    result = {}
    for name, (low, high) in {"all": (0.0, 1.0), **BANDS}.items():
        part_e, part_n = (spectrum[..., (radius >= low) & (radius < high)] for spectrum in spectra)
        power = np.vdot(part_n, part_n).real
        result[name] = {
            "kept": float(np.vdot(part_n, part_e).real / power),
            "mse": float(np.vdot(part_e, part_e).real / power),
        }
    return result


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, over all pixels."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
