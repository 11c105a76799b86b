"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Grow (N, C, H, W) at the bottom and right to multiples of `multiple`, mirrored if large enough."""
    rows, cols = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    fits = rows < x.shape[-2] and cols < x.shape[-1]
    return F.pad(x, (0, cols, 0, rows), mode="reflect" if fits else "replicate")


def per_level(blocks: int | tuple[int, ...], levels: int) -> tuple[int, ...]:
    """Blocks of each level, from one number for all or one for each. Raises ValueError where they do not fit."""
    counts = (blocks,) * levels if isinstance(blocks, int) else tuple(blocks)
    if len(counts) != levels:
        raise ValueError(f"{levels} levels need one number of blocks or {levels}, got {blocks}")
    return counts


def doubled(width: int, encoder: tuple[int, ...], decoder: tuple[int, ...]) -> list[int]:
    """Channels of each level of a U-Net and of its bottom. Raises ValueError unless it goes up as far as down."""
    if len(encoder) != len(decoder):
        raise ValueError(f"encoder and decoder need equally many levels, got {encoder} and {decoder}")
    return [width * 2**level for level in range(len(encoder) + 1)]


def pointwise(*widths: int) -> nn.Sequential:
    """ReLU and 1x1 convolution from each width to the next: no pixel sees another."""
    steps = ((nn.ReLU(), nn.Conv2d(before, after, 1)) for before, after in pairwise(widths))
    return nn.Sequential(*(layer for step in steps for layer in step))


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of each pixel of an (N, C, H, W) tensor; no pixel sees another."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        # F.layer_norm wants the channels last, which is how a channels_last tensor lies in memory anyway.
        y = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)
        return y.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(relu(film(conv(x)))), 3x3 convolutions with zero padding; starts as the identity.

    embedding: length of a vector that scales and shifts the inner features (FiLM), 0 for none. There is no
    normalisation: its statistics would differ between crops, tiles and whole images.
    """

    def __init__(self, channels: int, embedding: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * channels) if embedding else None
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), embedding (N, E) -> (N, C, H, W)."""
        inner = self.conv1(x)
        if self.film is not None:
            scale, shift = self.film(embedding)[..., None, None].chunk(2, dim=1)
            inner = inner * (1 + scale) + shift
        return x + self.conv2(F.relu(inner))


class ResidualStack(nn.ModuleList):
    """Residual blocks one after the other."""

    def __init__(self, channels: int, blocks: int, embedding: int = 0) -> None:
        super().__init__(ResidualBlock(channels, embedding) for _ in range(blocks))

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """x (N, C, H, W), embedding (N, E) -> (N, C, H, W)."""
        for block in self:
            x = block(x, embedding)
        return x


class UNet(nn.Module):
    """Down and up again through given layers; additive skips; any size, for it pads with zeros by itself.

    down_blocks: of each level, the finest first; up_blocks: of each level but the coarsest; downs, ups: between a level
    and the next, by a factor of two.
    """

    def __init__(
        self,
        down_blocks: Iterable[nn.Module],
        up_blocks: Iterable[nn.Module],
        downs: Iterable[nn.Module],
        ups: Iterable[nn.Module],
    ) -> None:
        super().__init__()
        self.down_blocks, self.up_blocks = nn.ModuleList(down_blocks), nn.ModuleList(up_blocks)
        self.downs, self.ups = nn.ModuleList(downs), nn.ModuleList(ups)
        self.stride = 2 ** len(self.downs)

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """x (N, C, H, W) -> the shape of x; all blocks are also given `more`."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
        skips = []
        for block, down in zip(self.down_blocks, self.downs, strict=False):
            x = block(x, *more)
            skips.append(x)
            x = down(x)
        x = self.down_blocks[-1](x, *more)
        for level in reversed(range(len(skips))):
            x = self.up_blocks[level](self.ups[level](x) + skips[level], *more)
        return x[..., :height, :width]


class ResidualUNet(UNet):
    """A small U-Net of residual blocks on features (N, widths[0], H, W), and an embedding (N, E) if they want one.

    widths: channels of each level, the finest first; blocks: residual blocks at each level, going down and going up,
    one number for all levels or one for each; up: of each level but the coarsest, where going up differs.
    """

    def __init__(
        self,
        widths: Sequence[int],
        blocks: int | tuple[int, ...] = 1,
        embedding: int = 0,
        up: tuple[int, ...] | None = None,
    ) -> None:
        pairs = list(pairwise(widths))
        down = per_level(blocks, len(widths))
        stack = lambda width, count: ResidualStack(width, count, embedding)  # noqa: E731
        super().__init__(
            map(stack, widths, down),
            map(stack, widths[:-1], down[:-1] if up is None else up),
            (nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs),
            (nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs),
        )
