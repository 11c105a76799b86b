"""Classical methods: no training. Where one needs the noise level, it is estimated from the scans it denoises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.methods import Denoise, Given, NotApplicableError, require_series
from benchmarks.methods.levels import estimated
from benchmarks.noises import Noise
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.floor import without_floor
from diffdenoise.noise.looked import look
from diffdenoise.noise.rician import rician_sigma
from diffdenoise.noise.stabilise import stabilise

POINTS = 256  # of a noise level over brightness
PSD_SIZE = 128  # pixels; side of the noise spectra given to BM3D
THICK = 3  # slices, of the blocks that are compared
CALIBRATED_ON = 160  # pixels; side of the middle part of a scan that a strength is chosen on


def noisy(given: Given) -> Denoise:
    """Nothing done."""
    return list


def non_local_means(given: Given) -> Denoise:
    """scikit-image's (the fast one, the better here, too), patches of 5, distance 6, its strength calibrated."""
    from skimage.restoration import denoise_nl_means

    fixed = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
    return _calibrated(denoise_nl_means, lambda sigma: {"h": sigma * np.linspace(0.4, 1.2, 9), "sigma": [sigma]}, fixed)


def wavelet(given: Given) -> Denoise:
    """scikit-image's BayesShrink on db2 wavelets, averaged over 16 shifts."""
    from skimage.restoration import cycle_spin, denoise_wavelet

    def one(image: np.ndarray, sigma: float) -> np.ndarray:
        options = {"sigma": sigma, "wavelet": "db2", "rescale_sigma": True}
        return cycle_spin(image, denoise_wavelet, max_shifts=3, func_kw=options, workers=1)

    return _each_slice(one)


def total_variation(given: Given) -> Denoise:
    """scikit-image's Chambolle, its weight calibrated."""
    from skimage.restoration import denoise_tv_chambolle

    return _calibrated(denoise_tv_chambolle, lambda sigma: {"weight": sigma * np.geomspace(0.3, 4, 9)})


def bm3d(given: Given) -> Denoise:
    """BM3D (Mäkinen et al. 2020) with the estimated level, taken as white and the same everywhere.

    Where the background shows Rician noise its floor is taken off, as this project's methods do.
    """
    from bm3d import bm3d as run

    def scan(pixels: np.ndarray, sigma: float) -> np.ndarray:
        result = np.stack([run(image, sigma) for image in pixels])
        channel = rician_sigma(look(pixels))
        return without_floor(result, channel) if channel else result

    return _each_scan(scan)


def bm3d_told(given: Given) -> Denoise:
    """BM3D told the noise: its spectrum if correlated, stabilised to a constant level if it depends on brightness.

    Where it varies over the image that is divided by how strong it is, and multiplied afterwards.
    """
    np.trapz = np.trapezoid  # type: ignore[attr-defined]  # bm3d 4.0.3 asks for the name of old
    from bm3d import bm3d as run

    noise = given.noise
    if noise is None:
        raise NotApplicableError("the noise of measured scans is not known")
    if noise.kind in ("gaussian", "correlated", "zero-filled"):
        psd = _spectrum(noise)
        return _each_slice(lambda image, _: run(image, psd), level=False)
    if noise.kind == "uneven":

        def even(image: np.ndarray, _: float) -> np.ndarray:
            deviation = noise.deviation(image)
            return run(image / deviation, 1.0) * deviation

        return _each_slice(even, level=False)
    there, back, sigma = _stabilised(noise)
    psd = _spectrum(noise, sigma) if noise.width else sigma  # a change of brightness leaves the texture about as it is
    return _each_slice(lambda image, _: back(run(there(image), psd)), level=False)


def dipy_nlmeans(given: Given) -> Denoise:
    """DIPY's blockwise non-local means on volumes, Gaussian noise of the estimated level."""
    from dipy.denoise.nlmeans import nlmeans

    def scan(pixels: np.ndarray, sigma: float) -> np.ndarray:
        if len(pixels) < THICK:
            raise NotApplicableError("its blocks are of volumes")
        return nlmeans(pixels, sigma=sigma, rician=False)

    return _each_scan(scan)


def mp_pca(given: Given) -> Denoise:
    """Marchenko-Pastur PCA (Veraart et al. 2016) over a series of scans of the same shape."""
    from dipy.denoise.localpca import mppca

    def series(scans: list[np.ndarray]) -> list[np.ndarray]:
        require_series(scans)
        return list(np.moveaxis(mppca(np.stack(scans, -1), patch_radius=2), -1, 0))

    return series


def _calibrated(
    denoiser: Callable[..., np.ndarray], tried: Callable[[float], dict[str, Any]], fixed: dict[str, Any] | None = None
) -> Denoise:
    """Parameters chosen for each scan, from the noisy image alone (J-invariance, Batson & Royer 2019)."""
    from skimage.restoration import calibrate_denoiser

    def scan(pixels: np.ndarray, sigma: float) -> np.ndarray:
        sides = [min(size, CALIBRATED_ON) for size in pixels.shape[1:]]
        rows, columns = ((size - side) // 2 for size, side in zip(pixels.shape[1:], sides, strict=True))
        middle = pixels[len(pixels) // 2, rows : rows + sides[0], columns : columns + sides[1]]
        run = partial(denoiser, **(fixed or {}))
        _, (parameters, losses) = calibrate_denoiser(middle, run, tried(sigma), extra_output=True)
        best = parameters[int(np.argmin(losses))]  # used on the whole image: J-invariance is for the choice alone
        return np.stack([run(image, **best) for image in pixels])

    return _each_scan(scan)


def _each_scan(one: Callable[[np.ndarray, float], np.ndarray]) -> Denoise:
    """Scan by scan, each with its estimated level."""
    return lambda scans: [one(scan, level.typical) for scan, level in zip(scans, estimated(scans), strict=True)]


def _each_slice(one: Callable[[np.ndarray, float], np.ndarray], level: bool = True) -> Denoise:
    """Slice by slice, with the scan's estimated level or without any."""
    if not level:
        return lambda scans: [np.stack([one(image, 0.0) for image in scan]) for scan in scans]
    return _each_scan(lambda scan, sigma: np.stack([one(image, sigma) for image in scan]))


def _spectrum(noise: Noise, sigma: float | None = None) -> np.ndarray:
    """Power spectrum in BM3D's scale: |FFT|^2 of the kernel times the number of pixels; sigma: where it is another."""
    kernel = noise.kernel() * (1 if sigma is None else sigma / noise.strength)
    return np.abs(np.fft.fft2(kernel, (PSD_SIZE, PSD_SIZE))) ** 2 * PSD_SIZE**2


def _stabilised(noise: Noise) -> tuple[Callable[..., Any], Callable[..., Any], float]:
    """(forward, inverse, sigma after it) of the true curve; the inverse takes the Rician bias off, too."""
    clean = np.linspace(0, 1.2, POINTS, dtype=np.float32)
    mean = noise.mean(clean)
    # where there is no light there is no noise, which cannot be stabilised: a twentieth of the greatest stands in
    sigma = np.maximum(noise.deviation(clean), 0.05 * noise.deviation(clean).max())
    change = stabilise(NoiseLevel(tuple(map(float, mean)), tuple(map(float, sigma))))
    unbiased = lambda image: np.interp(change.inverse(image), mean, clean)  # noqa: E731
    back = unbiased if noise.kind == "rician" else change.inverse
    return change.forward, back, change.sigma
