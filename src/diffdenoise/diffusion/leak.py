"""Cures of the condition leak: train with a condition that does not know the noise it is scored on.

The condition x_c is blind pixel by pixel, but not as a field: x_c(q) depends on x_noisy(p) for q near p, so a network
that sees all of x_c can partly undo the blind-spot network, find x_noisy(p) and learn the noise again: E[x_noisy | x_c]
is not E[x | x_c].

damped:  noise of a share of sqrt(v_total) is added to the condition in training, so that undoing the blind-spot
         network would amplify it; a cheap cure by halves, for the condition loses detail as well.

The other two hide a random set M of pixels from the blind-spot network, recompute the condition from what is left and
score the diffusion on M alone; x_t and the target stay the measured ones.

masked:  hidden pixels take the value of a visible neighbour. Then the condition cannot know a scored pixel's noise.
redrawn: hidden pixels are drawn anew from what the blind-spot network believes about them, N(x_c, v_total). The
         network then sees the statistics it was trained on, so more pixels can be hidden at a step. What it believes
         was computed from the whole slice: x_c of a hidden pixel has seen other hidden pixels near it, and a trace of
         their noise comes back with its new value: with a mean of eight neighbours for the network about an eighth of
         what an open leak shows. In study c of docs/ablations.md no effect of that can be measured (noise kept 0.004
         at most, as x_c itself).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def damp(x_c: Tensor, v_total: Tensor, damping: float, generator: torch.Generator) -> Tensor:
    """x_c with noise of standard deviation `damping` * sqrt(v_total).

    v_total = v + s2 is the variance of x_noisy - x_c: more than the noise's own, s2, where x_c is far off (weak noise).
    """
    z = torch.randn(x_c.shape, generator=generator).to(x_c.device)
    return x_c + damping * v_total.sqrt() * z


def draw_hidden(shape: tuple[int, ...], share: float, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(scored, hidden), boolean, of `shape` (N, 1, H, W): pixels to score, and the patches around them to hide.

    About `share` of all pixels is hidden; with patch = 1 both are the same set.
    """
    scored = torch.rand(shape, generator=generator) < share / patch**2
    hidden = F.max_pool2d(scored.float(), patch, stride=1, padding=patch // 2) > 0
    return scored, hidden


def mask(x_noisy: Tensor, hidden: Tensor, patch: int, generator: torch.Generator) -> Tensor:
    """Hidden pixels replaced by a visible pixel `patch` steps away in a random one of eight directions.

    The few pixels with no visible pixel in any direction take the mean of the visible ones.
    """
    directions = [(i, j) for i in (-patch, 0, patch) for j in (-patch, 0, patch) if (i, j) != (0, 0)]
    result = torch.where(hidden, x_noisy[~hidden].mean(), x_noisy)
    todo = hidden.clone()
    height, width = x_noisy.shape[-2:]
    first = torch.randint(len(directions), hidden.shape, generator=generator).to(hidden.device)
    padded, seen = F.pad(x_noisy, (patch,) * 4), F.pad(~hidden, (patch,) * 4)
    for turn in range(len(directions)):  # every pixel starts its round of the directions somewhere else
        for number, (i, j) in enumerate(directions):
            rows = slice(patch + i, patch + i + height)
            columns = slice(patch + j, patch + j + width)
            take = todo & seen[..., rows, columns] & ((first + turn) % len(directions) == number)
            result = torch.where(take, padded[..., rows, columns], result)
            todo &= ~take
        if not todo.any():
            break
    return result


def redraw(x_noisy: Tensor, hidden: Tensor, x_c: Tensor, v_total: Tensor, generator: torch.Generator) -> Tensor:
    """Hidden pixels drawn from N(x_c, v_total), the blind-spot network's own prediction of the noisy pixel.

    Blind to hidden pixels as far as x_c and v_total are.
    """
    z = torch.randn(x_noisy.shape, generator=generator).to(x_noisy.device)
    return torch.where(hidden, x_c + v_total.sqrt() * z, x_noisy)
