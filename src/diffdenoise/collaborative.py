"""Collaborative filtering (BM3D, Dabov et al. 2007), guided by a denoised image: a second opinion about a slice.

A convolutional network knows what images look like, but sees a slice through a window; what repeats elsewhere in it (a
cortex that folds again, ribs, an edge that goes on) is not compared. Here patches that look alike in the network's
result are stacked, the stack of the noisy ones is transformed (a cosine transform down, across and along the stack),
where what they share gathers in few coefficients and noise stays spread, and what does not stand out is taken out:

    first     coefficients of the noisy stack above THRESHOLD deviations of the noise are kept, the others dropped
    second    each coefficient is shrunk as Wiener's filter does, p^2 / (p^2 + v), p that of the mean of the first
              result and the guide, v the variance of the noise

Patches of the network's result differ by what it left of the noise, too. Were those that differ least to be stacked,
the noisy ones in the stack would be those with alike noise, and say it again. So all that differ by no more than what
may be left, by ALIKE, are equally alike, and chance decides between them.

It errs in other places than the network; a mean of both can be nearer to the truth than either (docs/method.md, 12).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from diffdenoise.noise.texture import Texture, draw

SIZE, STRIDE = 8, 4  # pixels; side of a patch, and from one to the next that others are compared with
RADIUS = 12  # pixels; as far away, down and across, alike ones are looked for
GROUP = 16  # patches in a stack
ALIKE = 0.02  # of the noise's power in coarse coefficients; as mean square, as much patches may differ and be alike
COARSE = 4  # coefficients down and across; a network leaves most of the noise in those
THRESHOLD = 3.0  # deviations of the noise
SILENT = 1e-3  # of the mean variance: with less there is no noise about a patch, as in a hole of one value
KAISER = 2.0  # shape of the window by which a patch counts less at its rim
AT_ONCE, IN_CACHE = 4096, 512  # stacks at a time, to keep a GPU busy (16 MB and some copies), to stay in a CPU's cache
DRAWN = 512  # pixels; side of the noise drawn to know the power of a texture

Shrink = Callable[[Tensor, Tensor], Tensor]  # (coefficients of the pilot, or else the noisy ones; variance) -> factors


class _Stacks(NamedTuple):
    """Where the patches of each stack begin in the padded image, flat: (stacks, GROUP); the size of that image."""

    starts: Tensor
    padded: tuple[int, int]


def collaborative(x_noisy: Tensor, guide: Tensor, deviation: Tensor, texture: Texture) -> Tensor:
    """The second opinion about images (N, 1, H, W), given the first one; same shape.

    deviation: of the noise at each pixel, same shape; it varies slowly over a patch. texture: of the noise.
    """
    parts = zip(x_noisy[:, 0], guide[:, 0], deviation[:, 0], strict=True)
    return torch.stack([_one(*part, texture) for part in parts])[:, None]


def _one(x_noisy: Tensor, guide: Tensor, deviation: Tensor, texture: Texture) -> Tensor:
    height, width = x_noisy.shape
    noisy, first, level = (_grown(image, max(SIZE, height), max(SIZE, width)) for image in (x_noisy, guide, deviation))
    power = _over_patches(_over_patches(level**2).T).T  # mean variance of the noise in each patch
    stacks = _alike(first, ALIKE * _coarse(texture) * power)
    variance = power.flatten()[:, None, None] * (1 if texture.is_white else _power(texture).to(power))
    kept = _filtered([noisy], stacks, variance, _hard)
    pilot = (kept + first) / 2
    shrunk = _filtered([noisy, pilot], stacks, variance, _wiener)
    return shrunk[:height, :width]


def _hard(y: Tensor, v: Tensor) -> Tensor:
    return (y.abs() > THRESHOLD * v.sqrt()).to(y.dtype)


def _wiener(p: Tensor, v: Tensor) -> Tensor:
    square = p.square()
    return square / (square + v.clamp(min=1e-30))


def _grown(image: Tensor, height: int, width: int) -> Tensor:
    """Larger at the bottom and the right, where it is smaller than a patch."""
    return F.pad(image[None, None], (0, width - image.shape[1], 0, height - image.shape[0]), mode="replicate")[0, 0]


def _around(image: Tensor) -> Tensor:
    """With RADIUS pixels around it, mirrored where that can be."""
    mode = "reflect" if min(image.shape) > RADIUS else "replicate"
    return F.pad(image[None, None], 4 * [RADIUS], mode=mode)[0, 0]


def _starts(length: int) -> Tensor:
    """Where patches begin: one each STRIDE pixels, and one at the end."""
    last = length - SIZE
    return torch.tensor([*range(0, last, STRIDE), last])


def _over_patches(values: Tensor) -> Tensor:
    """Means over the patches that begin at `_starts`, along the last of two axes."""
    even = F.avg_pool1d(values, SIZE, STRIDE)
    at_end = values[:, -SIZE:].mean(1, keepdim=True)
    return even if (values.shape[1] - SIZE) % STRIDE == 0 else torch.cat([even, at_end], 1)


def _alike(guide: Tensor, same: Tensor) -> _Stacks:
    """For each patch on a grid of STRIDE pixels, itself and those that are most like it around it.

    same: the mean square difference below which they are equally so, for each patch, (down, across). What lies partly
    beyond the edge comes last: mirrored there, a patch has the same noise twice, which then does not average out.
    """
    around, (height, width) = _around(guide), guide.shape
    columns, span, found = _starts(width).to(guide.device), 2 * RADIUS + 1, []
    chance, offsets = _chance(span).to(guide), torch.arange(-RADIUS, RADIUS + 1, device=guide.device)
    beside = _beyond(offsets[:, None] + columns, width)  # (span, patches)
    strips: dict[int, Tensor] = {}  # two rows of patches share one
    for row, enough in zip(_starts(height).tolist(), same, strict=True):
        strips = {
            at: strips[at] if at in strips else _differences(around, guide, at) for at in range(row, row + SIZE, STRIDE)
        }
        off = torch.stack([*strips.values()]).mean(0)
        off = torch.where(off < enough, enough * chance, off)
        beyond = _beyond(offsets + row, height)[:, None, None] | beside
        off = off.masked_fill(beyond.flatten(0, 1), torch.inf)
        off[span * RADIUS + RADIUS] = -1  # itself first
        best = off.topk(GROUP, dim=0, largest=False).indices.T
        found.append((row + best // span) * around.shape[1] + columns[:, None] + best % span)
    return _Stacks(torch.cat(found), tuple(around.shape))  # type: ignore[arg-type]


def _differences(around: Tensor, guide: Tensor, row: int) -> Tensor:
    """Mean square differences over the STRIDE rows of patches from this one on, for each offset: (span^2, patches)."""
    here = guide[row : row + STRIDE]
    there = around[row : row + STRIDE + 2 * RADIUS].unfold(0, STRIDE, 1).unfold(1, guide.shape[1], 1)
    off = (there - here).square_().mean(2)  # (span, span, width), down the patches
    return _over_patches(off.flatten(0, 1))  # and across them


def _beyond(starts: Tensor, length: int) -> Tensor:
    return (starts < 0) | (starts > length - SIZE)


@cache
def _chance(span: int) -> Tensor:
    """A number in [0, 1) for each place around a patch, (span^2, 1), always the same."""
    return torch.rand(span**2, 1, generator=torch.Generator().manual_seed(0))


@cache
def _power(texture: Texture) -> Tensor:
    """Variance of each coefficient of a patch of noise of variance 1, (SIZE^2,)."""
    noise = draw((DRAWN, DRAWN), texture, torch.Generator().manual_seed(0))
    patches = noise.unfold(0, SIZE, SIZE).unfold(1, SIZE, SIZE).reshape(-1, SIZE**2)
    return (patches @ _of_patch().T).square().mean(0)


def _coarse(texture: Texture) -> float:
    """Mean variance of the COARSE coefficients of a patch of noise of variance 1; 1 for white noise."""
    return 1.0 if texture.is_white else float(_power(texture).view(SIZE, SIZE)[:COARSE, :COARSE].mean())


def _filtered(images: list[Tensor], stacks: _Stacks, variance: Tensor, shrink: Shrink) -> Tensor:
    """All stacks shrunk and put back, each patch by how little noise is left in it, (H, W).

    images: the noisy one, and the pilot if there is one. variance: of the noise in the coefficients of each stack,
    (stacks, 1, SIZE^2) or (stacks, 1, 1) where all are alike.
    """
    around = [_around(image) for image in images]
    noisy, across = around[0], stacks.padded[1]
    side = torch.arange(SIZE, device=noisy.device)
    inside = (side[:, None] * across + side).flatten()
    of_patch, of_stack = (matrix.to(noisy) for matrix in (_of_patch(), _cosines(GROUP)))
    window = torch.kaiser_window(SIZE, periodic=False, beta=KAISER).to(noisy)
    window = (window[:, None] * window).flatten()
    count = noisy.numel() - (SIZE - 1) * (across + 1)  # of places where a patch may begin, flat
    patches = [image.as_strided((count, SIZE, SIZE), (1, across, 1)) for image in around]  # all of them, without a copy
    total, heard = torch.zeros(noisy.numel()).to(noisy), torch.zeros(noisy.numel()).to(noisy)
    usual, others = variance.mean(), torch.arange(GROUP, device=noisy.device)[None, :, None] > 0
    at_once = IN_CACHE if noisy.device.type == "cpu" else AT_ONCE
    for starts, v in zip(stacks.starts.split(at_once), variance.split(at_once), strict=True):
        places = starts[..., None] + inside
        coefficients = [of_stack @ (of_image[starts].flatten(2) @ of_patch.T) for of_image in patches]
        factor = shrink(coefficients[-1], v)
        result = (of_stack.T @ (factor * coefficients[0])) @ of_patch
        left = (factor.square().sum(1, keepdim=True) * v).sum(2, keepdim=True)
        single = v.mean(2, keepdim=True)
        left = torch.maximum(left, single).clamp(min=1e-12)  # of nothing at all it knows no more
        counts = torch.where((single < SILENT * usual) & others, 0, 1)  # not those that may well have noise
        weight = counts / left  # of each patch
        total.index_add_(0, places.flatten(), (weight * window * result).flatten())
        heard.index_add_(0, starts.flatten(), weight.flatten())
    rows, columns = stacks.padded
    weights = F.conv_transpose2d(heard.view(1, 1, rows, columns), window.view(1, 1, SIZE, SIZE))[0, 0, :rows, :columns]
    mean = total.view(rows, columns) / weights.clamp(min=1e-30)
    return mean[RADIUS:-RADIUS, RADIUS:-RADIUS]


@cache
def _of_patch() -> Tensor:
    """The cosine transform of a patch, row by row: (SIZE^2, SIZE^2), orthonormal."""
    return torch.kron(_cosines(SIZE), _cosines(SIZE))


@cache
def _cosines(length: int) -> Tensor:
    """The cosine transform (DCT-II), (length, length), orthonormal."""
    order = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(math.pi * (2 * order + 1) * order[:, None] / (2 * length)) * math.sqrt(2 / length)
    matrix[0] /= math.sqrt(2)
    return matrix.float()
