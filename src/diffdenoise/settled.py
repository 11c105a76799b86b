"""What only the use of a model asks for, decided at the end of a fit: turns of a slice, a second opinion."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from diffdenoise.config import StudentSettings
from diffdenoise.crops import SIDE, Crop, objects, spread_over
from diffdenoise.diagnosis import TOLD_GRAIN
from diffdenoise.errors import ConfigError
from diffdenoise.model import Model
from diffdenoise.preparation import Slices
from diffdenoise.rounds import image_seed
from diffdenoise.second_opinion import IN_SERIES, WHY_NONE, SecondOpinion, Shares
from diffdenoise.symmetry import over_symmetries, takes_little, turns_that_take_little
from diffdenoise.training.drawn import draw_noise, strength_over
from diffdenoise.training.slices import Box, cut, is_usable
from diffdenoise.training.student import offsets

PASSES = 2.5  # of the student that a second opinion takes as long as, on a CPU
OF_TRAINING = 2 / 3  # of its time, that a second opinion may take: it is worth more than further turns are
log = logging.getLogger("diffdenoise")


def settled(model: Model, slices: Slices, device: str) -> Model:
    """The model with what only its use asks for decided, where its config leaves that open."""
    student = model.config.student
    work = _work(student, slices)
    if student.turns is None:
        turns = turns_that_take_little(*work)
        if turns > 1:
            log.info(
                "Results are the mean over %d turns of a slice, for it takes little time beside this training.", turns
            )
        student = student.model_copy(update={"turns": turns})
        model = replace(model, config=model.config.model_copy(update={"student": student}))
    if why := _why_none(work, slices):
        return replace(model, history={**model.history, WHY_NONE: why})
    return replace(model, second_opinion=second_opinion_of(model, slices, device))


def require_second_opinion(slices: Slices) -> None:
    """Raises ConfigError where one is to be asked, whatever it takes, about what it is not asked about."""
    if slices.config.student.second_opinion and not _may_be_asked(slices):
        raise ConfigError(
            "student.second_opinion: none is asked where scans are series or repeat one another. Leave it out (the "
            "sampler auto does without), or denoise a series frame by frame with series = false under [student]."
        )


def _why_none(work: tuple[int, int], slices: Slices) -> str:
    """Why no second opinion is asked; empty where one is.

    Beside grain that is kept it gains nothing: it is right at frequencies where there is little but grain, wrong where
    most of the noise is, and its share is one for all (docs/tried.md).
    """
    wanted = slices.config.student.second_opinion
    if wanted is False:
        return "it was fitted with second_opinion = false, its preset's or its settings'"
    if not _may_be_asked(slices):
        return IN_SERIES
    if wanted:
        return ""
    if not takes_little(*work, PASSES, OF_TRAINING):
        return "it would have taken long beside its training"
    grain = float(np.median(slices.kept))
    if grain < TOLD_GRAIN:
        return ""
    log.info("No second opinion is asked: it gains nothing beside grain that is kept (%.0f %%).", 100 * grain)
    return "it gains nothing beside grain that is kept"


def _may_be_asked(slices: Slices) -> bool:
    """Not about what is one of a series, nor where most scans repeat one another.

    What moved passes for noise there, and how much of a correction is made was found for the student's own
    (`held_back`).
    """
    return not slices.config.student.series and 2 * sum(slices.repeated) <= len(slices.repeated)


def _work(student: StudentSettings, slices: Slices) -> tuple[int, int]:
    """How many pixels all slices have, and how many the crops had that the student was trained on."""
    shapes = slices.store.shapes
    pixels = sum(count * rows * columns for count, _, rows, columns in shapes)
    crop = min(student.crop, *(min(shape[-2:]) for shape in shapes if is_usable(shape)))  # at least
    return pixels, student.steps * student.batch * crop**2


def second_opinion_of(model: Model, slices: Slices, device: str) -> SecondOpinion:
    """What a student that was trained on these slices is to be asked beside, by the share that they bear out."""
    level = sorted(slices.levels, key=lambda level: level.typical)[len(slices.levels) // 2]
    second = SecondOpinion(Shares(0.0, 0.0), level)
    student = partial(over_symmetries, model.student, turns=model.config.student.turns or 1)
    shares = second.borne_out(student, crops_of(slices), device)
    log.info("Second opinion: %s.", shares)
    return replace(second, shares=shares)


def crops_of(slices: Slices) -> Iterator[Crop]:
    """The middles of slices that are evenly spread over all scans, as the student was shown them."""
    store, beside = slices.store, offsets(slices.config.student.neighbours or 0)
    places = [(scan, index) for scan, of in enumerate(store.shapes) if is_usable(of) for index in range(of[0])]
    for scan, index in (places[number] for number in spread_over(len(places))):
        rows, columns = store.shapes[scan][-2:]
        side = min(SIDE, rows, columns)
        box = Box(scan, index, (rows - side) // 2, (columns - side) // 2, side, 0)
        boxes = [store.neighbour(box, offset) for offset in beside]
        seen = torch.cat([store.crops([other or box]) for other in (box, *boxes)], dim=1)
        own = torch.tensor([True, *(other is None for other in boxes)])[:, None, None]
        generator = torch.Generator().manual_seed(image_seed(slices.config.seed, seen.numpy()))
        level = slices.levels[scan]
        z = draw_noise(store, level, box, generator)
        inside = torch.from_numpy(cut(objects(store.slice(scan, index)[None])[0].numpy(), box))[None]
        yield Crop(seen, own, level, z, inside, strength_over(level.variation, store.shapes[scan], box))
