"""Denoise many scans: one bad file does not stop the others, finished results are not made again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

from diffdenoise import __version__
from diffdenoise.config import require_strength, require_teacher
from diffdenoise.denoiser import Denoiser
from diffdenoise.errors import ConfigError, ScanError, is_memory_error, reason_of
from diffdenoise.inference import Denoised, Sampler, chosen, turns_of, weakened
from diffdenoise.machine import machine_of
from diffdenoise.noticed import Noticed
from diffdenoise.scans import sidecar
from diffdenoise.scans.files import Found, check_target, is_done, read_scan, result_path, write_scan
from diffdenoise.scans.scan import MAPS, Provenance
from diffdenoise.scans.stored import too_large
from diffdenoise.symmetry import SYMMETRIES
from diffdenoise.threads import give_way
from diffdenoise.training.stage import Progress


@dataclass(frozen=True)
class Wanted:
    """Which results to write: the denoised scan always; the maps and the removed noise if asked for.

    strength: in (0, 1], how much of the removed noise is removed indeed; ConfigError for any other.
    """

    sampler: Sampler = "auto"
    seed: int = 0
    spread: bool = False
    removed: bool = False
    uncertainty: bool = False
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.uncertainty and self.sampler == "srds":
            raise ConfigError("The map of uncertainty is that of the student's result; of samples, take the spread.")
        require_strength(self.strength)

    @property
    def sampled(self) -> bool:
        """Whether the diffusion model is needed."""
        return self.sampler == "srds" or self.spread

    @property
    def quantities(self) -> list[str]:
        """Names as in `Provenance.quantity`."""
        return ["denoised", *(name for name in MAPS if getattr(self, name))]


@dataclass(frozen=True)
class Outcome:
    """What became of each scan: result paths, names left alone because they are finished, and errors."""

    written: list[Path] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[ScanError] = field(default_factory=list)


def blocked(found: Sequence[Found], out: Path, wanted: Wanted) -> list[ScanError]:
    """Why results may not be written, for those that may not; empty if all is well, or cannot be told yet."""
    errors = []
    for item in found:
        try:
            for quantity in wanted.quantities:
                check_target(item, out, quantity)
        except ScanError as error:
            errors.append(error)
        except OSError as error:
            if all(os.access(path, os.R_OK) for path in item.paths):  # else it is named when its turn comes
                fault = f"its result cannot be written ({reason_of(error)})"
                errors.append(ScanError(item.name, fault, "Choose another folder with -o, or a shorter name."))
    return errors


def denoise_scans(denoiser: Denoiser, found: Sequence[Found], out: Path, wanted: Wanted, progress: Progress) -> Outcome:
    """Denoise scans into a folder, each in its own format, with a JSON sidecar that says how.

    Raises ConfigError if the model cannot make what is wanted.
    """
    if wanted.sampled:
        require_teacher(denoiser.model.config)
    give_way()
    noticed = Noticed()
    try:
        return _denoise_all(denoiser, found, out, wanted, progress, noticed)
    finally:  # also of those that were done before an interruption, for they are not made again
        noticed.tell(len(found))


def _denoise_all(
    denoiser: Denoiser, found: Sequence[Found], out: Path, wanted: Wanted, progress: Progress, noticed: Noticed
) -> Outcome:
    outcome, fingerprint = Outcome(), denoiser.model.fingerprint()
    provenances = {
        quantity: Provenance(__version__, fingerprint, _settings(denoiser, wanted, quantity), quantity)
        for quantity in ("denoised", *MAPS)
    }
    results = {result_path(item, out) for item in found}
    progress("Denoising", 0, len(found))
    for number, item in enumerate(found):
        try:
            due = [provenances[name] for name in wanted.quantities if not is_done(item, out, provenances[name])]
            if not due:
                outcome.unchanged.append(item.name)
            else:
                for provenance in due:
                    check_target(item, out, provenance.quantity)
                _denoise_one(denoiser, item, out, wanted, due, progress, noticed, outcome.written)
                _note_earlier(item, out, [provenances[name] for name in MAPS if name not in wanted.quantities], noticed)
                noticed.renamed += [old for old in _under_earlier_names(item, out) if old not in results]
        except ScanError as error:
            outcome.failed.append(error)
        except OSError as error:
            outcome.failed.append(
                ScanError(item.name, f"cannot be processed ({reason_of(error)})", "Mend this and run again.")
            )
        except (MemoryError, RuntimeError) as error:
            if not is_memory_error(error):
                raise
            outcome.failed.append(too_large(item.name))
        progress("Denoising", number + 1, len(found))
    return outcome


def _denoise_one(
    denoiser: Denoiser,
    item: Found,
    out: Path,
    wanted: Wanted,
    due: list[Provenance],
    progress: Progress,
    noticed: Noticed,
    written: list[Path],
) -> None:
    """due: those not done yet; written: gets each result's path as soon as it is there, for a later one may fail."""
    scan = read_scan(item)
    inner: Progress = lambda _, done, total: progress(f"  {item.name}", done, total)  # noqa: E731

    @cache  # made when it is asked for first: a map alone may need none
    def result(sampler: Sampler) -> Denoised:
        made = denoiser.denoise_slices(scan.pixels, sampler, wanted.seed, inner, scan.frames, machine_of(scan))
        if sampler == wanted.sampler:
            noticed.look_at(scan, made, denoiser)
        return weakened(made, scan.pixels, wanted.strength)

    images = {
        "denoised": lambda: result(wanted.sampler).pixels,
        "uncertainty": lambda: denoiser.uncertainty(scan, strength=wanted.strength, seed=wanted.seed, progress=inner),
        "spread": lambda: result("srds").spread,
        "removed": lambda: scan.pixels - result(wanted.sampler).pixels,
    }
    for provenance in due:
        pixels = images[provenance.quantity]()
        assert pixels is not None
        found = _found(result(wanted.sampler)) if provenance.quantity == "denoised" else {}
        written.append(write_scan(scan.with_pixels(pixels), out, replace(provenance, found=found)))


def _note_earlier(item: Found, out: Path, unasked: list[Provenance], noticed: Noticed) -> None:
    for provenance in unasked:
        old = result_path(item, out, provenance.quantity)
        if old.exists() and sidecar.load(old) and not is_done(item, out, provenance):
            noticed.earlier[provenance.quantity].append(old)


def _under_earlier_names(item: Found, out: Path) -> list[Path]:
    """Results of it that have a part of its name: one that shared it with no other scan had no folder before it."""
    parts = PurePosixPath(item.name).parts
    shorter = {"/".join(parts[start:end]) for start, end in combinations(range(len(parts) + 1), 2)} - {item.name}
    places = [result_path(replace(item, name=name), out) for name in sorted(shorter)]
    return [place for place in places if (record := sidecar.load(place)) and sidecar.is_of(record, item.paths)]


def _found(result: Denoised) -> dict[str, Any]:
    """What a scan itself decided of its result, as the record tells it."""
    return {"second_opinion": result.shares._asdict()} if result.shares else {}


def _settings(denoiser: Denoiser, wanted: Wanted, quantity: str) -> dict[str, Any]:
    """Everything besides the model that decides the pixels; what is as usual goes unsaid.

    So results of earlier versions stay up to date, and keep their UIDs.
    """
    config = denoiser.model.config
    sampler = "srds" if quantity == "spread" else wanted.sampler
    settings: dict[str, Any] = {"sampler": chosen(denoiser.model, sampler), "preset": config.preset}
    if settings["sampler"] == "ensemble" and (turns := turns_of(denoiser.model, sampler)) < SYMMETRIES:
        settings["turns"] = turns
    if config.noise_floor == "remove":  # as wanted: whether a scan shows its floor is not known before it is read
        settings["noise_floor"] = "removed"
    if wanted.strength != 1:
        settings["strength"] = wanted.strength
    if sampler == "srds":
        teacher = config.teacher
        settings.update(seed=wanted.seed, steps=teacher.steps, pairs=teacher.pairs, fused=teacher.fuse)
    if quantity == "uncertainty" and wanted.seed:
        settings["map_seed"] = wanted.seed
    return settings
