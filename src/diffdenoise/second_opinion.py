"""A second opinion about what the student says, by collaborative filtering, and how much it is worth.

With f the student's result and c what `collaborative` makes of the same noisy slice and f, a user is given

    f + s (c - f)

s is found at the end of a fit, on its own noisy scans, by recorruption: of a crop `given` and `wanted` are made, whose
noises are independent (`noise.recorruption`). f and c see `given` alone, so that

    s = <c - f, wanted - f> / |c - f|^2

is on the mean what it would be with the clean image in the place of `wanted`, but for chance, which is known, too: its
square is sum (c - f)^2 (wanted - f)^2 / |c - f|^4. Where c adds nothing, or nothing that stands out, s is 0, and c is
never computed.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from diffdenoise.collaborative import SecondOpinion
from diffdenoise.model import Model
from diffdenoise.noise.recorruption import recorrupt
from diffdenoise.preparation import Slices
from diffdenoise.symmetry import over_symmetries
from diffdenoise.training.recorrupted import draw_noise, strength_over
from diffdenoise.training.slices import Box, is_usable
from diffdenoise.training.student import offsets

PASSES = 4  # of the student that a second opinion takes as long as, on a CPU; by hand: 1 to 4
CROPS, SIDE = 8, 160  # that s is found on; pixels
ALPHA = 0.3  # more, and the student sees more noise than it was trained on; less, and s is known less well
LEAST, CLEAR = 0.15, 2.0  # a smaller share gains next to nothing; standard errors that it is to be above 0
log = logging.getLogger("diffdenoise")


def second_opinion_of(model: Model, slices: Slices, device: str) -> SecondOpinion | None:
    """What is worth to be mixed into the results of a student that was trained on these slices; None: nothing.

    Nothing, too, into those of one of series, and where scans repeat one another: what moved passes for noise there,
    and how much of a correction is made was found for the student's own (`held_back`).
    """
    if model.config.student.series or any(slices.repeated):
        return None
    asked = SecondOpinion(1.0, sorted(slices.levels, key=lambda level: level.typical)[len(slices.levels) // 2])
    gained, chance, square = 0.0, 0.0, 0.0
    for number, box in enumerate(_boxes(slices)):
        first, second, wanted = (x.cpu().double() for x in _opinions(model, slices, asked, box, number, device))
        change = (second - first) * (wanted - first)
        gained += float(change.sum())
        chance += float(change.square().sum())
        square += float((second - first).square().sum())
    if gained < max(LEAST * square, CLEAR * chance**0.5) or square == 0:
        return None
    share = min(1.0, gained / square)
    log.info("Of what collaborative filtering would change in a result, %.0f %% is changed.", 100 * share)
    return replace(asked, share=share)


def _opinions(
    model: Model, slices: Slices, asked: SecondOpinion, box: Box, number: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """(the student's, the second one, `wanted`) for a crop, each (1, 1, H, W)."""
    store, student = slices.store, model.student
    generator = torch.Generator().manual_seed(model.config.seed + number)
    given, wanted = recorrupt(store.crops([box]), draw_noise(store, slices.levels[box.scan], box, generator), ALPHA)
    beside = [store.neighbour(box, offset) for offset in offsets(model.config.student.neighbours or 0)]
    seen = torch.cat([given, *(store.crops([other]) if other else given for other in beside)], dim=1).to(device)
    with torch.no_grad():
        first = (over_symmetries(student, seen) if model.config.student.ensemble else student(seen)).float()
        over = strength_over(asked.level.variation, store.shapes[box.scan], box) * np.sqrt(1 + ALPHA**2)
        return first, asked.about(given.to(device), first, over), wanted.to(device)


def _boxes(slices: Slices) -> list[Box]:
    """The middles of CROPS slices that are evenly spread over all scans; the same ones again where they are fewer."""
    shapes = slices.store.shapes
    places = [(scan, index) for scan, shape in enumerate(shapes) if is_usable(shape) for index in range(shape[0])]
    found, spread = [], np.linspace(0, len(places) - 1, CROPS).round().astype(int)
    for scan, index in (places[number] for number in spread):
        rows, columns = shapes[scan][-2:]
        side = min(SIDE, rows, columns)
        found.append(Box(scan, index, (rows - side) // 2, (columns - side) // 2, side, 0))
    return found
