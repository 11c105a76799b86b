"""What the method takes for granted about the noise, checked on the noisy scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffdenoise.noise.estimate import NoiseLevel, level_of
from diffdenoise.noise.looked import MOST_PIXELS, Looked, look, some_of, some_places
from diffdenoise.noise.reach import LONGEST_REACH, reach_of
from diffdenoise.noise.texture import Machine
from diffdenoise.normalisation import measure_range

NOISE_FREE = 0.003  # of the values that are shown at once: weaker noise is hardly seen
WINDOW = 400.0  # HU that are shown of CT at once; of other images it is the bulk of their range
OF_A_STEP = 0.5  # of the quantisation step: weaker noise was rounded away
ANATOMY = 3.0  # times that weakest noise; a level up to this may be anatomy where the finest differences show none
NEAR = 9  # pixels; side of the square around a pixel
AROUND = (0.05, 0.55)  # of that square at the minimum: for a masked pixel at the mask's straight edge it is 5/9 or more
FEWEST_CLIPPED = 0.02  # of all pixels
SPIKE = 1.0  # pixels at the minimum over pixels just above it, in such squares


@dataclass(frozen=True)
class Finding:
    """One assumption that does not hold, and what to do."""

    fault: Literal["noise_free", "correlated_far", "clipped"]
    message: str


def check_noise(
    slices: np.ndarray,
    level: NoiseLevel,
    looked: Looked | None = None,
    counted: bool = False,
    machine: Machine = "",
) -> list[Finding]:
    """What is wrong with the noise of (slices, rows, columns); level: as estimated from them, in the same units.

    looked: what was looked at of them for the level, where it is at hand. counted: the values are whole counts, whose
    many zeros and coarse steps are no fault. machine: that made them.
    """
    looked = looked or look(slices)
    _, scale = measure_range(slices)
    shown = min(scale, WINDOW) if machine == "CT" else scale
    limit = max(NOISE_FREE * shown, 0.0 if counted else OF_A_STEP * _step(slices))
    # The finest differences see least anatomy. In a scan without noise that is all the level, further out, sees.
    finest = level_of(looked, reach=0).typical if level.reach else level.typical
    if level.typical < limit or (finest < limit and level.typical < ANATOMY * limit):
        return [Finding("noise_free", _noise_free(min(finest, level.typical), level.typical, limit))]
    findings = []
    if level.reach == LONGEST_REACH and reach_of(looked) > LONGEST_REACH:
        findings.append(Finding("correlated_far", _correlated_far()))
    if counted:
        return findings
    clipped = _clipped_share(slices, max(level.typical / 2, 1.01 * _step(slices)))
    if clipped > FEWEST_CLIPPED:
        findings.append(Finding("clipped", _clipped(clipped, float(slices.min()))))
    return findings


def _noise_free(finest: float, level: float, limit: float) -> str:
    found = f"{level:.3g}" if finest >= 0.99 * level else f"{finest:.3g} where it is smoothest, {level:.3g} over all"
    return (
        f"There may be next to no noise: {found}; less than {limit:.3g} (0.3 % of the values that are shown at once, "
        "or half a grey level) is hardly seen. Denoising could take away more detail than noise: look at --removed, or "
        "use it so."
    )


def _correlated_far() -> str:
    return (
        f"The noise is correlated over more than {LONGEST_REACH} pixels, further than the largest hidden patch "
        "reaches: some of it will stay. (Or there is next to none, and fine anatomy passes for it.) Use the scan "
        "before interpolation or smoothing, or shrink it to the pixel size it was acquired with."
    )


def _clipped(share: float, minimum: float) -> str:
    return (
        f"{100 * share:.0f} % of the pixels lie exactly at the minimum ({minimum:g}), scattered among others: the "
        "noise was clipped there, its mean is no longer zero, and dark regions come out too bright. Use the scan "
        "before clipping (signed or float values)."
    )


def _step(slices: np.ndarray) -> float:
    """Distance between grey levels, 0 for continuous values."""
    flat = slices.reshape(-1)
    some = flat[some_places(flat.size, MOST_PIXELS)]
    levels = np.unique(some)
    return float(np.median(np.diff(levels))) if 2 <= len(levels) < some.size / 20 else 0.0


def _clipped_share(slices: np.ndarray, width: float) -> float:
    """Share of the pixels that are clipped noise: at the minimum among others, more than within `width` above."""
    from scipy.ndimage import uniform_filter

    slices = slices[some_of(len(slices), slices.size)]
    minimum = slices.min()
    lowest = slices == minimum
    around = uniform_filter(lowest.astype(np.float32), (1, NEAR, NEAR))
    scattered = (around > AROUND[0]) & (around < AROUND[1])
    count = np.count_nonzero(lowest & scattered)
    above = np.count_nonzero(scattered & (slices > minimum) & (slices <= minimum + width))
    return count / slices.size if count > SPIKE * above else 0.0
