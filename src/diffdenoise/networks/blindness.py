"""Proof of blindness: the gradient of an output pixel with respect to the input pixels hidden from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Blindness:
    """largest_hidden: of |d out[p] / d in[q]| over hidden q; 0.0 exactly for a blind network.

    seen: the share of the other pixels with a gradient that is not zero, averaged over p.
    """

    largest_hidden: float
    seen: float

    @property
    def blind(self) -> bool:
        """Whether no hidden pixel has any influence, and some other pixel has."""
        return self.largest_hidden == 0.0 and self.seen > 0


def check_blindness(network: nn.Module, patch: int = 1, size: tuple[int, int] = (33, 38), seed: int = 0) -> Blindness:
    """Test a network (N, 1, H, W) -> (N, C, H, W) in float64 at interior, edge and corner pixels, in its present mode.

    patch: side of the patch around p that must be hidden. The network itself is not changed.
    """
    network = copy.deepcopy(network).double().cpu()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, 1, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    output = network(x)[0]
    # A random mix of the output channels, for in their plain sum two leaks could cancel.
    output = torch.einsum("chw,c->hw", output, torch.randn(len(output), generator=generator, dtype=torch.float64))
    reach = patch // 2
    largest, seen = [], []
    for row in _positions(size[0]):
        for column in _positions(size[1]):
            (gradient,) = torch.autograd.grad(output[row, column], x, retain_graph=True)
            hidden = torch.zeros(size, dtype=torch.bool)
            hidden[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = True
            largest.append(gradient[0, 0][hidden].abs().max())
            seen.append((gradient[0, 0][~hidden] != 0).double().mean().item())
    # Tensor.max keeps a NaN, which Python's would drop: what cannot be computed is no proof.
    return Blindness(torch.stack(largest).max().item(), sum(seen) / len(seen))


def _positions(length: int) -> list[int]:
    middle = length // 2
    return sorted({i for i in (0, 1, middle, middle + 1, length - 2, length - 1) if 0 <= i < length})
