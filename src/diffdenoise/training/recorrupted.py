"""Stage 3 without a teacher: the student learns from the noisy images themselves, recorrupted.

Each crop is recorrupted with a symmetric pair of noises, +z and -z. What a level of z that is too high does to the
student is fatal: it learns to subtract more than the noise, which then stands in the result upside down. The pair
shows it: with f the student, z f'(z) is how much of the noise it lets through. It is z^2 for the identity, small for a
good denoiser, and on the mean never negative for the best one, E[x | x_noisy], whose derivative is a covariance. So
where the mean over a square of pixels is negative it is pushed back, harder than z pulls. Of a level that is too high
only as much is believed as the images bear out, each place for itself; one that is too low is followed. (UNSURE,
Tachella et al. 2025, needs no level, for it holds the mean over all pixels at zero; here zero is a bound, and local.)

Neighbouring slices whose noise is their own are seen as they are: nothing of a slice's noise can be told from them.
Where there is none the recorrupted slice itself stands in. (As it is it would tell z, and so what is wanted.)

A few crops are shown darker or brighter than they are. A student that has met white matter at one brightness alone
learns that there is nothing brighter, and pulls what is, in the scan of someone else, down to what it knows.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.recorruption import let_through, recorrupt
from diffdenoise.training.drawn import Drawer
from diffdenoise.training.slices import Box, SliceStore, draw_boxes, is_usable
from diffdenoise.training.stage import Batch, Stage
from diffdenoise.training.student import first_student, offsets

LEAST = 0.01  # of the typical noise variance: crops with less, of a mask, weigh no more than with this
ALONE, ONE_SIDED = 0.25, 0.1  # share of the crops without any neighbours; of the others' neighbours, left out
BRIGHTEST = 1.4  # mean of a crop that is shifted, at most; at least 0; most pixels of most scans lie from 0 to 1
# alpha, where the settings leave it open: so much over the independent values of noise that there are to learn from. To
# few the network would overfit, and a larger alpha hides them; where they are many it would see stronger noise than
# theirs for nothing (docs/method.md, 12).
VALUES, LEAST_ALPHA, MOST_ALPHA = 50_000, 0.2, 0.8
WINDOW = 32  # pixels; smaller squares show more of chance, larger ones less of where the level is wrong


class RecorruptedStage(Stage):
    """Trains on crops of the noisy slices; levels: the noise of each scan (of its frames), normalised as they are."""

    settings: StudentSettings
    push = 2.0  # over the pull of z; anything above 1 holds
    shifted = 1 / 32  # of the crops; more costs a little where scans are like those of the fit (docs/ablations.md, u)

    def __init__(self, settings: StudentSettings, noisy: SliceStore, levels: list[NoiseLevel], seed: int) -> None:
        super().__init__(first_student(settings, levels), settings, seed)
        self.noisy, self.levels, self.drawer = noisy, levels, Drawer(noisy, levels, seed)
        self.alpha = settings.recorruption or alpha_for(noisy, levels)
        if settings.series:  # its components are as bright as they are, the first far brighter than a frame
            self.shifted = 0.0
        self.least = max(1e-12, LEAST * float(np.median([level.typical for level in levels])) ** 2)

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        """Half as many crops as batch and their noises, each (N, 1, H, W); for each neighbour its crops, (N, 1, H, W),
        and where it is to be missing, (N, 1, 1, 1).
        """
        settings = self.settings
        boxes = draw_boxes(self.noisy.shapes, self.seed, step, _crops(settings), settings.crop)
        z = [self.drawer.draw(box, generator) for box in boxes]
        crops, beside = self.noisy.crops(boxes), self._neighbours(boxes, generator)
        shift = self._shift(crops, generator)
        return crops + shift, torch.cat(z), *(x if x.dtype == torch.bool else x + shift for x in beside)

    def _shift(self, crops: Tensor, generator: torch.Generator) -> Tensor:
        """What is added to each crop, (N, 1, 1, 1): 0 to most, to a few so much that they have another mean."""
        shifted, means = torch.rand(2, len(crops), 1, 1, 1, generator=generator)
        return torch.where(shifted < self.shifted, BRIGHTEST * means - crops.mean((1, 2, 3), keepdim=True), 0.0)

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean square error of what is wanted, and the push, over the noise; each crop with a pair of noises."""
        x_noisy, z, *beside = batch
        alpha, both = self.alpha, lambda x: torch.cat([x, x])
        given, wanted = recorrupt(both(x_noisy), torch.cat([z, -z]), alpha)
        pairs = zip(beside[::2], beside[1::2], strict=True)
        shown = [torch.where(both(missing), given, both(crops)) for crops, missing in pairs]
        seen = torch.cat([given, *shown], dim=1)
        result = self(seen.contiguous(memory_format=torch.channels_last)).float()
        plus, minus = result.chunk(2)
        upside_down = torch.relu(-let_through(plus, minus, z, alpha, WINDOW))
        loss = ((result - wanted) ** 2).mean() + 2 * self.push * upside_down.mean()
        return loss * alpha**2 / (z**2).mean().clamp(min=self.least)

    def _neighbours(self, boxes: list[Box], generator: torch.Generator) -> list[Tensor]:
        """For each, its crops beside those of the boxes, and where it is missing or left out."""
        found, alone = [], torch.rand(len(boxes), generator=generator) < ALONE
        for offset in offsets(self.settings.neighbours or 0):
            left_out = alone | (torch.rand(len(boxes), generator=generator) < ONE_SIDED)
            there = [self.noisy.neighbour(box, offset) for box in boxes]
            missing = left_out | torch.tensor([box is None for box in there])
            crops = self.noisy.crops([other or box for other, box in zip(there, boxes, strict=True)])
            found += [crops, missing[:, None, None, None]]
        return found


def alpha_for(noisy: SliceStore, levels: list[NoiseLevel]) -> float:
    """What z is weighed with in the slices of a store; levels: their noise. Of series the least: they are sums."""
    values = _pixels(noisy.shapes) / float(np.median([level.texture.area for level in levels]))
    return LEAST_ALPHA if noisy.sums else min(MOST_ALPHA, max(LEAST_ALPHA, VALUES / values))


def most_steps(settings: StudentSettings, noisy: SliceStore) -> int:
    """After so many a pixel was in as many crops, on the mean, as `settings.visits` allows.

    To few slices the student overfits, the longer it is trained the more.
    """
    shapes = [shape for shape in noisy.shapes if is_usable(shape)]
    if settings.visits is None or not shapes:
        return sys.maxsize
    # The crops of a step are as small as the smallest slice among those drawn: the chance that it is this large.
    sides = np.sort(np.repeat([min(settings.crop, *shape[-2:]) for shape in shapes], [shape[0] for shape in shapes]))
    as_large = (np.arange(len(sides), -1, -1) / len(sides)) ** _crops(settings)
    shown = float(np.square(sides) @ -np.diff(as_large))  # pixels of a crop
    return max(1, round(settings.visits * _pixels(shapes) / (_crops(settings) * shown)))


def _pixels(shapes: list[tuple[int, ...]]) -> int:
    return sum(slices * rows * columns for slices, _, rows, columns in shapes)


def _crops(settings: StudentSettings) -> int:
    """Of a step, each shown with a pair of noises."""
    return max(1, settings.batch // 2)
