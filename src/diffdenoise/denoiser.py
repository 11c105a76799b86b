"""The Python face: fit on noisy arrays or files, denoise, save, load."""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diffdenoise.budget import parse_budget
from diffdenoise.config import require_strength
from diffdenoise.device import choose_device
from diffdenoise.errors import ConfigError, LeftAlone, ScanError
from diffdenoise.inference import OTHER_UNIT, SHARED, Denoised, Sampler, denoise_slices, weakened
from diffdenoise.machine import machine_of, modality_of, told_of
from diffdenoise.model import Model
from diffdenoise.model_file import load_model, save_model
from diffdenoise.noise.texture import Machine
from diffdenoise.pipeline import Progress, fit
from diffdenoise.preparation import Source
from diffdenoise.presets import choose_config
from diffdenoise.run_folder import find_model
from diffdenoise.scans.files import Found, find, read_scan
from diffdenoise.scans.hounsfield import looks_like_hounsfield
from diffdenoise.scans.scan import Scan
from diffdenoise.scans.sidecar import sha256
from diffdenoise.scans.stored import (
    LARGEST,
    RoundedAwayError,
    check_rounding,
    doubt_of_axes,
    looks_coloured,
    to_stored,
    units_of,
)
from diffdenoise.uncertainty import uncertainty_of

log = logging.getLogger("diffdenoise")

Images = np.ndarray | Scan | str | Path | Sequence[np.ndarray | Scan] | Sequence[str | Path]


class Denoiser:
    """A trained model and the device it works on.

    skipped: why scans were left out of the fit, one message each.
    """

    def __init__(self, model: Model, device: str = "auto", skipped: Sequence[str] = ()) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device)
        self.skipped = list(skipped)

    @classmethod
    def fit(
        cls,
        images: Images,
        *,
        preset: str | None = None,
        budget: str | float | None = None,
        sigma: float | None = None,
        counts: float | None = None,
        seed: int | None = None,
        overrides: dict[str, Any] | None = None,
        folder: str | Path | None = None,
        device: str = "auto",
        progress: Progress = lambda what, done, total: None,
    ) -> Denoiser:
        """Train on noisy images alone.

        images: an array (rows, columns) or (..., slices, rows, columns), a Scan, several of these, or paths of files,
        folders and patterns. preset: None takes "fast", which has nothing to sample from (or, where `overrides` are
        about a teacher, one that has). budget: "10m" or seconds. sigma: noise standard deviation in the images' unit,
        if known. counts: of counting noise, to a unit of the images, if known. overrides: settings as in `Config`,
        nested. folder: keeps the run there, so that the same call goes on after an interruption; None uses a temporary
        one.
        Raises ScanError, ConfigError or RunError.
        """
        device = choose_device(device)
        seconds = None if budget is None else parse_budget(budget)
        config = choose_config(preset, device, overrides, sigma=sigma, counts=counts, seed=seed)
        sources = _sources(images)
        if folder is not None:
            done = fit(sources, config, Path(folder), device, seconds, progress)
        else:
            with tempfile.TemporaryDirectory(prefix="diffdenoise-") as temporary:
                done = fit(sources, config, Path(temporary), device, seconds, progress)
        for message in done.skipped:
            log.warning("Left out: %s", message)
        return cls(done.model, device, done.skipped)

    def denoise(
        self, image: np.ndarray | Scan, *, sampler: Sampler = "auto", seed: int = 0, strength: float = 1.0
    ) -> Any:
        """The denoised image: array in, array out, Scan in, Scan out; same shape, units and (for arrays) dtype.

        Integer arrays are rounded and saturated. sampler "student" is one forward pass; "ensemble" the mean of eight,
        of the slice turned and mirrored; "second_opinion" that with as much of a second opinion as the scan, or the
        fit, bears out; "auto" of these what the fit decided for, over as many turns; "srds" samples and fuses.
        strength: the share of the removed noise, in (0, 1], that is removed indeed.
        """
        require_strength(strength)
        scan = _scan_of(image)
        denoised = self.denoise_slices(scan.pixels, sampler, seed, frames=scan.frames, machine=machine_of(scan))
        for message in self.doubts(scan, denoised):
            log.warning("%s", message)
        result = weakened(denoised, scan.pixels, strength).pixels
        if isinstance(image, Scan):
            return image.with_pixels(result)
        stored = np.asanyarray(image)
        return to_stored(result, stored.reshape(result.shape)).reshape(stored.shape)

    def denoise_slices(
        self,
        pixels: np.ndarray,
        sampler: Sampler = "auto",
        seed: int = 0,
        progress: Progress = lambda what, done, total: None,
        frames: int = 1,
        machine: Machine = "",
    ) -> Denoised:
        """Pixels (slices, rows, columns) in, a `Denoised` out: pixels and, from "srds", the spread of the pairs.

        frames: so many volumes of the same places, one after the other. machine: "CT" or "MR", where that is known.
        """
        told = partial(progress, "Denoising")
        return denoise_slices(self.model, pixels, sampler, seed, self.device, told, frames, machine)

    def doubts(self, scan: Scan, denoised: Denoised) -> list[str]:
        """What speaks against a result, in sentences that go on after the name of the scan."""
        modality = modality_of(scan)
        learned = str(self.model.history.get("modality", ""))
        unlike = modality and learned and modality not in learned.split(", ")
        other_kind = f"it is of {modality}, and the model was fitted on {learned} alone. Fit one on such scans."
        told = {OTHER_UNIT: denoised.foreign, SHARED: denoised.shared, other_kind: unlike}
        return [message for message, holds in told.items() if holds]

    def uncertainty(
        self,
        image: np.ndarray | Scan,
        *,
        strength: float = 1.0,
        seed: int = 0,
        progress: Progress = lambda what, done, total: None,
    ) -> np.ndarray:
        """How far the student's result may be from the truth: one standard deviation a pixel, float32.

        image: as for `denoise`; the map has its shape and units. strength: the share of the removed noise that is
        removed indeed. What the map knows and what not: `diffdenoise.uncertainty`.
        """
        require_strength(strength)
        told = partial(progress, "Measuring uncertainty")
        scan = _scan_of(image)
        machine = machine_of(scan)
        found = uncertainty_of(self.model, scan.pixels, seed, self.device, told, scan.frames, strength, machine)
        return found if isinstance(image, Scan) else found.reshape(np.shape(image))

    def save(self, path: str | Path) -> Path:
        """Write one self-describing model file (safetensors)."""
        return save_model(self.model, Path(path))

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Denoiser:
        """From a model file, a run folder or an output folder of `diffdenoise run`. Raises ModelError or RunError."""
        return cls(load_model(find_model(Path(path))), device)


def sources_of(found: Sequence[Found]) -> list[Source]:
    """Files as sources of a fit, identified by their content, and by what is said of them outside it."""
    key = lambda item: " ".join([item.format, *map(_digest, item.paths), *told_of(item.paths)])  # noqa: E731
    return [Source(key(item), partial(read_scan, item)) for item in found]


def _digest(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:  # reading it will say what is wrong, and stop no other scan
        return "unreadable"


def _sources(images: Images) -> list[Source]:
    items = [images] if isinstance(images, np.ndarray | Scan | str | Path) else list(images)
    if not items:
        raise ConfigError("There is nothing to fit on: give at least one image.")
    in_memory = [item for item in items if isinstance(item, np.ndarray | Scan)]
    if len(in_memory) == len(items):
        return [
            _scan_source(item if isinstance(item, Scan) else replace(_scan_of(item), name=f"array {number}"))
            for number, item in enumerate(in_memory)
        ]
    if in_memory:
        raise ConfigError("Give either arrays or paths, not both at once.")
    if not all(isinstance(item, str | Path) for item in items):
        raise ConfigError("Images to fit on are paths, an array (numpy.asarray makes one), or a list of either.")
    found, errors = find(items)  # type: ignore[arg-type]
    for error in errors:
        if not isinstance(error, LeftAlone):
            raise error
        log.info("Left alone: %s", error)
    return sources_of(found)


def _scan_source(scan: Scan) -> Source:
    _check_values(scan.pixels, scan.name)
    digest = hashlib.sha256(np.ascontiguousarray(scan.pixels).tobytes()).hexdigest()
    what = [str(scan.pixels.shape), str(scan.frames), scan.units, scan.modality, *told_of(scan.paths)]
    return Source(" ".join(["scan", *what, digest]), lambda: scan)


def _scan_of(image: np.ndarray | Scan) -> Scan:
    """An array as a Scan without a file; any Scan as it is. Raises ScanError for what is no image, or several."""
    if isinstance(image, Scan):
        _check_values(image.pixels, image.name)
        return image
    if isinstance(image, list | tuple):
        raise ScanError(f"A {type(image).__name__}", "is not one image", "Denoise one after the other, or numpy.stack.")
    image = np.asanyarray(image)
    pixels = _as_slices(image)
    units = "HU" if looks_like_hounsfield(pixels) else units_of(image.dtype)
    doubt = doubt_of_axes(image.shape)
    return Scan(pixels, "The array", "npy", frames=math.prod(image.shape[:-3]), units=units, doubt=doubt)


def _as_slices(image: np.ndarray) -> np.ndarray:
    """(slices, rows, columns), float32. Raises ScanError for what is no image."""
    if image.ndim < 2 or image.size == 0 or image.dtype.kind not in "iuf":
        raise ScanError(
            "The array",
            f"has shape {image.shape} and dtype {image.dtype}",
            "Images are real numbers in arrays (rows, columns) or (..., slices, rows, columns); for files use "
            "diffdenoise.scans.files or the command line.",
        )
    if np.ma.is_masked(image):
        raise ScanError("The array", "has a mask, which would get lost", "Fill it, for example: image.filled(0).")
    if looks_coloured(image.shape):
        raise ScanError("The array", f"of shape {image.shape} looks like a colour picture", "Give one channel of it.")
    _check_values(image, "The array")
    pixels = image.reshape(-1, *image.shape[-2:])
    try:
        check_rounding(pixels)
    except RoundedAwayError as error:
        raise ScanError("The array", error.fault, error.remedy) from error
    return pixels.astype(np.float32)


def _check_values(pixels: np.ndarray, name: str) -> None:
    most = np.float64(LARGEST)  # as a plain number it would be infinite to float16
    if not ((pixels >= -most) & (pixels <= most)).all():
        fault = f"holds NaN, infinite values, or some beyond {LARGEST:g}"
        raise ScanError(name, fault, "Replace them, for example by 0.")
