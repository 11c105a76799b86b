"""How much of what a student takes away is to be taken away: not all where repetitions do not bear it out.

Let a and b be one object imaged twice, each with noise of its own, and f the student. The share of its correction
f(a) - a that brings a nearest to b is

    s = <f(a) - a, b - a> / |f(a) - a|^2

It is 1 for f(a) = E[x | a], the best there is, however noisy b is, and whatever has moved: neither knows a's noise.
Detail that f takes for noise is in b as well and makes s less. The level by which the student learned cannot show that,
for it was measured on differences between a and b, where all that moved passes for noise.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice, pairwise

import numpy as np

from diffdenoise.inference import denoise_slices
from diffdenoise.model import Model
from diffdenoise.noise.repetition import is_repetition
from diffdenoise.normalisation import restore
from diffdenoise.preparation import Slices

MOST_PIXELS = 500_000  # of a volume, around its middle
MOST_PAIRS, MOST_TRIED = 2, 8
TOLD = 0.95  # a share that is less than this is worth a word
log = logging.getLogger("diffdenoise")


def share_borne_out(model: Model, slices: Slices, device: str) -> float:
    """The s of this module, of 0 to 1, for a model that was trained on these slices; 1 where none repeat others."""
    correct, square = 0.0, 0.0
    for pair in islice(_repeated(slices), MOST_PAIRS):
        for a, b in (pair, pair[::-1]):
            correction = _magnitudes(model, a, device) - a
            correct += float(np.vdot(correction, b - a))
            square += float(np.vdot(correction, correction))
    share = min(1.0, max(0.0, correct / square)) if square > 0 else 1.0
    if share < TOLD:
        log.info("Of what the student takes away, %.0f %% is taken: repetitions bear out no more.", 100 * share)
    return share


def _magnitudes(model: Model, volume: np.ndarray, device: str) -> np.ndarray:
    """Denoised, with the floor of Rician noise left on: repetitions have it as well."""
    done = denoise_slices(model, volume, device=device)
    return done.pixels if done.magnitude is None else done.magnitude


def _repeated(slices: Slices) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of volumes, in their own units, whose noise was measured on one another; evenly spread."""
    volumes = [(scan, frame) for scan, frames in enumerate(slices.store.frames) for frame in range(frames)]
    repeated = [found and not slices.config.stabilise for found in slices.repeated]  # else not in the scans' units
    pairs = [pair for pair in pairwise(volumes) if all(repeated[scan] for scan, _ in pair)]
    for one, other in pairs[:: max(1, -(-len(pairs) // MOST_TRIED))]:
        a, b = _middle(slices, *one), _middle(slices, *other)
        if a.shape == b.shape and is_repetition(a, b):
            yield a, b


def _middle(slices: Slices, scan: int, frame: int) -> np.ndarray:
    """The slices around the middle of a volume, (slices, rows, columns), in the scan's own units."""
    volume = np.split(slices.store.arrays[scan][:, 0], slices.store.frames[scan])[frame]
    count = min(len(volume), max(1, MOST_PIXELS // volume[0].size))
    first = (len(volume) - count) // 2
    offset, scale = slices.scales[scan]
    return restore(volume[first : first + count], offset, scale)
