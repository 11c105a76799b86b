"""A blind-spot network with a hidden patch: output pixel p never sees the k x k input pixels around p (k = 1, 3, 5, 9).

How it stays blind. Let r = (k - 1) / 2 be the patch's reach.

1. The first convolution reaches R > r pixels and its kernel is zero inside the patch: a feature at p holds input pixels
   p + o with |o| <= R, o outside the patch.
2. All later layers join features at p + d m only, m an integer vector, d = R + r + 1. Then p + d m + o meets the patch
   of p never: for m = 0 by 1., else because |d m| - |o| >= d - R > r.

"Joins only features d apart" is a dilated convolution. Here the image is instead cut into its d x d phases (pixels of
equal row mod d and column mod d), which go into the batch: on a phase *any* network is allowed, a U-Net with its
downsampling included, because it never leaves the phase. That is the idea behind PUCA's patch-unshuffle (Jang et al.,
NeurIPS 2023) and dilated blind-spot networks (Wu et al., DBSN, ECCV 2020) taken to its end, and it turns dilated
convolutions into ordinary, fast ones. Pixels at multiples of d are never seen either, so two branches with different
R (and so d) are joined by 1x1 convolutions, which keep p to itself.

Only zero padding, no batch normalisation, no pooling across phases: each of these would break 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffdenoise.networks.layers import ResidualUNet, UNet, pointwise


class HiddenPatchConv(nn.Conv2d):
    """A (2R+1) x (2R+1) convolution that does not see the inner `patch` x `patch` pixels."""

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, reach: int, patch: int) -> None:
        super().__init__(in_channels, out_channels, 2 * reach + 1, padding=reach)
        mask = torch.ones(1, 1, 2 * reach + 1, 2 * reach + 1)
        hidden = slice(reach - patch // 2, reach + patch // 2 + 1)
        mask[..., hidden, hidden] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H, W)."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def to_phases(x: Tensor, d: int) -> Tensor:
    """(N, C, H, W), H and W multiples of d -> (d*d*N, C, H/d, W/d): pixels of equal (row mod d, column mod d)."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // d, d, w // d, d)
    # Channels last in memory, which convolutions on a CPU like best.
    return x.permute(3, 5, 0, 2, 4, 1).reshape(d * d * n, h // d, w // d, c).permute(0, 3, 1, 2)


def from_phases(x: Tensor, d: int) -> Tensor:
    """Undo `to_phases`."""
    n, c, h, w = x.shape
    x = x.reshape(d, d, n // (d * d), c, h, w)
    return x.permute(2, 4, 0, 5, 1, 3).reshape(n // (d * d), h * d, w * d, c).permute(0, 3, 1, 2)


def near_reach(patch: int) -> int:
    """Reach R at which the windows p + d m + o leave no gaps but the patches themselves. ValueError: patch not odd."""
    if patch < 1 or patch % 2 == 0:
        raise ValueError(f"the hidden patch must be odd and positive, got {patch}")
    return patch // 2 + max(1, patch // 2)


class PhaseBranch(nn.Module):
    """One hidden-patch convolution of reach R, then a U-Net on each phase; alignment: period of its grid in pixels."""

    def __init__(self, in_channels: int, width: int, patch: int, reach: int, make_body: Callable[[], UNet]) -> None:
        super().__init__()
        self.dilation = reach + patch // 2 + 1
        self.head = HiddenPatchConv(in_channels, width, reach, patch)
        self.mix = nn.Conv2d(width, width, 1)
        self.body = make_body()
        self.alignment = self.dilation * self.body.stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H, W)."""
        height, width = x.shape[-2:]
        d = self.dilation
        # Zeros, never a mirror: near the border a mirrored pixel would be the hidden one itself.
        x = F.pad(x, (0, -width % d, 0, -height % d))
        features = F.relu(self.mix(F.relu(self.head(x))))
        return from_phases(self.body(to_phases(features, d)), d)[..., :height, :width]


class PatchBlindNetwork(nn.Module):
    """Blind to the k x k patch around each output pixel; strictly, in training and evaluation, at borders too.

    Output channel 0 is the mean, channel 1 the log of the variance of (noisy pixel - mean), see `training.blind_spot`.
    alignment: a shift of the image by this many pixels shifts the result; tiles must start at its multiples.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        patch: int = 1,
        widths: tuple[int, ...] = (32, 64),
        blocks: int | tuple[int, ...] = 1,
    ) -> None:
        super().__init__()
        near, width = near_reach(patch), widths[0]
        branches = [
            PhaseBranch(in_channels, width, patch, near + step, lambda: ResidualUNet(widths, blocks)) for step in (0, 1)
        ]
        self.branches = nn.ModuleList(branches)
        self.alignment = math.lcm(*(branch.alignment for branch in branches))
        self.tail = pointwise(2 * width, 2 * width, width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), normalised noisy images of any size -> (N, out_channels, H, W)."""
        return self.tail(torch.cat([branch(x) for branch in self.branches], dim=1))
