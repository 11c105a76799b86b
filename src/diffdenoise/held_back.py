"""How much of what a student takes away is to be taken away: not all where repetitions do not bear it out.

Let a and b be one object imaged twice, each with noise of its own, and f the student. The share of its correction
f(a) - a that brings a nearest to b is

    s = <f(a) - a, b - a> / |f(a) - a|^2

It is 1 on the mean for f(a) = E[x | a], the best there is, however noisy b is, for that noise does not know a's.
Detail that f takes for noise is in b as well and makes s less. The level by which the student learned cannot show that,
for it was measured on differences between a and b, where all that moved passes for noise. Of a series f is shown all
but b.
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

MOST_PIXELS = 500_000  # that are denoised at a time, around the middle of a volume or of all of a series
MOST_PAIRS, MOST_TRIED = 2, 8
TOLD = 0.95  # a share that is less than this is worth a word
Volume = tuple[int, int]  # numbers of a scan and of a frame
log = logging.getLogger("diffdenoise")


def share_borne_out(model: Model, slices: Slices, device: str) -> float:
    """The s of this module, of 0 to 1, for a model that was trained on these slices; 1 where none repeat others."""
    correct, square = 0.0, 0.0
    for pair in islice(_repeated(slices), MOST_PAIRS):
        for one, other in (pair, pair[::-1]):
            a, b = _middle(slices, *one), _middle(slices, *other)
            correction = _magnitudes(model, slices, one, other, device) - a
            correct += float(np.vdot(correction, b - a))
            square += float(np.vdot(correction, correction))
    share = min(1.0, max(0.0, correct / square)) if square > 0 else 1.0
    if share < TOLD:
        log.info("Of what the student takes away, %.0f %% is taken: repetitions bear out no more.", 100 * share)
    return share


def _magnitudes(model: Model, slices: Slices, one: Volume, other: Volume, device: str) -> np.ndarray:
    """A volume denoised without knowing the other, the floor of Rician noise left on: repetitions have it as well."""
    scan, frame = one
    frames = [frame]
    if slices.series[scan]:  # of three frames two are left, which are too few and denoised each alone
        frames = [number for number in range(slices.store.frames[scan]) if (scan, number) != other]
    series = np.concatenate([_middle(slices, scan, number) for number in frames])
    done = denoise_slices(model, series, "student", device=device, frames=len(frames))  # as good as eight for this
    pixels = done.pixels if done.magnitude is None else done.magnitude
    return np.split(pixels, len(frames))[frames.index(frame)]


def _repeated(slices: Slices) -> Iterator[tuple[Volume, Volume]]:
    """Pairs of volumes whose noise was measured on one another; evenly spread."""
    volumes = [(scan, frame) for scan, frames in enumerate(slices.store.frames) for frame in range(frames)]
    repeated = [found and not slices.config.evens_out for found in slices.repeated]  # else not in the scans' units
    pairs = [pair for pair in pairwise(volumes) if all(repeated[scan] for scan, _ in pair)]
    for one, other in pairs[:: max(1, -(-len(pairs) // MOST_TRIED))]:
        a, b = _middle(slices, *one), _middle(slices, *other)
        if is_repetition(a, b):
            yield one, other


def _middle(slices: Slices, scan: int, frame: int) -> np.ndarray:
    """The slices around the middle of a volume, (slices, rows, columns), in the scan's own units."""
    frames = slices.store.frames[scan]
    volume = np.split(slices.store.arrays[scan][:, 0], frames)[frame]
    together = frames if slices.series[scan] else 1
    count = min(len(volume), max(1, MOST_PIXELS // (together * volume[0].size)))
    first = (len(volume) - count) // 2
    offset, scale = slices.scales[scan]
    return restore(volume[first : first + count], offset, scale)
