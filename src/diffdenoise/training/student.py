"""Stage 3: knowledge distillation. A plain restoration network learns the teacher's image from the noisy one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffdenoise.config import StudentSettings
from diffdenoise.networks.drunet import DRUNet
from diffdenoise.networks.nafnet import NAFNet
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.training.slices import SliceStore, draw_boxes
from diffdenoise.training.stage import Batch, Stage, pixel_loss
from diffdenoise.training.start import load_start, start_for


def make_student(settings: StudentSettings) -> nn.Module:
    """The network of stage 3: (N, 1, H, W) -> (N, 1, H, W); with neighbours, they come in as further channels."""
    size = (1 + 2 * (settings.neighbours or 0), settings.width, settings.encoder, settings.middle, settings.decoder)
    return DRUNet(*size) if settings.network == "drunet" else NAFNet(*size, settings.crop)


def first_student(settings: StudentSettings, levels: list[NoiseLevel]) -> nn.Module:
    """The network as it is before its first step; levels: the noise of each scan, normalised as they are."""
    student = make_student(settings)
    if settings.start == "synthetic":
        load_start(student, start_for(levels))
    return student


def offsets(neighbours: int) -> list[int]:
    """Which slices the channels after the first one are, counted from it: -1, 1, -2, 2, ..."""
    return [side * far for far in range(1, neighbours + 1) for side in (-1, 1)]


class StudentStage(Stage):
    """Trains on crops of the noisy slices and of the teacher's images.

    levels: the noise of each scan, normalised as they are; chosen: the slices that have a teacher image.
    """

    settings: StudentSettings

    def __init__(
        self,
        settings: StudentSettings,
        noisy: SliceStore,
        levels: list[NoiseLevel],
        teacher: SliceStore,
        chosen: list[list[int]],
        seed: int,
    ) -> None:
        super().__init__(first_student(settings, levels), settings, seed)
        self.noisy, self.teacher, self.chosen = noisy, teacher, chosen

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Crops of the noisy slices and of the teacher's images, each (N, 1, H, W)."""
        settings = self.settings
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, settings.batch, settings.crop, self.chosen)
        return self.noisy.crops(boxes), self.teacher.crops(boxes)

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean pixel loss against the teacher."""
        x_noisy, wanted = batch
        return pixel_loss(self.settings.loss, self(x_noisy).float() - wanted).mean()
