"""What is to be said of the results of a batch, once for all of them."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffdenoise.denoiser import Denoiser
from diffdenoise.inference import Denoised
from diffdenoise.quality.reference_free import worst_bias
from diffdenoise.scans.scan import Scan
from diffdenoise.text import some_of

COARSE = 1.5  # steps; of noise of 1 and 1.5 of them 2 to 4 of 12 dB gained are lost by rounding, of 2 half a decibel
ROUNDED = (
    "hardly more is removed than the step between the stored integers, and rounding the result to them takes back "
    "part of what was gained. Convert the scan to floats before; or subtract from it what --removed writes, which is "
    "finer."
)
WORRYING_BIAS = 0.5  # in units of the removed noise
log = logging.getLogger("diffdenoise")


@dataclass
class Noticed:
    """What is to be said of results: each thing once, when all are done, for a thousand lines nobody reads.

    untouched: names of scans without noise; lifted: of those whose floor could not be taken off as wanted; doubts:
    names by what speaks against the results; biases: by name, worrying ones; earlier: by quantity, maps left behind;
    renamed: results under a name of before.
    """

    untouched: list[str] = field(default_factory=list)
    lifted: list[str] = field(default_factory=list)
    doubts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    biases: dict[str, float] = field(default_factory=dict)
    earlier: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    renamed: list[Path] = field(default_factory=list)

    def look_at(self, scan: Scan, result: Denoised, denoiser: Denoiser) -> None:
        """At a result before it is weakened."""
        if result.untouched:
            self.untouched.append(scan.name)
        elif result.magnitude is None and denoiser.model.config.noise_floor == "remove":
            self.lifted.append(scan.name)
        for doubt in denoiser.doubts(scan, result):
            self.doubts[doubt].append(scan.name)
        as_bright = result.pixels if result.magnitude is None else result.magnitude
        if _is_coarse(scan, as_bright):
            self.doubts[ROUNDED].append(scan.name)
        if (bias := worst_bias(scan.pixels, as_bright)) > WORRYING_BIAS:
            self.biases[scan.name] = bias

    def tell(self, count: int) -> None:
        """Log it, of a batch of `count` scans."""
        of_all = lambda names: f"{len(names)} of {count} scans ({some_of(names)})" if count > 1 else some_of(names)  # noqa: E731
        if self.untouched:
            log.info("%s: no noise is found in it; the result is the scan as it is.", of_all(self.untouched))
        if self.lifted:
            log.info(
                "%s: the floor of the noise is left on: no dark background shows it, or there are negative values.",
                of_all(self.lifted),
            )
        for doubt, names in self.doubts.items():
            log.warning("%s: %s", of_all(names), doubt)
        if self.biases:
            log.warning(
                "%s: the result is brighter or darker than the scan, by %s%.1f times the removed noise. The model is "
                "trained too little or for other scans: look at --removed, and fit with more time or on these scans.",
                of_all(sorted(self.biases, key=lambda name: -self.biases[name])),
                "up to " if len(self.biases) > 1 else "",
                max(self.biases.values()),
            )
        for quantity, maps in self.earlier.items():
            log.warning("%s: of an earlier result. Ask for it again with --%s, or delete it.", some_of(maps), quantity)
        if self.renamed:
            log.warning("%s: of a scan whose result has another name now. Look, and delete it.", some_of(self.renamed))


def _is_coarse(scan: Scan, denoised: np.ndarray) -> bool:
    """Whether rounding the result to the integers that the scan is stored in loses much of it."""
    if not scan.step:
        return False
    inside = scan.pixels > scan.pixels.min()  # without surroundings that were set to zero
    removed = scan.pixels[inside] - denoised[inside]
    return 0 < np.std(removed) < COARSE * scan.step if removed.size else False
