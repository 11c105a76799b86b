"""Large images tile by tile, with the result of the whole image."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TILE = 768  # side of the part of a tile that is kept, in pixels: bounds the memory, whatever the image
HALO = 96  # seen around it and thrown away


def tiled(
    function: Callable[..., Tensor], *images: Tensor, tile: int = TILE, halo: int = HALO, alignment: int = 1
) -> Tensor:
    """function(*images) for images (N, C, H, W) of one size, computed in overlapping tiles where they are large.

    A network that sees no further than the halo gives the same result as on the whole image, if tiles begin where its
    grid of phases and strides does: at multiples of `alignment`, to which tile and halo are rounded up. (Local means
    of a NAFNet that was trained on large crops see further, a little.)
    """
    tile, halo = (-(-size // alignment) * alignment for size in (tile, halo))
    height, width = images[0].shape[-2:]
    if max(height, width) <= tile + 2 * halo:
        return function(*images)
    rows = []
    for top in range(0, height, tile):
        row = []
        for left in range(0, width, tile):
            up, before = min(halo, top), min(halo, left)
            window = (..., slice(top - up, top + tile + halo), slice(left - before, left + tile + halo))
            part = function(*(image[window] for image in images))
            row.append(part[..., up : up + tile, before : before + tile])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)
