"""Stage 3 without a teacher: the student learns from the noisy images themselves, recorrupted.

Each crop is recorrupted with a symmetric pair of noises, +z and -z. What a level of z that is too high does to the
student is fatal: it learns to subtract more than the noise, which then stands in the result upside down. The pair shows
it. With f the student, its divergence in units of the noise,

    z (f(x_noisy + alpha z) - f(x_noisy - alpha z)) / (2 alpha z z),

is the share of the noise that it lets through: 1 for the identity, small for a good denoiser, never negative for the
best one, E[x | x_noisy]. Where it falls below zero z is weakened, until it does not. (UNSURE, Tachella et al. 2025,
does without any level by holding it at zero; here that is a bound, and the estimated level does the rest.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import alive, brightness, divergence, draw_like, recorrupt
from diffdenoise.training.slices import SliceStore, draw_boxes
from diffdenoise.training.stage import Stage
from diffdenoise.training.student import make_student

RATE = 0.02  # of the logarithm of `share`, per step and unit of divergence


class RecorruptedStage(Stage):
    """Trains on crops of the noisy slices; levels: the noise of each scan, normalised as the slices are.

    share: of the estimated level, that z has; at most 1, for the level is measured where there is least anatomy.
    """

    settings: StudentSettings
    share: Tensor

    def __init__(self, settings: StudentSettings, noisy: SliceStore, levels: list[NoiseLevel], seed: int) -> None:
        super().__init__(make_student(settings), settings, seed)
        self.noisy, self.levels = noisy, levels
        self.register_buffer("share", torch.ones(()))  # kept in checkpoints

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Mean square error of what is wanted, over its noise; half as many crops as the batch, each in a pair."""
        settings, alpha = self.settings, self.settings.recorruption
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, max(1, settings.batch // 2), settings.crop)
        crops = self.noisy.crops(boxes)
        drawn = [self._noise(crop[None], box.scan, generator) for crop, box in zip(crops, boxes, strict=True)]
        x_noisy, z = self.place(crops), self.share * self.place(torch.cat(drawn))
        given, wanted = recorrupt(torch.cat([x_noisy, x_noisy]), torch.cat([z, -z]), alpha)
        result = self.network(given.contiguous(memory_format=torch.channels_last)).float()
        plus, minus = result.detach().chunk(2)
        self._weaken(divergence(plus, minus, z, alpha))
        return ((result - wanted) ** 2).mean() / ((z / alpha) ** 2).mean().clamp(min=1e-12)

    def _noise(self, x_noisy: Tensor, scan: int, generator: torch.Generator) -> Tensor:
        level = self.levels[scan]
        deviation = torch.from_numpy(level.variance(brightness(x_noisy).numpy())).sqrt()
        return alive(x_noisy) * draw_like(deviation, level.width, generator)

    def _weaken(self, shown: Tensor) -> None:
        self.share.mul_((RATE * shown.clamp(-1, 1)).exp()).clamp_(max=1.0)
