"""Noise simulators: pure functions of (clean image, strength, generator).

With x the clean image, n and m white Gaussian fields of mean 0 and variance 1:

    gaussian     x_noisy = x + sigma n
    correlated   x_noisy = x + sigma (h * n) / ||h||_2         h a Gaussian kernel of `width_px`
    rician       x_noisy = sqrt((x + sigma n)^2 + (sigma m)^2)
    poisson      x_noisy = Poisson(lam x) / lam
    gamma        x_noisy = x g,   g ~ Gamma(shape=looks, mean=1)

Images are floating tensors (..., rows, cols); sigma, lam and x share one scale (usually x in [0, 1]). Results keep
shape, dtype and device and are **never clipped**: clipping makes the noise of the background non-zero-mean.

The random numbers are drawn on the generator's device and then moved, so a CPU generator gives the same noise
wherever the image lies.
"""

import math

import torch
from torch import Generator, Tensor

from diffdenoise.errors import ConfigError

KERNEL_REACH = 4.0  # the Gaussian kernel is cut at this many widths, where it has fallen to 3e-4


def gaussian(image: Tensor, sigma: float, generator: Generator) -> Tensor:
    """x + sigma n: additive white Gaussian noise of standard deviation `sigma` (in the image's units)."""
    _require(sigma >= 0, f"sigma is {sigma}; it must not be negative")
    return image + sigma * _normal_like(image, generator)


def correlated(image: Tensor, sigma: float, width_px: float, generator: Generator) -> Tensor:
    """x + sigma (h * n) / ||h||_2: Gaussian noise that neighbouring pixels share.

    `width_px` is the standard deviation of the kernel h in pixels; every pixel has standard deviation `sigma`, and two
    pixels at distance d correlate by exp(-d^2 / (4 width_px^2)) for widths from about 0.7 px on (a narrower kernel is
    poorly sampled: 0.5 px gives 0.26 between neighbours). Width 0 is white noise. (Other textures: `texture.draw`.)
    The noise is stationary up to the borders: the white field is drawn larger than the image, and nothing wraps around.
    """
    _require(sigma >= 0, f"sigma is {sigma}; it must not be negative")
    _require(width_px >= 0, f"width_px is {width_px}; it must not be negative")
    kernel = unit_kernel(width_px).to(image.device, image.dtype)
    *leading, rows, cols = image.shape
    count = math.prod(leading)
    white = _normal((count, 1, rows + len(kernel) - 1, cols + len(kernel) - 1), image.dtype, generator).to(image.device)
    noise = torch.nn.functional.conv2d(white, kernel.view(1, 1, -1, 1))
    noise = torch.nn.functional.conv2d(noise, kernel.view(1, 1, 1, -1))
    return image + sigma * noise.view(image.shape)


def rician(image: Tensor, sigma: float, generator: Generator) -> Tensor:
    """sqrt((x + sigma n)^2 + (sigma m)^2): the magnitude of a complex MR signal with `sigma` in each channel.

    Not zero-mean: in the background (x = 0) the mean is sigma sqrt(pi / 2).
    """
    _require(sigma >= 0, f"sigma is {sigma}; it must not be negative")
    real = image + sigma * _normal_like(image, generator)
    imaginary = sigma * _normal_like(image, generator)
    return torch.hypot(real, imaginary)


def poisson(image: Tensor, lam: float, generator: Generator) -> Tensor:
    """Poisson(lam x) / lam: counting noise, `lam` counts at x = 1; mean x, variance x / lam. Needs x >= 0."""
    _require(lam > 0, f"lam is {lam}; it must be positive")
    _require(bool((image >= 0).all()), "Poisson noise needs an image without negative values; shift it first")
    # bfloat16 and float16 cannot hold the counts exactly, hence float32 at least
    counts = lam * image.to(generator.device, torch.promote_types(image.dtype, torch.float32))
    return (torch.poisson(counts, generator=generator) / lam).to(image.device, image.dtype)


def gamma(image: Tensor, looks: float, generator: Generator) -> Tensor:
    """x g with g ~ Gamma(shape=looks, scale=1/looks): multiplicative speckle of mean 1 and variance 1 / looks."""
    _require(looks > 0, f"looks is {looks}; it must be positive")
    shape = torch.full(image.shape, float(looks), device=generator.device)
    # torch.distributions.Gamma takes no generator; this is the sampler it calls
    factor = torch._standard_gamma(shape, generator=generator) / looks
    return image * factor.to(image.device, image.dtype)


def _normal(shape: tuple[int, ...], dtype: torch.dtype, generator: Generator) -> Tensor:
    return torch.randn(shape, dtype=dtype, device=generator.device, generator=generator)


def _normal_like(image: Tensor, generator: Generator) -> Tensor:
    return _normal(tuple(image.shape), image.dtype, generator).to(image.device)


def unit_kernel(width_px: float) -> Tensor:
    """A sampled Gaussian of odd length with sum of squares 1, so that filtering white noise keeps its variance."""
    if width_px == 0:
        return torch.ones(1)
    reach = math.ceil(KERNEL_REACH * width_px)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / width_px) ** 2)
    return kernel / kernel.square().sum().sqrt()


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
