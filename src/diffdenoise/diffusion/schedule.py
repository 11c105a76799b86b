r"""Noise schedules and what a prediction means.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,      t = 0 .. T-1, abar falling from ~1 to ~0
    v_t = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0       (Salimans & Ho 2022)

A network predicts eps, v or x_0; `split` turns any of them into the pair (x_0, eps). From pure noise, where abar ~ 0,
x_0 = (x_t - sqrt(1-abar) eps) / sqrt(abar) divides by almost nothing, so v is the default (docs/method.md, 10).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v", "x0"]
Schedule = Literal["cosine", "linear"]


def cosine_schedule(timesteps: int = 1000, offset: float = 0.008) -> Tensor:
    """abar of Nichol & Dhariwal 2021, eq. 17, with their cap of 0.999 on each beta; float64, shape (timesteps,)."""
    t = torch.linspace(0, 1, timesteps + 1, dtype=torch.float64)
    f = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    beta = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - beta, 0)


def linear_schedule(timesteps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """abar of Ho et al. 2020, betas linear from first to last (given for 1000 steps, rescaled otherwise); float64."""
    scale = 1000 / timesteps
    beta = torch.linspace(scale * first, scale * last, timesteps, dtype=torch.float64).clamp(max=0.999)
    return torch.cumprod(1 - beta, 0)


def make_schedule(name: Schedule, timesteps: int = 1000) -> Tensor:
    """abar, float64, shape (timesteps,), by name."""
    return cosine_schedule(timesteps) if name == "cosine" else linear_schedule(timesteps)


def trailing_steps(timesteps: int, steps: int) -> list[int]:
    """`steps` times from T-1 downwards, evenly spaced (Lin et al. 2024): the first is pure noise, as in training.

    "Leading" spacing starts below T-1 and so with noise of the wrong size: it shifts the brightness.
    """
    if not 1 <= steps <= timesteps:
        raise ValueError(f"steps must lie in 1..{timesteps}, got {steps}")
    return [round(timesteps - i * timesteps / steps) - 1 for i in range(steps)]


def diffuse(x_0: Tensor, eps: Tensor, abar_t: Tensor) -> Tensor:
    """x_t; abar_t broadcasts against x_0."""
    return abar_t.sqrt() * x_0 + (1 - abar_t).sqrt() * eps


def target(prediction: Prediction, x_0: Tensor, eps: Tensor, abar_t: Tensor) -> Tensor:
    """What the network is trained to predict."""
    if prediction == "eps":
        return eps
    if prediction == "x0":
        return x_0
    return abar_t.sqrt() * eps - (1 - abar_t).sqrt() * x_0


def split(prediction: Prediction, output: Tensor, x_t: Tensor, abar_t: Tensor) -> tuple[Tensor, Tensor]:
    """(x_0, eps) that a network's output at x_t stands for. Nothing is clipped: that would shift dark backgrounds."""
    alpha, sigma = abar_t.sqrt(), (1 - abar_t).sqrt()
    if prediction == "eps":
        return (x_t - sigma * output) / alpha, output
    if prediction == "x0":
        return output, (x_t - alpha * output) / sigma
    return alpha * x_t - sigma * output, sigma * x_t + alpha * output
