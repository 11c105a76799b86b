"""Samplers: deterministic DDIM chains from pure noise, and the paper's stabilised pairs (SRDS).

A network here is any callable (x_t, t) -> prediction, with x_t of shape (N, C, H, W) and t an int tensor of shape (N,);
the condition is bound into it by the caller. Chains are deterministic: all randomness is in eps, which the caller draws
per image (`image_noise`), so that a result does not depend on batch or order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffdenoise.diffusion.schedule import Prediction, diffuse, split, trailing_steps

Network = Callable[[Tensor, Tensor], Tensor]


def ddim(network: Network, eps: Tensor, abar: Tensor, steps: int, prediction: Prediction = "v") -> Tensor:
    """One DDIM chain from x_T = eps down to x_0.

    eps: (N, C, H, W), standard normal; abar: (T,), see `schedule`. Returns x_0, (N, C, H, W).
    """
    times = trailing_steps(len(abar), steps)
    abar = torch.cat([abar, abar.new_ones(1)])  # index -1: no noise left
    x_t = eps
    for t, t_next in zip(times, [*times[1:], -1], strict=True):
        output = network(x_t, torch.full((len(x_t),), t, device=x_t.device))
        x_t = ddim_step(x_t, output, abar[t].to(x_t), abar[t_next].to(x_t), prediction)
    return x_t


def ddim_step(x_t: Tensor, output: Tensor, abar_t: Tensor, abar_next: Tensor, prediction: Prediction = "v") -> Tensor:
    """From x_t and the network's output to the next, less noisy one (Song et al. 2021, eq. 12 with eta = 0)."""
    x_0, eps = split(prediction, output, x_t, abar_t)
    return diffuse(x_0, eps, abar_next)


def srds(
    network: Network, eps: Tensor, abar: Tensor, steps: int, prediction: Prediction = "v"
) -> tuple[Tensor, Tensor]:
    """Stabilised reverse diffusion sampling (DiffDenoise 2025): the mean of the chains from +eps and -eps.

    Returns (mean, spread), both (N, C, H, W); spread = (chain(+eps) - chain(-eps)) / 2. The spread shows what the
    sampler varies and the noise it leaves, not the error of the mean. Swapping eps and -eps only flips its sign.
    """
    plus, minus = (ddim(network, sign * eps, abar, steps, prediction) for sign in (1, -1))
    return (plus + minus) / 2, (plus - minus) / 2


def image_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal noise, (len(seeds), *shape), each image from its own seed, drawn on the CPU on every device."""
    draw = lambda seed: torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))  # noqa: E731
    return torch.stack([draw(seed) for seed in seeds])
