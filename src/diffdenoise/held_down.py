"""A level of noise held down, before the training, to what the student takes away as it is then.

Noise is measured where the noisy images are flattest. Anatomy in those places adds to it: a few percent, and more where
noise grows with brightness, of which each has few places. A student that starts from weights that learned from
synthetic images is a denoiser already, and knows flatter ones (`taken_away.strength_where_flat`; of white noise).
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from diffdenoise.crops import try_on
from diffdenoise.noise.estimate import NoiseLevel, scaled
from diffdenoise.preparation import Slices
from diffdenoise.settled import crops_of
from diffdenoise.taken_away import strength_where_flat
from diffdenoise.training.student import first_student

LEAST = 0.9  # of what was measured; less is a start that does not know such images
CLEAR = 0.98  # more is chance
log = logging.getLogger("diffdenoise")


def held_down(slices: Slices) -> Slices:
    """The slices with levels of white noise that their student bears out before it is trained; as they are where it
    has no start, where the noise was told, is known exactly, or was measured on repetitions.
    """
    config = slices.config
    starts = config.student.start == "synthetic" and not config.has_teacher
    known = config.level_given or any(slices.repeated) or any(slices.counted)
    white = any(_may_be_held(level) for level in slices.levels)
    if not starts or known or not white or config.student.series:
        return slices
    student = first_student(config.student, slices.levels).eval()
    crops = (crop for crop in crops_of(slices) if _may_be_held(crop.level))
    shown = [strength_where_flat(try_on(student, crop, "cpu")) for crop in crops]
    times = float(np.median(shown or 1.0))
    if times > CLEAR:
        return slices
    times = max(times, LEAST)
    log.info("The noise is taken to be %.0f %% as strong: from what is flat no more can be taken away.", 100 * times)
    return replace(slices, levels=[scaled(level, times) if _may_be_held(level) else level for level in slices.levels])


def _may_be_held(level: NoiseLevel) -> bool:
    return level.texture.is_white and level.typical > 0
