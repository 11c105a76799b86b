"""Measures of the benchmark and the ablations beyond those of the package. Images are (slices, rows, columns)."""

from __future__ import annotations

import numpy as np

BANDS = {"low": (0.0, 0.125), "middle": (0.125, 0.25), "high": (0.25, 0.8)}  # cycles per pixel, radial
LOG_WIDTH, LOG_REACH = 1.5, 7  # pixels; of HFEN's Laplacian of Gaussian, 15 x 15
GMSD_CONSTANT = 170 / 255**2  # for a data range of 1
BRIGHTNESS_BINS = 8
LEAST_EDGES = 1e-6  # of what a reference's values could give at most: float32 rounds to a tenth of that


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


def gmsd(image: np.ndarray, reference: np.ndarray, data_range: float, mask: np.ndarray | None = None) -> float:
    """Gradient magnitude similarity deviation (Xue et al. 2014), without its downsampling; 0 for equal images."""
    from scipy.ndimage import prewitt

    a, b = (
        np.hypot(prewitt(x, -1), prewitt(x, -2)) / 3 for x in (image / data_range, reference / data_range)
    )  # Prewitt's kernel divided by 3, as the paper has it
    similarity = (2 * a * b + GMSD_CONSTANT) / (a**2 + b**2 + GMSD_CONSTANT)
    return float((similarity if mask is None else similarity[mask]).std())


def hfen(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float | None:
    """High-frequency error norm (Ravishankar & Bresler 2011): of the Laplacian of Gaussian, relative; 0 is best.

    None where the reference has no edges to be relative to (a uniform phantom).
    """
    from scipy.signal import fftconvolve

    squares = np.square(np.arange(-LOG_REACH, LOG_REACH + 1))[:, None] + np.square(np.arange(-LOG_REACH, LOG_REACH + 1))
    kernel = (squares / LOG_WIDTH**2 - 2) * np.exp(-squares / (2 * LOG_WIDTH**2))
    kernel -= kernel.mean()  # it must not see brightness

    def edges(x: np.ndarray) -> np.ndarray:
        return fftconvolve(
            np.pad(x.astype(np.float64), ((0, 0), *2 * [(LOG_REACH,) * 2]), "reflect"), kernel[None], "valid"
        )

    error, whole = edges(image - reference), edges(reference)
    if mask is not None:
        error, whole, reference = error[mask], whole[mask], reference[mask]
    strength, most = np.linalg.norm(whole), np.abs(kernel).sum() * np.linalg.norm(reference)
    return float(np.linalg.norm(error) / strength) if strength > LEAST_EDGES * most else None


def bias_by_brightness(image: np.ndarray, reference: np.ndarray) -> list[float | None]:
    """Mean of image - reference in bins of the reference's brightness, as many pixels each, dark to bright.

    None for a bin that nothing falls in (a reference of few values), so that a bin has the same place in all images.
    """
    edges = np.quantile(reference, np.linspace(0, 1, BRIGHTNESS_BINS + 1)[1:-1])
    index = np.searchsorted(edges, reference.ravel(), side="right")
    error = (image - reference).ravel()
    counts = np.bincount(index, minlength=BRIGHTNESS_BINS)
    sums = np.bincount(index, error, BRIGHTNESS_BINS)
    return [float(s / n) if n else None for s, n in zip(sums, counts, strict=True)]


def unbiased_mse(image: np.ndarray, repetitions: np.ndarray, mask: np.ndarray) -> float:
    """Mean of (f - a)(f - b) over all pairs of repetitions (repetition, slices, rows, columns): the MSE of f itself.

    Their noise must be independent of f's and of each other's, and zero-mean: it does not see a Rician floor. May be
    negative for one image.
    """
    error = image[None] - repetitions
    total, squares = error.sum(0), np.square(error).sum(0)
    count = len(repetitions)
    return float(((np.square(total) - squares) / (count * (count - 1)))[mask].mean())


def residual_checks(noisy: np.ndarray, denoised: np.ndarray) -> dict[str, float]:
    """What can be said without a reference: the residual's level over the estimated one, its mean and correlation.

    level: its standard deviation over the estimated noise level, 1 or a little less is right; mean: in units of the
    same; neighbours: correlation of neighbouring pixels of the residual.
    """
    from diffdenoise.noise.estimate import estimate_noise

    residual = noisy - denoised
    sigma = max(estimate_noise(noisy).typical, 1e-30)
    return {
        "level": float(residual.std() / sigma),
        "mean": float(residual.mean() / sigma),
        "neighbours": correlation(residual[..., 1:], residual[..., :-1]) if residual.std() > 0 else 0.0,
    }
