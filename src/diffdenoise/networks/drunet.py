"""DRUNet (Zhang et al., TPAMI 2021), without its map of the noise level: a U-Net of plain residual blocks.

A student like NAFNet, but of 3x3 convolutions alone, which a CPU computes near the rate it can. From random weights it
learns as much in the same time, or more; beside a NAFNet that starts from the shipped weights it gains nothing
(docs/method.md, section 12).
"""

from __future__ import annotations

from torch import Tensor, nn

from diffdenoise.networks.layers import ResidualUNet, doubled, pad_to_multiple


class DRUNet(nn.Module):
    """Noisy image in, clean image out, as a correction to the input.

    seen: images that come in as channels; the first is the one that is cleaned, the others help. width: channels at
    full resolution, doubled at each level; encoder, decoder: residual blocks per level; middle: blocks at the bottom.
    Any image size: it pads at the bottom and the right by reflection where it can, and crops.
    """

    def __init__(
        self,
        seen: int = 1,
        width: int = 24,
        encoder: tuple[int, ...] = (1, 1),
        middle: int = 2,
        decoder: tuple[int, ...] = (1, 1),
    ) -> None:
        super().__init__()
        widths = doubled(width, encoder, decoder)
        self.head = nn.Conv2d(seen, width, 3, padding=1)
        self.body = ResidualUNet(widths, (*encoder, middle), up=decoder)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, seen, H, W), normalised -> (N, 1, H, W)."""
        height, width = x.shape[-2:]
        padded = pad_to_multiple(x, self.body.stride)
        return (padded[:, :1] + self.tail(self.body(self.head(padded))))[..., :height, :width]
