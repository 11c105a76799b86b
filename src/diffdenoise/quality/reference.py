"""Measures against a reference image.

All arrays are (slices, rows, cols), or (rows, cols) for one slice, of any real dtype; they are compared in float64.
`data_range` is always stated, never guessed from the result; `data_range` gives the two common conventions

    "fastMRI"   the maximum of the reference volume (Zbontar et al. 2018, evaluate.py)
    "unit"      1 for floating images in [0, 1], 255 for 8-bit ones (most denoising papers)

or a number, such as the width of a window in HU.

Masks are boolean and of the images' shape; a masked score pools the masked pixels of all slices.
"""

from contextlib import suppress
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffdenoise.errors import ConfigError

Image = NDArray[Any]
Mask = NDArray[np.bool_]

SSIM_WINDOW = 7  # pixels; uniform, as in fastMRI
SURROUND = 4  # pixels around a detail that tell the local error of the result
SURROUND_GAP = 2  # pixels next to a detail left out of it: a blurred detail spills into them


Convention = Literal["fastMRI", "unit"] | float


def data_range(reference: Image, convention: Convention) -> float:
    """The range for `psnr` and `ssim` by convention (see the module). Raises ConfigError where it has none."""
    if isinstance(convention, int | float):
        value = float(convention)
    elif convention == "fastMRI":
        value = float(np.max(reference))
    elif convention == "unit":
        value = 255.0 if reference.dtype == np.uint8 else 1.0
        if np.max(reference) > 1.5 * value:
            raise ConfigError(f"the reference reaches {np.max(reference):g}, not 1: scale it, or use 'fastMRI'")
    else:
        raise ConfigError(f"unknown data range convention {convention!r}; use 'fastMRI' or 'unit'")
    return _positive(value)


def psnr(image: Image, reference: Image, data_range: float, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE); inf for equal images."""
    image, reference = _alike(image, reference)
    error = np.square(image - reference)
    mse = float(error.mean() if mask is None else error[_usable(mask, error)].mean())
    return float("inf") if mse == 0 else float(10 * np.log10(_positive(data_range) ** 2 / mse))


def ssim(image: Image, reference: Image, data_range: float, mask: Mask | None = None) -> float:
    """Structural similarity (Wang et al. 2004) with a uniform 7x7 window in each slice, at most 1.

    The mean of the SSIM map over the pixels whose window lies within the image (as fastMRI and scikit-image do), or
    over those of them inside `mask`. Raises ConfigError for slices smaller than the window.
    """
    from skimage.metrics import structural_similarity

    image, reference = _alike(image, reference)
    edge = SSIM_WINDOW // 2
    if min(image.shape[-2:]) < SSIM_WINDOW:
        raise ConfigError(f"SSIM needs slices of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, not {image.shape[-2:]}")
    options: dict[str, Any] = {"win_size": SSIM_WINDOW, "data_range": _positive(data_range), "full": True}
    pairs = zip(image.reshape(-1, *image.shape[-2:]), reference.reshape(-1, *image.shape[-2:]), strict=True)
    similarity = np.stack([structural_similarity(a, b, **options)[1] for a, b in pairs]).reshape(image.shape)
    inner = similarity[..., edge:-edge, edge:-edge]
    if mask is None:
        return float(inner.mean())
    inside = _usable(mask, similarity)[..., edge:-edge, edge:-edge]
    if not inside.any():
        raise ConfigError(f"SSIM: no window of {SSIM_WINDOW}x{SSIM_WINDOW} pixels around the mask lies in the image")
    return float(inner[inside].mean())


def scores(image: Image, reference: Image, data_range: float, mask: Mask | None = None) -> dict[str, float]:
    """`psnr` and `ssim` of the whole image; with a mask also `psnr_foreground` and, if it can be, `ssim_foreground`."""
    result = {"psnr": psnr(image, reference, data_range), "ssim": ssim(image, reference, data_range)}
    if mask is not None:
        result["psnr_foreground"] = psnr(image, reference, data_range, mask)
        with suppress(ConfigError):  # all of it is at the rim
            result["ssim_foreground"] = ssim(image, reference, data_range, mask)
    return result


def foreground(reference: Image) -> Mask:
    """The head or body: Otsu's threshold on the smoothed image, holes filled, specks dropped slice by slice.

    Returns a mask of the image's shape; all True where there is nothing to separate (constant or non-finite images).
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    image = np.asarray(reference, dtype=np.float64)
    everything = np.ones(image.shape, dtype=bool)
    if image.size == 0 or not np.isfinite(image).all() or image.max() == image.min():
        return everything
    smooth = ndimage.gaussian_filter(image, (0,) * (image.ndim - 2) + (2, 2))
    mask = smooth > threshold_otsu(smooth)
    slices = mask.reshape(-1, *mask.shape[-2:])
    mask = np.stack([_large_parts(ndimage.binary_fill_holes(part)) for part in slices]).reshape(image.shape)
    return mask if mask.any() else everything


def noise_kept(estimate: Image, reference: Image, noisy: Image) -> float:
    """The share of the noise left in an estimate: slope of (estimate - reference) on (noisy - reference).

    1 for the noisy image, 0 for the reference. 0 is right only for a blind estimate; the ideal non-blind one keeps
    MSE / sigma^2. Raises ConfigError if noisy and reference are equal.
    """
    error, reference64 = _alike(estimate, reference)
    noise, _ = _alike(noisy, reference)
    error, noise = error - reference64, noise - reference64
    noise = noise - noise.mean()
    if not noise.any():
        raise ConfigError("noise_kept needs a noisy image that differs from the reference")
    return float(np.vdot(error, noise) / np.vdot(noise, noise))


def detail_kept(result: Image, reference: Image, without: Image, result_without: Image | None = None) -> float:
    """The share of the contrast of known details that a denoiser kept: 1 all of it, 0 none, above 1 exaggerated.

    With detail = reference - without (both clean), over the detail's support,

        <result - without - local error, detail> / <detail, detail>.

    The local error is the mean of (result - without) over the surround of the pixel (4 px about, more than 2 px from
    any detail), so that a result too bright or too dark around a detail is not taken for contrast. If the same noise
    was denoised without the details too, give it as `result_without`: then (result - result_without) is the details'
    own response and nothing needs correcting. Raises ConfigError if there is no detail.
    """
    result64, reference64 = _alike(result, reference)
    without64, _ = _alike(without, reference)
    detail = reference64 - without64
    support = detail != 0
    if not support.any():
        raise ConfigError("detail_kept needs a reference that differs from the image without details")
    if result_without is not None:
        response = result64 - _alike(result_without, reference)[0]
    else:
        response = result64 - without64
        response = response - _surround_mean(response, support)
    return float(np.vdot(response[support], detail[support]) / np.vdot(detail, detail))


def _surround_mean(values: Image, support: Mask) -> Image:
    """Mean of `values` about each pixel, over pixels away from the support; 0 where there are none."""
    from scipy import ndimage

    def box(array: Image, reach: int, filter_: Any) -> Image:
        return filter_(array, (1,) * (array.ndim - 2) + (2 * reach + 1,) * 2, mode="constant")

    clear = (~box(support, SURROUND_GAP, ndimage.maximum_filter)).astype(np.float64)
    reach = SURROUND_GAP + SURROUND
    weight = box(clear, reach, ndimage.uniform_filter)
    total = box(values * clear, reach, ndimage.uniform_filter)
    return np.divide(total, weight, out=np.zeros_like(total), where=weight > 1e-9)


def _large_parts(mask: Mask) -> Mask:
    """The connected parts of one slice that have at least a tenth of the largest one's area."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return (areas >= 0.1 * areas.max())[labels] & mask


def _alike(image: Image, reference: Image) -> tuple[Image, Image]:
    image, reference = np.asarray(image, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if image.shape != reference.shape:
        raise ConfigError(f"the image has shape {image.shape}, the reference {reference.shape}; they must be equal")
    return image, reference


def _usable(mask: Mask, image: Image) -> Mask:
    mask = np.asarray(mask, dtype=bool)
    if mask.shape != image.shape:
        raise ConfigError(f"the mask has shape {mask.shape}, the image {image.shape}; they must be equal")
    if not mask.any():
        raise ConfigError("the mask is empty; there is nothing to score")
    return mask


def _positive(value: float) -> float:
    if not 0 < value < np.inf:
        raise ConfigError(f"data_range is {value:g}; it must be positive and finite")
    return value
