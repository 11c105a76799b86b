"""A local and a global branch behind one hidden patch, for correlated noise, in the manner of LG-BPN (Wang et al.,
CVPR 2023).

Both branches are those of `patch_blind`: a convolution that hides the k x k patch, then d x d phases, on which any
network stays blind. With r = (k - 1) / 2 and d = R + r + 1:

- local: a dense (2k-1) x (2k-1) kernel, R = k - 1 (R = 1 for k = 1), then a small convolutional U-Net: the structure
  next to the patch.
- global: twice as far between pixels, d' = 2 d and so R' = 2 d - r - 1, then a U-Net of NAFNet blocks, whose channel
  attention pools each of the d' x d' phases by itself: the look of the whole neighbourhood. A mean over a phase never
  leaves it, so 2. of `patch_blind` holds; it is PUCA's parity trick with d' in the place of 2.

Why just 2 d: the joint grid then repeats every d' pixels and not every lcm(d, d + 1) as in `patch_blind` (times the
U-Nets' stride: 28 against 112 for k = 5), and the global kernel covers what the local branch misses around p + d m.

What differs from the published LG-BPN: its dense and dilated parts use other kernels, and its global branch is a
transformer whose attention is computed between channels over all pixels. That mixes pixels that have seen p with those
that must not, so the published network fails an exact test of blindness. Ours is smaller and passes it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffdenoise.networks.layers import ResidualUNet, pointwise
from diffdenoise.networks.patch_blind import PhaseBranch, near_reach
from diffdenoise.networks.puca import AttentionUNet


class LocalGlobalNetwork(nn.Module):
    """Blind to the k x k patch around each output pixel; strictly, in training and evaluation, at borders too.

    patch: k, odd. crop: side of the training crops in pixels, which sets the windows of the channel attention at
    inference. alignment: a shift of the image by this many pixels shifts the result; tiles must start at its multiples.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        patch: int = 5,
        widths: tuple[int, ...] = (32, 64),
        blocks: int | tuple[int, ...] = 1,
        crop: int = 64,
    ) -> None:
        super().__init__()
        reach, width = near_reach(patch), widths[0]
        d = reach + patch // 2 + 1
        window = max(1, int(1.5 * crop) // (2 * d))
        self.local = PhaseBranch(in_channels, width, patch, reach, lambda: ResidualUNet(widths, blocks))
        self.wide = PhaseBranch(in_channels, width, patch, reach + d, lambda: AttentionUNet(widths, blocks, window))
        self.tail = pointwise(2 * width, 2 * width, width, out_channels)
        self.alignment = math.lcm(self.local.alignment, self.wide.alignment)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), normalised noisy images of any size -> (N, out_channels, H, W)."""
        return self.tail(torch.cat([self.local(x), self.wide(x)], dim=1))
