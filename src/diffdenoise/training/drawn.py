"""z for crops: noise like that which is in them already, as strong at each place, and turned as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Generator, Tensor

from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.looked import centres
from diffdenoise.noise.phases import draw_by, goes_by_phases, noise_like, turned_by
from diffdenoise.noise.rays import amplitudes, draw_along, step_of, within
from diffdenoise.noise.spatial import Variation
from diffdenoise.noise.texture import Texture
from diffdenoise.training.slices import Box, SliceStore, cut
from diffdenoise.training.stage import generator_of

MOST_FRAMES = 8  # of a component, those of the largest weights; more cost time, and are about as bright
MOST_ALONG = 1024  # slices whose paths are kept, 64 to 256 kB each
KEPT = 2**23  # pixels of slices, 64 MiB of phases; of more slices they are found crop by crop


class Drawer:
    """Draws z for the crops of a training. levels: the noise of each scan, normalised as they are.

    To find the phases of each crop is a sixth of a training on a CPU, and crops overlap. So each slice's are found
    once, when they are first asked for; the paths of its rays likewise. They do not depend on which crop that was: a
    training that is resumed goes on as if it had not been stopped.
    """

    def __init__(self, noisy: SliceStore, levels: Sequence[NoiseLevel], seed: int) -> None:
        self.noisy, self.levels, self.seed = noisy, levels, seed
        pixels = sum(slices * rows * columns for slices, _, rows, columns in noisy.shapes)
        self.keeps = pixels <= KEPT and not noisy.sums
        self.phases = cache(self._phases)
        self.along = lru_cache(MOST_ALONG)(self._along)

    def draw(self, box: Box, generator: Generator) -> Tensor:
        """(1, 1, side, side)."""
        level = self.levels[box.scan]
        if level.rays and not self.noisy.sums:
            return draw_noise(self.noisy, level, box, generator, self.along(box.scan, box.slice))
        if not (self.keeps and goes_by_phases(level)):
            return draw_noise(self.noisy, level, box, generator)
        turned = torch.from_numpy(np.ascontiguousarray(cut(self.phases(box.scan, box.slice), box)))
        return draw_by(turned[None], _texture_of(level, box), generator)

    def _along(self, scan: int, index: int) -> np.ndarray:
        return along_rays(self.noisy, self.levels[scan], scan, index)

    def _phases(self, scan: int, index: int) -> np.ndarray:
        level, image = self.levels[scan], self.noisy.slice(scan, index)[None]
        generator = generator_of(self.seed, scan, 1 + index)  # a step's, were it 0: zeros at the end do not count
        return turned_by(image, level, level.texture, generator, level.over(image.shape))[0].numpy()


def draw_noise(
    noisy: SliceStore, level: NoiseLevel, box: Box, generator: Generator, along: np.ndarray | None = None
) -> Tensor:
    """Noise like a crop's own, (1, 1, side, side): the sum of those of the images it is made of.

    along: `along_rays` of its slice, where that is known already.
    """
    weights, images = noisy.parts(box)
    heaviest = np.argsort(-np.abs(weights), kind="stable")[:MOST_FRAMES]
    shares = weights[heaviest] ** 2 * (np.sum(weights**2) / np.sum(weights[heaviest] ** 2))
    x_noisy = torch.from_numpy(images[heaviest])[:, None]
    over = strength_over(level.variation, noisy.shapes[box.scan], box)
    unit = None
    if level.rays and not noisy.sums:
        along = along_rays(noisy, level, box.scan, box.slice) if along is None else along
        unit = _drawn_along(along, noisy.shapes[box.scan], level, box, generator)
    each = noise_like(x_noisy, level, _texture_of(level, box), generator, over, unit)
    return torch.tensordot(torch.from_numpy(np.sqrt(shares)), each, dims=1)[None]


def along_rays(noisy: SliceStore, level: NoiseLevel, scan: int, index: int) -> np.ndarray:
    """How strong the noise of a slice is along each direction (see `noise.rays.amplitudes`)."""
    return amplitudes(noisy.slice(scan, index)[0].numpy(), level.rays)


def _drawn_along(
    along: np.ndarray, shape: tuple[int, ...], level: NoiseLevel, box: Box, generator: Generator
) -> Tensor:
    """Noise of variance 1 for a crop, drawn as the slice lies and turned as the crop is, (1, side, side)."""
    rows, columns = (slice(start, start + box.side) for start in (box.row, box.column))
    unit = draw_along(within(along, step_of(shape), rows, columns), level.texture, generator)
    return torch.from_numpy(np.ascontiguousarray(cut(unit[None].numpy(), replace(box, row=0, column=0))))


def strength_over(variation: Variation, shape: tuple[int, ...], box: Box) -> np.ndarray | float:
    """How many times as strong as elsewhere the noise is at each pixel of a crop of such images, turned as that is."""
    if variation.is_even:
        return 1.0
    starts = (box.row, box.column)
    rows, columns = (centres(side)[at : at + box.side] for side, at in zip(shape[-2:], starts, strict=True))
    return cut(variation.at(rows, columns)[None], replace(box, row=0, column=0))


def _texture_of(level: NoiseLevel, box: Box) -> Texture:
    return level.texture.turned if box.turn % 2 else level.texture
