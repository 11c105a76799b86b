"""Stage 3 without a teacher: the student learns from the noisy images themselves, recorrupted."""

from __future__ import annotations

import torch
from torch import Tensor

from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import brightness, recorrupt
from diffdenoise.training.slices import SliceStore, draw_boxes
from diffdenoise.training.stage import Stage
from diffdenoise.training.student import make_student


class RecorruptedStage(Stage):
    """Trains on crops of the noisy slices; levels: the noise of each scan, normalised as the slices are."""

    settings: StudentSettings

    def __init__(self, settings: StudentSettings, noisy: SliceStore, levels: list[NoiseLevel], seed: int) -> None:
        super().__init__(make_student(settings), settings, seed)
        self.noisy, self.levels = noisy, levels

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Mean square error of `wanted` predicted from `given`, over that of the noise in `wanted`."""
        settings = self.settings
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, settings.batch, settings.crop)
        crops = self.noisy.crops(boxes)
        pairs = [
            self._recorrupted(x_noisy[None], box.scan, generator) for x_noisy, box in zip(crops, boxes, strict=True)
        ]
        given, wanted = (torch.cat(images) for images in zip(*pairs, strict=True))
        error = self.network(self.place(given)).float() - self.place(wanted)
        return (error**2).mean() / self.place((wanted - crops) ** 2).mean().clamp(min=1e-12)

    def _recorrupted(self, x_noisy: Tensor, scan: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        level = self.levels[scan]
        deviation = torch.from_numpy(level.variance(brightness(x_noisy).numpy())).sqrt()
        return recorrupt(x_noisy, deviation, level.width, self.settings.recorruption, generator)
