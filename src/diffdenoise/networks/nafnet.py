"""NAFNet (Chen et al., ECCV 2022): a restoration U-Net without nonlinear activation functions; the student."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffdenoise.networks.layers import LayerNorm2d, doubled, pad_to_multiple


def simple_gate(x: Tensor) -> Tensor:
    """Product of the two halves of the channels."""
    first, second = x.chunk(2, dim=1)
    return first * second


def local_mean(x: Tensor, window: int) -> Tensor:
    """Mean over a window x window neighbourhood cut at the border, (N, C, H, W) -> same; by an integral image."""
    height, width = x.shape[-2:]
    if window >= 2 * max(height, width):
        return x.mean((2, 3), keepdim=True)
    sums = F.pad(x.to(torch.promote_types(x.dtype, torch.float32)).cumsum(2).cumsum(3), (1, 0, 1, 0))
    rows, cols = (torch.arange(size, device=x.device) for size in (height, width))
    top, bottom = (rows - window // 2).clamp(min=0), (rows + window // 2 + 1).clamp(max=height)
    left, right = (cols - window // 2).clamp(min=0), (cols + window // 2 + 1).clamp(max=width)
    bands = sums[:, :, bottom] - sums[:, :, top]
    total = bands[..., right] - bands[..., left]
    return (total / ((bottom - top)[:, None] * (right - left)[None])).to(x.dtype)


def scaled(conv: nn.Conv2d, weight: Tensor, x: Tensor) -> Tensor:
    """weight (1, C, 1, 1) times the 1x1 convolution of x, (N, C, H, W) -> same, in the convolution's precision.

    The few weights are multiplied, not the many pixels; in float32 as it is, the product would make of all that is
    added up from block to block float32, too, which takes up to a tenth more time.
    """
    assert conv.bias is not None
    return F.conv2d(x, conv.weight * weight.view(-1, 1, 1, 1), conv.bias * weight.flatten())


class SimplifiedChannelAttention(nn.Module):
    """Channels scaled by a linear map of their mean.

    Trained on crops, the mean of a whole image would be another statistic than the one it learned, so outside
    training the mean is taken over a window of 1.5 crops around each pixel (Chu et al., TLC, ECCV 2022). That also
    makes the result hardly depend on tiles.

    phases: consecutive equal parts of the batch that share one mean, for an image that was cut into phases
    (`patch_blind.to_phases`); 1 lets every element of the batch have its own.
    """

    def __init__(self, channels: int, window: int, phases: int = 1) -> None:
        super().__init__()
        self.scale = nn.Conv2d(channels, channels, 1)
        self.window, self.phases = window, phases

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        mean = x.mean((2, 3), keepdim=True) if self.training else local_mean(x, self.window)
        if self.phases > 1:
            mean = mean.unflatten(0, (self.phases, -1)).mean(0).repeat(self.phases, 1, 1, 1)
        return x * self.scale(mean)


class NAFBlock(nn.Module):
    """Two gated residual halves, their weights beta and gamma starting at zero; width c inside 2c."""

    def __init__(self, channels: int, window: int, phases: int = 1) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
        )
        self.attention = SimplifiedChannelAttention(channels, window, phases)
        self.project = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Sequential(LayerNorm2d(channels), nn.Conv2d(channels, 2 * channels, 1))
        self.contract = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        x = x + scaled(self.project, self.beta, self.attention(simple_gate(self.spatial(x))))
        return x + scaled(self.contract, self.gamma, simple_gate(self.expand(x)))


class NAFNet(nn.Module):
    """Noisy image in, clean image out, as a correction to the input.

    seen: images that come in as channels; the first is the one that is cleaned, the others help. width: channels at
    full resolution, doubled at each level; encoder, decoder: blocks per level; middle: blocks at the bottom; crop: side
    of the training crops in pixels, which sets the windows of the channel attention.
    Any image size: it pads at the bottom and the right by reflection where it can, and crops.
    """

    def __init__(
        self,
        seen: int = 1,
        width: int = 16,
        encoder: tuple[int, ...] = (1, 1),
        middle: int = 1,
        decoder: tuple[int, ...] = (1, 1),
        crop: int = 64,
    ) -> None:
        super().__init__()
        levels, widths = len(encoder), doubled(width, encoder, decoder)
        windows = [int(1.5 * crop) >> level for level in range(levels + 1)]
        stack = lambda count, level: nn.Sequential(*(NAFBlock(widths[level], windows[level]) for _ in range(count)))  # noqa: E731
        self.stride = 2**levels
        self.head = nn.Conv2d(seen, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)
        self.encoders = nn.ModuleList(stack(count, level) for level, count in enumerate(encoder))
        self.middle = stack(middle, levels)
        self.decoders = nn.ModuleList(stack(count, level) for level, count in enumerate(decoder))
        self.downs = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 2, stride=2) for i in range(levels))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(widths[i + 1], 4 * widths[i], 1, bias=False), nn.PixelShuffle(2))
            for i in range(levels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, seen, H, W), normalised -> (N, 1, H, W)."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.stride)
        y = self.head(padded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = down(y)
        y = self.middle(y)
        for level in reversed(range(len(skips))):
            y = self.decoders[level](self.ups[level](y) + skips[level])
        return (padded[:, :1] + self.tail(y))[..., :height, :width]
