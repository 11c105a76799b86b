"""A fit: noisy scans -> slices -> blind-spot network -> diffusion -> teacher images -> student -> model.

Each arrow leaves an artefact in the run folder, cached by a hash of what it was made from: the same fit again goes on
where it was stopped, and does nothing when it is finished.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffdenoise.budget import plan
from diffdenoise.config import Config
from diffdenoise.device import choose_device, precision
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ScanError
from diffdenoise.inference import predict_blind
from diffdenoise.model_file import Model, load_model, save_model
from diffdenoise.noise.estimate import LONGEST_REACH, NoiseLevel, estimate_noise
from diffdenoise.normalisation import Normalisation, fit_normalisation, measure_range, normalise
from diffdenoise.probe import probes
from diffdenoise.run_folder import MODEL, PLAN, cached, key_of, locked, make_run_folder, write_json
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.scans.scan import Scan
from diffdenoise.teacher import Teacher, choose_slices
from diffdenoise.training.blind_spot import BlindSpotStage
from diffdenoise.training.diffusion import DiffusionStage
from diffdenoise.training.slices import SliceStore, fill_store, write_scan_slices
from diffdenoise.training.stage import CHECKPOINT, Progress, Stage, train
from diffdenoise.training.student import StudentStage

log = logging.getLogger("diffdenoise")

NAMES = {
    "slices": "Reading scans",
    "blind_spot": "1/4 Blind-spot network",
    "diffusion": "2/4 Diffusion",
    "teacher": "3/4 Teacher images",
    "student": "4/4 Student",
}


@dataclass(frozen=True)
class Source:
    """A scan to fit on: `key` identifies its content, `load` reads it (and may raise ScanError)."""

    key: str
    load: Callable[[], Scan]


@dataclass(frozen=True)
class Fit:
    """A finished fit; skipped: why scans were left out, one message each."""

    model: Model
    skipped: list[str]


@dataclass(frozen=True)
class _Slices:
    """The normalised slices of all scans, and each scan's noise level."""

    key: str
    store: SliceStore
    levels: list[NoiseLevel]
    normalisation: Normalisation
    skipped: list[str]


def fit(
    sources: Sequence[Source],
    config: Config,
    folder: Path,
    device: str = "auto",
    budget: float | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Fit:
    """Train all stages in a run folder and write the model file there.

    budget: seconds for the whole fit; without one, the steps of the config. Raises ScanError if no scan can be read,
    ConfigError if they cannot be trained on, RunError if the folder is in use or not a run.
    """
    device = choose_device(device)
    make_run_folder(folder)
    key = key_of([source.key for source in sources], config.model_dump(mode="json"), budget, device, precision(device))

    def make(to: Path) -> None:
        slices = _prepare(sources, config, folder, progress)
        write_json(to / "skipped.json", slices.skipped)
        chosen = _with_patch(config, slices.levels)
        _train(slices, _planned(slices, chosen, folder, device, budget), folder, device, progress)

    with locked(folder):
        if not (folder / MODEL).exists():
            shutil.rmtree(folder / "model", ignore_errors=True)
        made = cached(folder / "model", key, make)
        return Fit(load_model(folder / MODEL), json.loads((made / "skipped.json").read_text()))


def _train(slices: _Slices, config: Config, folder: Path, device: str, progress: Progress) -> None:
    """Stages 1 to 3, each with its artefact, and the model file."""
    first_key = key_of(slices.key, config.blind_spot.model_dump(), config.seed, precision(device))
    second_key = key_of(first_key, config.diffusion.model_dump())
    teacher_key = key_of(second_key, config.teacher.model_dump())
    third_key = key_of(teacher_key, config.student.model_dump())

    noise = float(np.median([level.typical for level in slices.levels]))
    with _seeded(config.seed):
        first = BlindSpotStage(config.blind_spot, slices.store, config.seed, 2 * noise**2)
    blind_spot = _trained(first, "blind_spot", first_key, folder, device, progress)
    predict = partial(_predict_all, blind_spot, slices.store, device)
    known = SliceStore(cached(folder / "known", first_key, predict))

    chain = _chain_target(config, known)
    with _seeded(config.seed + 1):
        second = _diffusion_stage(config, blind_spot, chain, slices.store, known)
    diffusion = _trained(second, "diffusion", second_key, folder, device, progress, config.diffusion.ema)

    shapes = slices.store.shapes
    chosen = choose_slices([shape[0] for shape in shapes], config.teacher.slices)
    teacher = Teacher(diffusion, config, chain, slices.store, known, slices.levels, device)
    say = partial(progress, NAMES["teacher"])
    teach = lambda to: fill_store(to, shapes, teacher.image, chosen, say)  # noqa: E731
    taught = SliceStore(cached(folder / "teacher", teacher_key, teach))

    with _seeded(config.seed + 2):
        third = StudentStage(config.student, slices.store, taught, chosen, config.seed + 2)
    student = _trained(third, "student", third_key, folder, device, progress)

    counts = {"scans": len(shapes), "slices": sum(shape[0] for shape in shapes)}
    history = {"device": device, "precision": precision(device), **counts}
    model = Model(config, slices.normalisation, chain, blind_spot, diffusion, student, history)
    save_model(model.to("cpu"), folder / MODEL)


def _trained(
    stage: Stage, name: str, key: str, folder: Path, device: str, progress: Progress, ema: float | None = None
) -> nn.Module:
    """The stage's network with trained weights, trained now or read from its artefact; on the device, frozen."""

    def make(to: Path) -> None:
        train(stage, NAMES[name], to, device, progress, ema)
        weights = {key: tensor.detach().cpu().contiguous() for key, tensor in stage.network.state_dict().items()}
        with atomic_file(to / "weights.safetensors") as beside:
            save_file(weights, beside)
        (to / CHECKPOINT).unlink(missing_ok=True)

    made = cached(folder / name, key, make)
    stage.network.load_state_dict(load_file(made / "weights.safetensors"))
    network = stage.network.to(device=device, memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def _predict_all(blind_spot: nn.Module, noisy: SliceStore, device: str, folder: Path) -> None:
    """x_c and v_total of every slice, as two channels."""

    def make(scan: int, index: int) -> Tensor:
        return torch.cat(predict_blind(blind_spot, noisy.slice(scan, index)[None].to(device)), dim=1)[0]

    fill_store(folder, [(count, 2, *size) for count, _, *size in noisy.shapes], make)


def _chain_target(config: Config, known: SliceStore) -> ChainTarget:
    """For images the scale is half of [0, 1]; for differences their standard deviation, so that x_0 has unit size."""
    kind = config.diffusion.target
    if kind == "image":
        return ChainTarget("image")
    return ChainTarget("residual", float(np.sqrt(np.mean([array[:, 1].mean() for array in known.arrays]))))


def _diffusion_stage(
    config: Config, blind_spot: nn.Module, chain: ChainTarget, noisy: SliceStore, known: SliceStore
) -> DiffusionStage:
    return DiffusionStage(
        config.diffusion, blind_spot, config.blind_spot.patch or 1, chain, noisy, known, config.seed + 1
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Network initialisation from a seed, leaving the caller's random state alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _prepare(sources: Sequence[Source], config: Config, folder: Path, progress: Progress) -> _Slices:
    """Normalised slices on disk, memory-mapped, and what was found out about them."""
    key = key_of([source.key for source in sources], config.normalisation, config.sigma)
    to = cached(folder / "slices", key, lambda to: _write_slices(sources, config, to, progress))
    index = json.loads((to / "index.json").read_text())
    levels = [NoiseLevel(tuple(level["knots"]), tuple(level["sigma"]), level["reach"]) for level in index["levels"]]
    return _Slices(key, SliceStore(to), levels, Normalisation(**index["normalisation"]), index["skipped"])


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
        progress(NAMES["slices"], number + 1, len(sources))
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


def _with_patch(config: Config, levels: Sequence[NoiseLevel]) -> Config:
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


def _planned(slices: _Slices, config: Config, folder: Path, device: str, budget: float | None) -> Config:
    """The config with the step counts of the budget: probed once, then read from the plan, so that a resume agrees."""
    if budget is None:
        return config
    key, path = key_of(slices.key, config.model_dump(mode="json"), budget, device), folder / PLAN
    if path.exists() and (recorded := json.loads(path.read_text()))["key"] == key:
        return Config.model_validate(recorded["config"])
    planned = plan(config, budget, probes(config, slices.store, device), sum(shape[0] for shape in slices.store.shapes))
    write_json(path, {"key": key, "budget_seconds": budget, "config": planned.model_dump(mode="json")})
    return planned
