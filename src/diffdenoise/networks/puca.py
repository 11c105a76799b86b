"""PUCA (Jang et al., NeurIPS 2023): a blind-spot network with downsampling and channel attention, for noise that is
independent between pixels.

The paper masks the centre of a 3x3 convolution and lets all later layers join features an even number of pixels apart.
A feature at p holds input pixels p + o with |o| <= 1, o not 0. A layer that stays on the parity class of p (pixels of
equal row mod 2 and column mod 2) adds 2 m, and p + 2 m + o is never p: 2 m + o = 0 needs m = 0, for |o| <= 1, and so
o = 0. That is `patch_blind` with r = 0, R = 1, d = 2. So here too the image is cut into its 2 x 2 phases, one for each
parity class, and PUCA's own layers turn into ordinary ones on a phase:

- a depthwise 3x3 convolution dilated by 2 is a depthwise 3x3 convolution of the phase;
- patch-unshuffle (cut each 4x4 cell into 2x2 patches; the index of the patch goes to the channels, the pixel inside the
  patch keeps its place, and so its parity) is a pixel-unshuffle by 2 of the phase;
- channel attention that pools each parity class by itself is channel attention of the phase.

The published attention pools over the whole image. There it leaks: the mean holds features at the neighbours of p, and
these have seen p. On each class by itself it is blind, and costs nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from diffdenoise.networks.layers import UNet, per_level, pointwise
from diffdenoise.networks.nafnet import NAFBlock
from diffdenoise.networks.patch_blind import HiddenPatchConv, from_phases, to_phases

Pooling = Literal["parity", "global"]


class AttentionUNet(UNet):
    """A U-Net of NAFNet blocks; down and up by moving pixels into channels and back, (N, widths[0], H, W) -> same.

    widths, blocks: of each level; window: of the channel attention at inference, in pixels of the finest level;
    phases: parts of the batch that are pooled together, see `SimplifiedChannelAttention`.
    """

    def __init__(self, widths: tuple[int, ...], blocks: int | tuple[int, ...], window: int, phases: int = 1) -> None:
        if any(width % 4 for width in widths):
            raise ValueError(f"widths must be multiples of 4, for 2x2 pixels go into the channels; got {widths}")
        counts, pairs = per_level(blocks, len(widths)), list(pairwise(widths))

        def stack(level: int) -> nn.Sequential:
            size = max(1, window >> level)
            return nn.Sequential(*(NAFBlock(widths[level], size, phases) for _ in range(counts[level])))

        super().__init__(
            (stack(level) for level in range(len(widths))),
            (stack(level) for level in range(len(widths) - 1)),
            (nn.Sequential(nn.Conv2d(fine, coarse // 4, 1), nn.PixelUnshuffle(2)) for fine, coarse in pairs),
            (nn.Sequential(nn.PixelShuffle(2), nn.Conv2d(coarse // 4, fine, 1)) for fine, coarse in pairs),
        )


class PUCA(nn.Module):
    """Blind to the pixel itself; strictly with pooling "parity"; with "global", the published one, it leaks.

    widths, blocks: channels and NAFNet blocks of each level, going down and going up; the paper's size is (128, 256,
    512). crop: side of the training crops in pixels, which sets the windows of the channel attention at inference.
    alignment: a shift of the image by this many pixels shifts the result; tiles must start at its multiples.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: tuple[int, ...] = (32, 64, 128),
        blocks: int | tuple[int, ...] = (3, 4, 4),
        pooling: Pooling = "parity",
        crop: int = 64,
    ) -> None:
        super().__init__()
        if pooling not in ("parity", "global"):
            raise ValueError(f'pooling must be "parity" or "global", got {pooling!r}')
        width = widths[0]
        self.head = nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            HiddenPatchConv(width, width, reach=1, patch=1),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )
        # Pixels of a phase lie two apart: 1.5 crops are 0.75 crops of them.
        self.body = AttentionUNet(widths, blocks, int(0.75 * crop), phases=4 if pooling == "global" else 1)
        self.tail = pointwise(width, width, width, out_channels)
        self.alignment = 2 * self.body.stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), normalised noisy images of any size -> (N, out_channels, H, W)."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.alignment, 0, -height % self.alignment))
        y = from_phases(self.body(to_phases(self.head(x), 2)), 2)
        return self.tail(y)[..., :height, :width]
