"""Samplers: deterministic DDIM chains from pure noise, and the paper's stabilised pairs (SRDS).

A network here is any callable (x_t, t) -> prediction, with x_t of shape (N, C, H, W) and t an int tensor of shape (N,);
the condition is bound into it by the caller. Chains are deterministic: all randomness is in eps, which the caller draws
per image (`image_noise`), so that a result does not depend on batch or order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffdenoise.diffusion.schedule import Prediction, split, trailing_steps

Network = Callable[[Tensor, Tensor], Tensor]


def ddim(network: Network, eps: Tensor, abar: Tensor, steps: int, prediction: Prediction = "v") -> Tensor:
    """One DDIM chain (Song et al. 2021, eq. 12 with eta = 0) from x_T = eps down to x_0.

    eps: (N, C, H, W), standard normal; abar: (T,), see `schedule`. Returns x_0, (N, C, H, W).
    """
    times = trailing_steps(len(abar), steps)
    x_t = eps
    for t, t_next in zip(times, [*times[1:], None], strict=True):
        output = network(x_t, torch.full((len(x_t),), t, device=x_t.device))
        x_0, eps_t = split(prediction, output, x_t, abar[t].to(x_t))
        if t_next is None:
            return x_0
        alpha, sigma = abar[t_next].sqrt().to(x_t), (1 - abar[t_next]).sqrt().to(x_t)
        x_t = alpha * x_0 + sigma * eps_t
    raise AssertionError("trailing_steps is never empty")


def srds(
    network: Network, eps: Tensor, abar: Tensor, steps: int, prediction: Prediction = "v"
) -> tuple[Tensor, Tensor]:
    """Stabilised reverse diffusion sampling (DiffDenoise 2025): the mean of the chains from +eps and -eps.

    Returns (mean, spread), both (N, C, H, W); spread = (chain(+eps) - chain(-eps)) / 2. The spread shows what the
    sampler varies and the noise it leaves, not the error of the mean. Swapping eps and -eps only flips its sign.
    """
    plus, minus = (ddim(network, sign * eps, abar, steps, prediction) for sign in (1, -1))
    return (plus + minus) / 2, (plus - minus) / 2


def srds_pairs(
    network: Network, pairs: Sequence[Tensor], abar: Tensor, steps: int, prediction: Prediction = "v"
) -> tuple[Tensor, Tensor]:
    """Mean over several symmetric pairs, and the root mean square of their spreads."""
    results = [srds(network, eps, abar, steps, prediction) for eps in pairs]
    mean = torch.stack([mean for mean, _ in results]).mean(0)
    spread = torch.stack([spread**2 for _, spread in results]).mean(0).sqrt()
    return mean, spread


def image_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Standard normal noise, (len(seeds), *shape), each image from its own seed, drawn on the CPU on every device."""
    draw = lambda seed: torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed))  # noqa: E731
    return torch.stack([draw(seed) for seed in seeds])
