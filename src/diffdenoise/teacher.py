"""The teacher's image, which the student learns from: SRDS, fused with the noisy image; for the slices of a fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from diffdenoise.config import Config
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.inference import image_seed, sample, variance_map
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.training.slices import SliceStore
from diffdenoise.training.stage import autocast


@dataclass(frozen=True)
class Teacher:
    """The trained diffusion model with the slices of a fit: noisy ones, and x_c and v_total for them in `known`."""

    diffusion: nn.Module
    config: Config
    chain: ChainTarget
    noisy: SliceStore
    known: SliceStore
    levels: list[NoiseLevel]
    device: str

    def image(self, scan: int, index: int) -> Tensor:
        """The teacher's image of a slice, (1, rows, columns)."""
        x_noisy = self.noisy.slice(scan, index)[None].to(self.device)
        x_c, v_total = self.known.slice(scan, index)[None].to(self.device).chunk(2, dim=1)
        images, s2 = (x_noisy, x_c, v_total), variance_map(self.levels[scan], x_c)
        seeds = [image_seed(self.config.seed, x_noisy.cpu().numpy())]
        with autocast(self.device):
            return sample(
                self.diffusion, self.config.diffusion, self.config.teacher, self.chain, images, s2, seeds
            ).fused[0]


def choose_slices(counts: list[int], most: int | None) -> list[list[int]]:
    """For scans of so many slices, those that get a teacher image: all, or `most` evenly spread over all scans."""
    total = sum(counts)
    wanted = set(np.linspace(0, total - 1, min(most or total, total)).round().astype(int).tolist())
    starts = np.cumsum([0, *counts])
    return [[i for i in range(count) if start + i in wanted] for start, count in zip(starts, counts, strict=False)]
