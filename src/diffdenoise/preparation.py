"""Scans to normalised slices on disk, and what the estimated noise decides about the fit."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffdenoise.config import Config
from diffdenoise.errors import ScanError
from diffdenoise.noise.estimate import LONGEST_REACH, NoiseLevel, estimate_noise
from diffdenoise.normalisation import Normalisation, fit_normalisation, measure_range, normalise
from diffdenoise.run_folder import cached, key_of, write_json
from diffdenoise.scans.scan import Scan
from diffdenoise.training.slices import SliceStore, write_scan_slices
from diffdenoise.training.stage import Progress

log = logging.getLogger("diffdenoise")
READING = "Reading scans"


@dataclass(frozen=True)
class Source:
    """A scan to fit on: `key` identifies its content, `load` reads it (and may raise ScanError)."""

    key: str
    load: Callable[[], Scan]


@dataclass(frozen=True)
class Slices:
    """The normalised slices of all scans, and each scan's noise level."""

    key: str
    store: SliceStore
    levels: list[NoiseLevel]
    normalisation: Normalisation
    skipped: list[str]


def prepare(sources: Sequence[Source], config: Config, folder: Path, progress: Progress) -> Slices:
    """Normalised slices on disk, memory-mapped, and what was found out about them."""
    key = key_of([source.key for source in sources], config.normalisation, config.sigma)
    to = cached(folder / "slices", key, lambda to: _write_slices(sources, config, to, progress))
    index = json.loads((to / "index.json").read_text())
    levels = [NoiseLevel(tuple(level["knots"]), tuple(level["sigma"]), level["reach"]) for level in index["levels"]]
    return Slices(key, SliceStore(to), levels, Normalisation(**index["normalisation"]), index["skipped"])


def _write_slices(sources: Sequence[Source], config: Config, folder: Path, progress: Progress) -> None:
    ranges, units, skipped = [], [], []
    for number, source in enumerate(sources):
        try:
            scan = source.load()
            ranges.append(measure_range(scan.pixels))
            units.append(scan.units)
            write_scan_slices(folder, len(ranges) - 1, scan.pixels[:, None])
        except ScanError as error:
            skipped.append(str(error))
        progress(READING, number + 1, len(sources))
    if not ranges:
        raise ScanError(
            "Input", "no scan could be read: " + " | ".join(skipped or ["nothing was given"]), "Name others."
        )
    mode = config.normalisation
    if mode == "auto":
        mode = "fixed" if set(units) == {"absolute"} else "scan"
    rule = fit_normalisation(ranges, mode)
    levels = []
    for path, own in zip(sorted(folder.glob("*.npy")), ranges, strict=True):
        offset, scale = own if mode == "scan" else (rule.offset, rule.scale)
        pixels = np.lib.format.open_memmap(path, mode="r+")
        for image in pixels:  # slice by slice: a scan may be larger than memory
            image[:] = normalise(image, offset, scale)
        level = estimate_noise(pixels[:, 0])
        levels.append(replace(level, knots=(0.0,), sigma=(config.sigma / scale,)) if config.sigma else level)
    index = {
        "levels": [vars(level) for level in levels],
        "normalisation": vars(rule),
        "skipped": skipped,
    }
    write_json(folder / "index.json", index)


def settle(config: Config, levels: Sequence[NoiseLevel]) -> Config:
    """The config with the hidden patch that the noise asks for, unless one is set: it reaches past the correlation."""
    if config.blind_spot.patch is not None:
        return config
    reach = int(np.median([level.reach for level in levels]))
    patch = 2 * reach + 1
    kind = f"correlated over {reach} pixel{'s' * (reach > 1)}" if reach else "independent between pixels"
    log.info("The noise looks %s: hiding %d x %d pixels (setting blind_spot.patch).", kind, patch, patch)
    if reach >= LONGEST_REACH:
        log.warning("The noise may be correlated further than the largest patch reaches: expect some of it to stay.")
    return config.model_copy(update={"blind_spot": config.blind_spot.model_copy(update={"patch": patch})})
