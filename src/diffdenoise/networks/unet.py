"""The conditional U-Nets of the diffusion stage: (x_t, condition, t) -> prediction, joined along the channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffdenoise.networks.layers import ResidualUNet, pad_to_multiple


def time_embedding(t: Tensor, size: int) -> Tensor:
    """Sinusoids of t (Vaswani et al. 2017), (N,) -> (N, size)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(size // 2, device=t.device) / (size // 2))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class ConditionalUNet(nn.Module):
    """Convolutions only: without normalisation and attention a pixel comes out the same in any crop or tile."""

    def __init__(
        self,
        channels: int = 1,
        condition_channels: int = 1,
        widths: tuple[int, ...] = (32, 64),
        blocks: int = 1,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.embed = nn.Sequential(
            nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.head = nn.Conv2d(channels + condition_channels, widths[0], 3, padding=1)
        self.body = ResidualUNet(widths, blocks, embedding)
        self.tail = nn.Conv2d(widths[0], channels, 3, padding=1)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        """x_t (N, C, H, W), condition (N, C', H, W), t (N,) -> prediction (N, C, H, W)."""
        features = F.relu(self.head(torch.cat([x_t, condition], dim=1)))
        return self.tail(F.relu(self.body(features, self.embed(time_embedding(t, self.embedding)))))


class ImprovedDDPMUNet(nn.Module):
    """The kind of network the paper names (Improved DDPM: group normalisation, attention), from MONAI.

    widths: multiples of 32; attention at the coarsest level and below it, so images must be modest in size.
    """

    def __init__(
        self,
        channels: int = 1,
        condition_channels: int = 1,
        widths: tuple[int, ...] = (64, 128, 192, 256),
        blocks: int = 2,
    ) -> None:
        super().__init__()
        from monai.networks.nets import DiffusionModelUNet

        self.stride = 2 ** (len(widths) - 1)
        self.body = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=channels + condition_channels,
            out_channels=channels,
            channels=widths,
            num_res_blocks=blocks,
            attention_levels=(False,) * (len(widths) - 1) + (True,),
            num_head_channels=32,
        )

    def forward(self, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        """x_t (N, C, H, W), condition (N, C', H, W), t (N,) -> prediction (N, C, H, W)."""
        height, width = x_t.shape[-2:]
        x = pad_to_multiple(torch.cat([x_t, condition], dim=1), self.stride)
        return self.body(x, t)[..., :height, :width]
