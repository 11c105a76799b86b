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

from diffdenoise.noise.models import correlated

BRIGHTNESS = 5  # pixels; side of the square whose mean says how bright a place is


def recorrupt(
    x_noisy: Tensor, deviation: Tensor, width_px: float, alpha: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """(given, wanted), both of x_noisy's shape (N, 1, H, W).

    deviation: the noise's standard deviation at each pixel, the same shape; width_px: as in `models.correlated`.
    """
    z = deviation * correlated(torch.zeros_like(x_noisy), 1.0, width_px, generator)
    return x_noisy + alpha * z, x_noisy - z / alpha


def brightness(x_noisy: Tensor) -> Tensor:
    """How bright each place of (N, 1, H, W) is, mostly free of its own noise."""
    half = BRIGHTNESS // 2
    return torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x_noisy, 4 * [half], "reflect"), BRIGHTNESS, 1)
