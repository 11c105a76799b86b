"""The teacher's image, which the student learns from: SRDS, fused with the noisy image; for the slices of a fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from diffdenoise.config import Config
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.rounds import Images, image_seed, sample, teacher_of_round, variance_map
from diffdenoise.training.slices import SliceStore
from diffdenoise.training.stage import autocast


@dataclass(frozen=True)
class Teacher:
    """The diffusion model of round `number` with the slices of a fit.

    noisy: the slices; blind: x_c and v_total for them; conditions: the round's condition, in the first channel.
    """

    diffusion: nn.Module
    config: Config
    number: int
    chain: ChainTarget
    noisy: SliceStore
    blind: SliceStore
    conditions: SliceStore
    levels: list[NoiseLevel]
    device: str

    def image(self, scan: int, index: int) -> Tensor:
        """The teacher's image of a slice, (1, rows, columns)."""
        stores = self.noisy, self.blind, self.conditions
        x_noisy, blind, condition = (store.slice(scan, index)[None].to(self.device) for store in stores)
        x_c, v_total = blind.chunk(2, dim=1)
        images = Images(x_noisy, x_c, v_total, condition[:, :1])
        s2 = variance_map(self.levels[scan], images.x_c)
        seeds = [image_seed(self.config.seed, x_noisy.cpu().numpy())]
        teacher = teacher_of_round(self.config, self.number)
        with autocast(self.device):
            return sample(self.diffusion, self.config.diffusion, teacher, self.chain, images, s2, seeds).fused[0]


def choose_slices(counts: list[int], most: int | None) -> list[list[int]]:
    """For scans of so many slices, those that get a teacher image: all, or `most` evenly spread over all scans."""
    total = sum(counts)
    wanted = set(np.linspace(0, total - 1, min(most or total, total)).round().astype(int).tolist())
    starts = np.cumsum([0, *counts])
    return [[i for i in range(count) if start + i in wanted] for start, count in zip(starts, counts, strict=False)]
