"""Recorruption: of one noisy image two, whose noises are independent (Pang et al. 2021; Monroy et al. 2025).

With noise n and a drawn z of the same deviation and correlation, for any alpha > 0,

    given  = x_noisy + alpha z          noise n + alpha z
    wanted = x_noisy - z / alpha        noise n - z / alpha

Their noises do not correlate, E[(n + alpha z)(n - z / alpha)] = E[n n] - E[z z] = 0, and Gaussian ones are then
independent: a network that predicts `wanted` from `given` by L2 learns E[x | given], as it would from the clean x. No
pixel is hidden, so nothing of the noisy image is lost; but the noise has to be known.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from diffdenoise.noise.looked import CONSTANT
from diffdenoise.noise.texture import Texture, draw

BRIGHTNESS = 3  # pixels; side of the square whose mean says how bright a place is; a larger one is wrong at edges


def recorrupt(x_noisy: Tensor, z: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """(given, wanted), both of the shape of x_noisy and z."""
    return x_noisy + alpha * z, x_noisy - z / alpha


def draw_like(deviation: Tensor, texture: Texture, generator: Generator, dark: Tensor | None = None) -> Tensor:
    """Noise of this standard deviation at each pixel of (N, 1, H, W), and of this texture.

    dark: the share of its variance there that correlates as magnitudes do where there is no signal (`NoiseLevel.dark`).
    """
    shape = tuple(deviation.shape)
    noise = draw(shape, texture, generator)
    if texture.is_white or dark is None or not dark.any():
        return deviation * noise
    return deviation * ((1 - dark).sqrt() * noise + dark.sqrt() * draw(shape, texture, generator, magnitudes=True))


def let_through(plus: Tensor, minus: Tensor, z: Tensor, alpha: float, window: int) -> Tensor:
    """Mean over squares of `window` pixels of z f'(z), f' the derivative of a denoiser f along z, (N, 1, h, w).

    plus, minus: its results for x_noisy + alpha z and x_noisy - alpha z. It is the mean of z^2 for the identity and 0
    where the result does not depend on the noise.
    """
    return avg_pool2d(z * (plus - minus), min(window, *z.shape[-2:])) / (2 * alpha)


def alive(x_noisy: Tensor) -> Tensor:
    """1 where (N, 1, H, W) may hold noise, 0 in squares of one value: a masked background, saturation.

    Noise drawn where there is none would be all that the student sees there, and teach it to turn noise upside down.
    """
    if x_noisy.shape[-1] > 1 and not (x_noisy[..., 1:] == x_noisy[..., :-1]).any():
        return torch.ones_like(x_noisy)  # as mostly: no square of one value without two alike
    constant = (_largest(x_noisy) == -_largest(-x_noisy)).to(x_noisy.dtype)
    return 1 - _largest(constant)


def _largest(image: Tensor) -> Tensor:
    """Over the square of CONSTANT pixels around each pixel, as far as it is inside."""
    half = CONSTANT // 2
    return max_pool2d(max_pool2d(image, (1, CONSTANT), 1, (0, half)), (CONSTANT, 1), 1, (half, 0))


def brightness(x_noisy: Tensor) -> Tensor:
    """How bright each place of (N, 1, H, W) is, mostly free of its own noise."""
    half = BRIGHTNESS // 2
    mode = "reflect" if min(x_noisy.shape[-2:]) > half else "replicate"
    return avg_pool2d(avg_pool2d(pad(x_noisy, 4 * [half], mode), (1, BRIGHTNESS), 1), (BRIGHTNESS, 1), 1)
