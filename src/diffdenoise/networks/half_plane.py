"""The half-plane network (Laine et al., NeurIPS 2019): four views of the image, each from one side of the pixel.

How it stays blind. Let r = (k - 1) / 2 be the reach of the hidden k x k patch.

1. Every convolution sees rows at or above its own: 3x3 kernels are moved up by one row (two rows of zeros on top, none
   below). So a feature at row i holds rows <= i.
2. Halving the size joins rows 2 j and 2 j + 1 to a row j, and doubling gives it back to both: row 2 j would see row
   2 j + 1. So all is moved down by one row before: j holds rows <= 2 j, and 2 j and 2 j + 1 may both have it.
3. At the end all is moved down by r + 1 rows: a feature at row i holds rows <= i - r - 1, the half-plane above the
   patch, its full width.
4. The same network is run on the image in its four rotations, its results are rotated back and joined by 1x1
   convolutions. The four half-planes leave out |row| <= r and |column| <= r: just the patch.

The paper hides one pixel, r = 0. A larger patch takes nothing but the larger shift in 3.: no layer, no parameter and no
time more, and every pixel outside the patch stays in view, where `patch_blind` and PUCA miss those that are multiples
of d away. The price is that the network runs four times.

Zeros are added at the bottom and the right *before* the rotations, so that all four halve the image on the same grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffdenoise.networks.layers import UNet, per_level, pointwise


def move_down(x: Tensor, rows: int) -> Tensor:
    """(N, C, H, W) -> same: zeros come in at the top, the last rows are lost."""
    return F.pad(x, (0, 0, rows, 0))[..., : x.shape[-2], :]


class UpwardConv(nn.Conv2d):
    """A 3x3 convolution that sees its own row and the two above."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H, W)."""
        return super().forward(F.pad(x, (1, 1, 2, 0)))


class UpwardHalving(nn.Conv2d):
    """Half the size by a 2x2 convolution; row j sees rows 2 j - 1 and 2 j."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, out_channels, H/2, W/2)."""
        return super().forward(move_down(x, 1))


class UpwardBlock(nn.Module):
    """x + conv(relu(conv(x))), seeing upwards only; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = UpwardConv(channels, channels), UpwardConv(channels, channels)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return x + self.conv2(F.relu(self.conv1(x)))


class UpwardUNet(UNet):
    """A small U-Net on features (N, widths[0], H, W) that sees upwards only; widths and blocks as in `ResidualUNet`."""

    def __init__(self, widths: tuple[int, ...], blocks: int | tuple[int, ...]) -> None:
        pairs = list(pairwise(widths))
        levels = list(zip(widths, per_level(blocks, len(widths)), strict=True))

        def stack(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(UpwardBlock(width) for _ in range(count)))

        super().__init__(
            (stack(width, count) for width, count in levels),
            (stack(width, count) for width, count in levels[:-1]),
            (UpwardHalving(fine, coarse) for fine, coarse in pairs),
            (nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in pairs),
        )


class HalfPlaneNetwork(nn.Module):
    """Blind to the k x k patch around each output pixel, sees all others its U-Net reaches.

    patch: k, any odd number. alignment: a shift of the image by this many pixels shifts the result; tiles must start at
    its multiples.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        patch: int = 1,
        widths: tuple[int, ...] = (32, 64, 64),
        blocks: int | tuple[int, ...] = 1,
    ) -> None:
        super().__init__()
        if patch < 1 or patch % 2 == 0:
            raise ValueError(f"the hidden patch must be odd and positive, got {patch}")
        width = widths[0]
        self.shift = patch // 2 + 1
        self.head = UpwardConv(in_channels, width)
        self.body = UpwardUNet(widths, blocks)
        self.tail = pointwise(4 * width, 2 * width, width, out_channels)
        self.alignment = self.body.stride

    def look(self, x: Tensor, turns: int) -> tuple[Tensor, Tensor]:
        """What lies above the patch and what lies below it, after so many quarter turns; each (N, widths[0], H, W)."""
        views = torch.cat([x.rot90(turns, (2, 3)), x.rot90(turns + 2, (2, 3))])
        above, below = move_down(self.body(F.relu(self.head(views))), self.shift).chunk(2)
        return above.rot90(-turns, (2, 3)), below.rot90(-turns - 2, (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), normalised noisy images of any size -> (N, out_channels, H, W)."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.alignment, 0, -height % self.alignment))
        return self.tail(torch.cat([*self.look(x, 0), *self.look(x, 1)], dim=1))[..., :height, :width]
