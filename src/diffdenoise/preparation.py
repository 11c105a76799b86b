"""Scans to normalised slices on disk, and what the estimated noise decides about the fit."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from diffdenoise.config import Config
from diffdenoise.diagnosis import (
    Choice,
    Diagnosis,
    as_given,
    believed,
    choose,
    diagnose,
    settle,
    told,
    with_shared_textures,
)
from diffdenoise.domain import Domain
from diffdenoise.errors import ScanError
from diffdenoise.far_out import limits_of
from diffdenoise.machine import machine_of, modality_of, suffix_of
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.repetition import repeated_around
from diffdenoise.noise.texture import Machine
from diffdenoise.normalisation import Normalisation, fit_normalisation, measure_range
from diffdenoise.run_folder import cached, is_whole, key_of, write_json
from diffdenoise.scans.scan import Scan
from diffdenoise.series import Components, components_of
from diffdenoise.text import some_of
from diffdenoise.threads import cores
from diffdenoise.training.combinations import CombinationStore
from diffdenoise.training.slices import SMALLEST_CROP, SliceStore, is_usable, scans_of, write_scan_slices
from diffdenoise.training.stage import Progress

log = logging.getLogger("diffdenoise")
SLICES = "slices"  # folder of a run
READING, MEASURING = "Reading scans", "Measuring their noise"
GUESSED_FLOOR = (
    'The floor of the noise is to be removed (noise_floor = "remove"), but the noise does not look like that of '
    "magnitudes (Rician). How strong it is in the dark is then a guess, and dark tissue may go with it: give --sigma, "
    "or leave the setting out."
)
TOO_SMALL = (
    "From %d of %d scans (%s) nothing is learned, for their slices have sides of less than %d pixels. They can be "
    "denoised all the same, with what the others teach."
)
REVISION = 24  # of what is kept in a run folder
APART = "Fit each kind apart, into a folder of its own."
MOST_AT_ONCE = 8  # scans measured at the same time; each takes up to about 100 MB


@dataclass(frozen=True)
class Source:
    """A scan to fit on: `key` identifies its content, `load` reads it (and may raise ScanError)."""

    key: str
    load: Callable[[], Scan]


@dataclass(frozen=True)
class Slices:
    """The slices of all scans as the networks see them, the noise levels there, and the config settled by them.

    scales: (offset, scale) from a scan's own units; repeated: whether its noise was measured on repetitions; counted:
    whether it is known exactly; kept: how much grain is kept, as a share of its and the noise's variance; series: its
    components, where the student is to see those in place of its frames. modalities: of all scans (see
    `machine.modality_of`); "" among them where one does not say.
    """

    key: str
    store: SliceStore
    levels: list[NoiseLevel]
    normalisation: Normalisation
    config: Config
    skipped: list[str]
    scales: list[tuple[float, float]]
    repeated: list[bool]
    counted: list[bool]
    kept: list[float]
    series: list[Components | None]
    modalities: list[str]

    @property
    def seen(self) -> SliceStore:
        """What a student without a teacher learns from: series as combinations of their frames, all else as it is."""
        if not any(self.series):
            return self.store
        return CombinationStore(self.store, [None if found is None else found.to_learn_from() for found in self.series])

    @property
    def count(self) -> int:
        """Of all scans."""
        return sum(shape[0] for shape in self.store.shapes)


def prepare(sources: Sequence[Source], config: Config, folder: Path, progress: Progress) -> Slices:
    """Slices on disk, memory-mapped, and what was found out about them, which is also logged.

    Raises ScanError if no scan can be read.
    """
    key = _key(sources, config)
    to = cached(folder / SLICES, key, lambda to: _write_slices(sources, config, to, progress))
    index = json.loads((to / "index.json").read_text())
    key = key_of(key, index["left_out"]) if index.get("left_out") else key  # another time more can be read, perhaps
    levels = [NoiseLevel.of_dict(level) for level in index["levels"]]
    choice = Choice(**index["choice"])
    names = index.get("names", [])  # not in folders of earlier versions
    _tell(told(config, choice), index["faults"], names)
    if mixture := index.get("mixture"):
        log.warning("%s", mixture)
    if config.noise_floor == "remove" and config.sigma is None and not choice.floor:
        log.warning("%s", GUESSED_FLOOR)
    settled = settle(config, choice)
    # Who asks for neighbours gets them, whatever their noise.
    alone = index["shared"] if config.student.neighbours is None else None
    store = SliceStore(to, index["frames"], alone)
    small = [name for name, shape in zip(names, store.shapes, strict=False) if not is_usable(shape)]
    if 0 < len(small) < len(levels):  # of all, the training says that there is nothing to learn from
        log.warning(TOO_SMALL, len(small), len(levels), some_of(small), SMALLEST_CROP)
    rule = Normalisation.of_dict(index["normalisation"])
    of_each = index["scales"], index["repeated"], index["counted"], index["kept"]
    modalities = index.get("modalities", [""])
    helped = [found and bool(settled.student.series) for found in index["series"]]
    if any(helped) and config.student.neighbours is None and (volumes := index.get("volumes")):
        log.warning(
            "There is a series among the scans, whose frames are denoised together. So of volumes (%d of %d scans) no "
            "neighbouring slices are looked at, and no second opinion is asked. %s",
            volumes,
            len(helped),
            APART,
        )
    series = [
        components_of(array[:, 0], frames) if wanted else None
        for array, frames, wanted in zip(store.arrays, store.frames, helped, strict=True)
    ]
    return Slices(key, store, levels, rule, settled, index["skipped"], *of_each, series, modalities)


def can_read_more(sources: Sequence[Source], config: Config, folder: Path) -> bool:
    """Whether a scan that an earlier fit of the same scans, in the same folder, had to leave out can be read now.

    A file may be out of reach, or too large for the memory that there is, for a while only. If so, what was made of the
    others is to be discarded: first the model, then the slices, which tell after a kill that there is more.
    """
    to = folder / SLICES
    if not is_whole(to, _key(sources, config)):
        return False
    left_out = json.loads((to / "index.json").read_text()).get("left_out", [])
    return any(_can_be_read(sources[number]) for number in left_out)


def _can_be_read(source: Source) -> bool:
    try:
        source.load()
    except ScanError:
        return False
    return True


def _key(sources: Sequence[Source], config: Config) -> str:
    asked = config.normalisation, config.sigma, config.counts, config.stabilise, config.grain
    return key_of(REVISION, [source.key for source in sources], *asked)


def _tell(sentences: list[str], faults: list[dict[str, str]], names: list[str]) -> None:
    """Say what was found and decided; each fault once, in the words for the first scan that has it, and which have it.

    faults: of each scan, by name of the fault; names: of the scans, none in folders of earlier versions.
    """
    for sentence in sentences:
        log.info("%s", sentence)
    for fault in dict.fromkeys(fault for of_scan in faults for fault in of_scan):
        has_it = [number for number, of_scan in enumerate(faults) if fault in of_scan]
        which = f": {some_of([names[number] for number in has_it])}" if names else ""
        of_all = f" ({len(has_it)} of {len(faults)} scans{which})" if len(faults) > 1 else ""
        log.warning("%s%s", faults[has_it[0]][fault], of_all)


def _write_slices(sources: Sequence[Source], config: Config, folder: Path, progress: Progress) -> None:
    for path in scans_of(folder):  # of a time before an interruption, when perhaps more could be read
        path.unlink()
    ranges, scans, skipped = _read(sources, folder, progress)  # skipped: why, by number
    units, frames = [scan.units for scan in scans], [scan.frames for scan in scans]
    store = SliceStore(folder, frames)
    kinds = [(scan.modality, scan.units, *shape[2:]) for scan, shape in zip(scans, store.shapes, strict=True)]
    machines = [machine_of(scan) for scan in scans]
    measured = with_shared_textures(_diagnoses(store, machines, progress), kinds, machines)
    diagnoses = [as_given(config, found, own) for found, own in zip(measured, ranges, strict=True)]
    mode = config.normalisation
    if mode == "auto":
        mode = "fixed" if len(set(units)) == 1 and units[0] != "arbitrary" else "noise"
    rule = fit_normalisation(ranges, [found.alone for found in diagnoses], mode)
    diagnoses = [believed(found, rule) for found in diagnoses]
    learned_from = [found for found, shape in zip(diagnoses, store.shapes, strict=True) if is_usable(shape)]
    choice = choose(learned_from or diagnoses)
    levels, scales = [], []
    for path, own, found in zip(scans_of(folder), ranges, diagnoses, strict=True):
        offset, scale = rule.apply(own, found.alone)
        pixels = np.lib.format.open_memmap(path, mode="r+")
        limits = limits_of(pixels, own, found.alone.loudest)
        domain = Domain.of(offset, scale, found.level, config.evens_out, limits)
        for image in pixels:  # slice by slice: a scan may be larger than memory
            image[:] = domain.into(image)
        levels.append(domain.level)
        scales.append((offset, scale))
    write_json(
        folder / "index.json",
        {
            "levels": [asdict(level) for level in levels],
            "frames": frames,
            "scales": scales,
            "repeated": [found.repeated for found in diagnoses],
            "counted": [found.trend.counted for found in diagnoses],
            "kept": [found.kept for found in diagnoses],
            "series": [found.series for found in diagnoses],
            "shared": [found.shared for found in diagnoses],
            "normalisation": asdict(rule),
            "choice": vars(choice),
            "faults": [_faults(*of_scan) for of_scan in zip(scans, diagnoses, strict=True)],
            "mixture": _mixture(scans),
            "modalities": sorted({modality_of(scan) for scan in scans}),
            "names": [scan.name for scan in scans],
            "volumes": sum(found.neighbours and not found.series for found in diagnoses),
            "skipped": list(skipped.values()),
            "left_out": list(skipped),
        },
    )


def _faults(scan: Scan, found: Diagnosis) -> dict[str, str]:
    """What is wrong with a scan, or may be, by name."""
    doubt = {"axes": scan.doubt} if scan.doubt else {}
    return doubt | {fault.fault: fault.message for fault in found.faults}


def _read(
    sources: Sequence[Source], folder: Path, progress: Progress
) -> tuple[list[tuple[float, float]], list[Scan], dict[int, str]]:
    """Each scan's slices on disk as they are; the ranges of those that could be read; these without pixels; the
    others' faults.
    """
    ranges, scans = [], []
    skipped: dict[int, str] = {}
    for number, source in enumerate(sources):
        try:
            scan = source.load()
            ranges.append(measure_range(scan.pixels))
            scans.append(replace(scan, pixels=np.empty(0, np.float32), source=None))
            write_scan_slices(folder, len(ranges) - 1, scan.pixels[:, None])
        except ScanError as error:
            skipped[number] = str(error)
        progress(READING, number + 1, len(sources))
    if not ranges:
        reasons = "".join(f"\n{reason}" for reason in skipped.values()) or " (none was given)"
        raise ScanError("Input", "no scan could be read", f"Name others, or mend these:{reasons}")
    return ranges, scans, skipped


def _mixture(scans: Sequence[Scan]) -> str | None:
    """What to say where scans are of several modalities or BIDS suffixes, or some in HU and some not; None for others.

    One that has neither is no kind of its own: a NIfTI file may hold the same as the DICOM series beside it.
    """
    kinds = Counter(suffix_of(scan) or modality_of(scan) for scan in scans)
    if len(kinds.keys() - {""}) < 2 and len({scan.units == "HU" for scan in scans}) < 2:
        return None
    named = ", ".join(f"{count} {kind or 'that do not say what they are'}" for kind, count in kinds.most_common())
    return (
        f"The scans are of several kinds: {named}. What one kind teaches a network may be wrong for another, and what "
        f"is decided about the noise is decided for all. {APART}"
    )


def _diagnoses(store: SliceStore, machines: Sequence[Machine], progress: Progress) -> list[Diagnosis]:
    def volumes(number: int) -> list[np.ndarray]:
        return np.split(store.arrays[number][:, 0], store.frames[number]) if 0 <= number < count else []

    def one(number: int) -> Diagnosis:
        stacks = repeated_around(number, volumes)
        return diagnose(store.arrays[number][:, 0], stacks, store.frames[number], machines[number])

    found, count = [], len(store.arrays)
    with ThreadPoolExecutor(min(MOST_AT_ONCE, cores())) as pool:  # NumPy's sorting lets others run
        for diagnosis in pool.map(one, range(count)):
            found.append(diagnosis)
            progress(MEASURING, len(found), count)
    return found
