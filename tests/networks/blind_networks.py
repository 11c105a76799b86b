"""The blind-spot networks in sizes that a test can afford, and what else their tests share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffdenoise.networks.half_plane import HalfPlaneNetwork
from diffdenoise.networks.local_global import LocalGlobalNetwork
from diffdenoise.networks.patch_blind import HiddenPatchConv, PatchBlindNetwork
from diffdenoise.networks.puca import PUCA

NAMES = ["patch_blind", "puca", "half_plane", "local_global"]
CASES = [(name, patch) for name in NAMES for patch in (1, 3, 5, 9) if name != "puca" or patch == 1]


def small(name: str, patch: int = 1, widths: tuple[int, ...] = (4, 8)) -> nn.Module:
    """A network of two levels; its attention looks, at inference, at a part of a test's image only."""
    if name == "puca":
        return PUCA(widths=widths, blocks=(1, 1), crop=12)
    if name == "half_plane":
        return HalfPlaneNetwork(patch=patch, widths=widths)
    if name == "local_global":
        return LocalGlobalNetwork(patch=patch, widths=widths, crop=16)
    return PatchBlindNetwork(patch=patch, widths=widths)


def awake(network: nn.Module) -> nn.Module:
    """Blocks start as the identity; with random weights every path of the network counts."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        inputs = parameter[0].numel() if parameter.ndim > 1 and len(parameter) > 1 else 10
        parameter.data = torch.randn(parameter.shape, generator=generator) * (2 / inputs) ** 0.5
    return network


class DilatedBranch(nn.Module):
    """A blind-spot branch of the usual kind: a masked 5x5 convolution, then one with stride 3 between its taps."""

    def __init__(self, padding: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            HiddenPatchConv(1, 4, reach=2, patch=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=3, dilation=3, padding_mode=padding),
            nn.ReLU(),
            nn.Conv2d(4, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
