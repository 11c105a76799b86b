"""A fit: noisy scans -> slices -> blind-spot network -> diffusion -> teacher images -> student -> model.

Without a teacher: noisy scans -> slices -> student -> model. Each arrow leaves an artefact in the run folder, cached by
a hash of what it was made from: the same fit again goes on where it was stopped, and does nothing when it is finished.
The last three are repeated in each round.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from diffdenoise.budget import Planner, tell_of_steps
from diffdenoise.config import Config
from diffdenoise.device import choose_device, precision
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.errors import ModelError
from diffdenoise.held_back import share_borne_out
from diffdenoise.held_down import held_down
from diffdenoise.model import Model, Round, in_round
from diffdenoise.model_file import load_model, read_header, save_model
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.preparation import SLICES, Slices, Source, can_read_more, prepare
from diffdenoise.presets import as_asked
from diffdenoise.probe import probes
from diffdenoise.rounds import feed_back, image_seed, predict_blind, why_not_to_fuse
from diffdenoise.run_folder import (
    FIT,
    MODEL,
    PLAN,
    cached,
    discard,
    is_done,
    key_in,
    key_of,
    locked,
    make_run_folder,
    named,
    write_json,
)
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.settled import require_second_opinion, settled
from diffdenoise.teacher import Teacher, choose_slices
from diffdenoise.threads import give_way
from diffdenoise.training.blind_spot import BlindSpotStage, mean_and_variance
from diffdenoise.training.diffusion import DiffusionStage
from diffdenoise.training.pace import Pacer, steadily
from diffdenoise.training.recorrupted import RecorruptedStage, most_steps
from diffdenoise.training.slices import SliceStore, fill_store, is_usable
from diffdenoise.training.stage import CHECKPOINT, PART, Progress, Stage, train
from diffdenoise.training.start import start_key
from diffdenoise.training.student import StudentStage

USE = {"turns", "second_opinion", "together"}  # settings of a student that only its use asks for, after the training
WEIGHTS = "weights.safetensors"  # of a stage
ASKED = "asked.json"  # the key of what a fit was asked for, on whatever machine
THREADS = "threads.json"  # how many compute: the last bits of a sum depend on it
NAMES = {
    "blind_spot": "1/4 Blind-spot network",
    "diffusion": "2/4 Diffusion",
    "teacher": "3/4 Teacher images",
    "student": "4/4 Student",
}

log = logging.getLogger("diffdenoise")


@dataclass(frozen=True)
class Fit:
    """A finished fit; skipped: why scans were left out, one message each."""

    model: Model
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
    ConfigError if they cannot be trained on, RunError if the folder is in use, not a run, or its disk full.
    """
    device = choose_device(device)
    make_run_folder(folder)
    made, (key, plan_key, asked) = folder / FIT, _keys(sources, config, device, budget)

    def make(to: Path) -> None:
        started = time.monotonic()
        if budget is not None:
            tell_of_steps(config)
        write_json(to / ASKED, {"key": asked})
        slices = prepare(sources, config, folder, progress)
        _settle_threads(folder / THREADS, plan_key)
        with _seeded(config.seed):
            slices = held_down(slices)
        require_second_opinion(slices)
        write_json(to / "skipped.json", slices.skipped)
        seconds = probes(slices.config, slices.seen, slices.levels, device)
        planner = Planner(folder / PLAN, plan_key, budget, seconds, slices.count, started)
        train_all = _train if slices.config.has_teacher else _train_alone
        run = _Run(slices, folder, device, progress, planner)
        model = settled(train_all(run, slices.config), slices, device).to("cpu")
        _keep_earlier(folder / MODEL, model)
        save_model(model, folder / MODEL)

    with named(folder), locked(folder):
        more = can_read_more(sources, config, folder)
        if more:
            log.info("Scans that could not be read for this fit before can be read now: it is trained anew.")
            (folder / PLAN).unlink(missing_ok=True)
        if more or not _is_finished(made, key, asked):
            _tell_if_anew(made, key, asked)
            if made.exists():
                discard(made)
            if more:
                discard(folder / SLICES)
            cached(made, key, make)
        return Fit(load_model(folder / MODEL), _skipped(made))


def _keys(sources: Sequence[Source], config: Config, device: str, budget: float | None) -> tuple[str, str, str]:
    """Of the model as it is made on this machine, of the plan for its training, of what is asked for on any machine."""

    def key(settings: dict[str, Any], *machine: str) -> str:
        return key_of([source.key for source in sources], settings, start_key(config.student), budget, *machine)

    here = device, precision(device)
    trains = config.model_dump(mode="json", exclude={"student": USE})
    return key(config.model_dump(mode="json"), *here), key(trains, *here), key(as_asked(config, device))


def _tell_if_anew(made: Path, key: str, asked: str) -> None:
    """Say so where a fit that was finished, or begun, gives way to this one, and why as far as that is known."""
    if key_in(made) in (None, key):
        return
    elsewhere, other = "that was begun on another kind of machine", "of other scans or settings, or of another version"
    log.info(
        "%s holds a fit %s. What depends on that is trained anew; a model that is finished is kept.",
        made.parent,
        elsewhere if key_in(made, ASKED) == asked else other,
    )


def _is_finished(made: Path, key: str, asked: str) -> bool:
    """Whether the model is there, made on this machine or on another one; one that is damaged is made again."""
    if not (is_done(made) and (key_in(made) == key or key_in(made, ASKED) == asked)):
        return False
    try:
        load_model(made.parent / MODEL)
    except ModelError:
        return False
    return True


def _keep_earlier(path: Path, model: Model) -> None:
    """Put the model of a fit of other scans or settings aside, for results that were made by it name it."""
    if not path.exists():
        return
    try:
        fingerprint = read_header(path)["fingerprint"]
    except ModelError:  # an older format, or damaged: no reason to lose it
        fingerprint = "earlier"
    if fingerprint != model.fingerprint():
        aside = path.with_stem(f"{path.stem}-{fingerprint[:8]}")
        path.replace(aside)
        log.info("The model that was here, of other scans or settings, is kept as %s.", aside)


def _settle_threads(path: Path, key: str) -> None:
    """As many as the training with this key was begun with, to end at the same model; and keep their number."""
    before = json.loads(path.read_text())["threads"] if key_in(path.parent, path.name) == key else None
    write_json(path, {"key": key, "threads": give_way(before)})


def _skipped(made: Path) -> list[str]:
    """Why scans were left out; nothing after `diffdenoise clean`."""
    told = made / "skipped.json"
    return json.loads(told.read_text()) if told.exists() else []


@dataclass(frozen=True)
class _Run:
    """What the steps of a fit share."""

    slices: Slices
    folder: Path
    device: str
    progress: Progress
    planner: Planner

    def history(self) -> dict[str, Any]:
        """What the training was, for the model file."""
        counts = {"scans": len(self.slices.store.shapes), "slices": self.slices.count}
        said = {"modality": ", ".join(self.slices.modalities)} if "" not in self.slices.modalities else {}
        return {"device": self.device, "precision": precision(self.device), **counts, **said}

    def trained(
        self, stage: Stage, name: str, number: int, config: Config, key: str, ema: float | None = None
    ) -> tuple[nn.Module, Config]:
        """`trained` in the place of a stage and round, at the pace of the plan; the config with the steps it took."""
        to = self.folder / in_round(name, number)
        say = title(name, number) if config.has_teacher else "Student"
        stage.pace, pacer = self.planner.pace(name, number, stage.settings.steps)
        network = trained(stage, to, key, say, self.device, self.progress, ema, pacer)
        settings = getattr(config, name).model_copy(update={"steps": stage.pace.steps})
        return network, config.model_copy(update={name: settings})


def _train_alone(run: _Run, config: Config) -> Model:
    """The student without a teacher, from the noisy slices themselves."""
    slices = run.slices
    most = most_steps(config.student, slices.store)
    config = run.planner.decide("student", 1, config, most)
    key = key_of(slices.key, _trains(config), config.seed, precision(run.device))
    with _seeded(config.seed):
        stage = RecorruptedStage(config.student, slices.seen, slices.levels, config.seed)
    student, config = run.trained(stage, "student", 1, config, key)
    if config.student.steps == most:
        log.info("Trained for %d steps: on so few pixels more would make it worse (student.visits).", most)
    rounds = (Round(None, student),)
    model = Model(config, slices.normalisation, ChainTarget("image"), None, rounds, run.history())
    return replace(model, strength=share_borne_out(model, slices, run.device))


def _train(run: _Run, config: Config) -> Model:
    """Stage 1, then stages 2 and 3 in each round, every step with its artefact."""
    slices, device = run.slices, run.device
    if warning := why_not_to_fuse(config):
        log.warning("%s", warning)
    config = run.planner.decide("blind_spot", 1, config)
    key = key_of(slices.key, config.blind_spot.model_dump(), config.seed, precision(device))
    with _seeded(config.seed):
        first = BlindSpotStage(config.blind_spot, slices.store, config.seed, 2 * _typical(slices) ** 2)
    blind_spot, config = run.trained(first, "blind_spot", 1, config, key)
    config, shapes = run.planner.decide("teacher", 1, config), slices.store.shapes
    chosen = choose_slices([shape[0] if is_usable(shape) else 0 for shape in shapes], config.teacher.slices)
    predict = partial(_predict_all, blind_spot, slices.store, device, chosen)
    blind = SliceStore(cached(run.folder / "known", key_of(key, config.teacher.slices), predict))

    model = Model(config, slices.normalisation, _chain_target(config, blind, chosen), blind_spot, (), run.history())
    for number in range(1, config.rounds + 1):
        model, key = _train_round(run, model, number, blind, chosen, key)
    return model


def _train_round(
    run: _Run, model: Model, number: int, blind: SliceStore, chosen: list[list[int]], key: str
) -> tuple[Model, str]:
    """The model with one more round, and the key of all that it was made from; blind: x_c and v_total of `chosen`."""
    config, noisy, shapes = model.config, run.slices.store, run.slices.store.shapes
    seed = config.seed + 2 * (number - 1)
    conditioner = partial(_condition, model, constant_level(_typical(run.slices)), number)
    conditions = blind
    if number > 1:
        give = lambda scan, index: conditioner(noisy.slice(scan, index)[None].to(run.device))[0]  # noqa: E731
        fill = partial(fill_store, shapes=shapes, make=give, chosen=chosen)
        to = run.folder / in_round("condition", number)
        conditions = SliceStore(cached(to, key_of(key, config.feedback), fill))

    config = run.planner.decide("diffusion", number, config)
    key = key_of(key, config.feedback, config.teacher.slices, config.diffusion.model_dump())
    settings, patch = config.diffusion, config.blind_spot.patch or 1
    with _seeded(seed + 1):
        second = DiffusionStage(settings, conditioner, patch, model.chain, noisy, blind, conditions, seed + 1, chosen)
    diffusion, config = run.trained(second, "diffusion", number, config, key, settings.ema)

    key = key_of(key, config.teacher.model_dump())
    teacher = Teacher(diffusion, config, number, model.chain, noisy, blind, conditions, run.slices.levels, run.device)
    say = partial(run.progress, title("teacher", number))
    teach = lambda to: fill_store(to, shapes, teacher.image, chosen, say)  # noqa: E731
    taught = SliceStore(cached(run.folder / in_round("teacher", number), key, teach))

    config = run.planner.decide("student", number, config)
    key = key_of(key, _trains(config))
    with _seeded(seed + 2):
        third = StudentStage(config.student, noisy, run.slices.levels, taught, chosen, seed + 2)
    student, config = run.trained(third, "student", number, config, key)
    return replace(model, config=config, rounds=(*model.rounds, Round(diffusion, student))), key


def _trains(config: Config) -> dict[str, Any]:
    """What decides the student's training: its settings without those of its USE; its start."""
    settings = config.student.model_dump(exclude=USE)
    return {**settings, "weights": start_key(config.student)}


def _typical(slices: Slices) -> float:
    """One noise level for all scans, normalised."""
    return float(np.median([level.typical for level in slices.levels]))


def _condition(model: Model, level: NoiseLevel, number: int, x_noisy: Tensor) -> Tensor:
    """The condition of a round as a map of images (N, 1, H, W), composed of all that was trained before."""
    if number == 1:
        assert model.blind_spot is not None
        return mean_and_variance(model.blind_spot(x_noisy))[0]
    seeds = [image_seed(model.config.seed, image) for image in x_noisy.cpu().numpy()]
    return feed_back(model, x_noisy, level, seeds, number - 1)


def trained(
    stage: Stage,
    folder: Path,
    key: str,
    title: str,
    device: str,
    progress: Progress,
    ema: float | None = None,
    pacer: Pacer = steadily,
) -> nn.Module:
    """The stage's network with trained weights, trained now or read from its artefact; on the device, frozen."""

    def make(to: Path) -> None:
        if not (to / WEIGHTS).exists():  # else only what comes after it was not done
            train(stage, title, to, device, progress, ema, pacer)
            weights = {key: tensor.detach().cpu().contiguous() for key, tensor in stage.network.state_dict().items()}
            with atomic_file(to / WEIGHTS) as beside:
                beside.write_bytes(save(weights))
        for left in (CHECKPOINT, PART):
            (to / left).unlink(missing_ok=True)

    made = cached(folder, key, make)
    stage.network.load_state_dict(load_file(made / WEIGHTS))
    network = stage.network.to(device=device, memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def title(stage: str, number: int = 1) -> str:
    """What the progress calls a step of the fit, in a round."""
    return NAMES[stage] if number == 1 else f"Round {number}, {NAMES[stage]}"


def _predict_all(blind_spot: nn.Module, noisy: SliceStore, device: str, chosen: list[list[int]], folder: Path) -> None:
    """x_c and v_total of the chosen slices, as two channels."""

    def make(scan: int, index: int) -> Tensor:
        return torch.cat(predict_blind(blind_spot, noisy.slice(scan, index)[None].to(device)), dim=1)[0]

    fill_store(folder, [(count, 2, *size) for count, _, *size in noisy.shapes], make, chosen)


def _chain_target(config: Config, known: SliceStore, chosen: list[list[int]]) -> ChainTarget:
    """For images the scale is half of [0, 1]; for differences their standard deviation, so that x_0 has unit size."""
    kind = config.diffusion.target
    if kind == "image":
        return ChainTarget("image")
    variances = [
        array[index, 1].mean() for array, indices in zip(known.arrays, chosen, strict=True) for index in indices
    ]
    return ChainTarget("residual", float(np.sqrt(np.mean(variances))))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Network initialisation from a seed, leaving the caller's random state alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
