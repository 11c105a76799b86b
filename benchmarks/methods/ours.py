"""This project's own: the presets as a user runs them, and two blind-spot networks alone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.methods import Denoise, Given, NotApplicableError, require_series
from benchmarks.methods.learned import FROM_RANDOM
from benchmarks.methods.levels import estimated
from diffdenoise.config import BlindSpotSettings
from diffdenoise.denoiser import Denoiser
from diffdenoise.diffusion.fusion import fuse
from diffdenoise.presets import PRESETS
from diffdenoise.probe import seconds_per_step
from diffdenoise.rounds import predict_blind
from diffdenoise.training.blind_spot import BlindSpotStage
from diffdenoise.training.slices import SliceStore, write_scan_slices
from diffdenoise.training.stage import train

# Of a stage's settings, those that go with the size of a network and the time that it has.
SIZES = ("widths", "blocks", "width", "encoder", "middle", "decoder", "steps", "batch", "crop", "learning_rate", "ema")


def default(given: Given) -> Denoise:
    """What `diffdenoise fit --budget` and `diffdenoise denoise` do; where single slices come, without neighbours."""
    return _preset(given, None, "auto", _alone(given))


def once(given: Given) -> Denoise:
    """The same with `--sampler student`: one pass over each slice."""
    return _preset(given, None, "student", _alone(given))


def series(given: Given) -> Denoise:
    """The default where the scans come as the frames of one scan."""
    require_series(given.train)
    denoise = _preset(replace(given, train=[np.stack(given.train)]), None, "auto")
    return lambda scans: list(denoise([np.stack(scans)])[0])


def told(given: Given) -> Denoise:
    """The default with `--sigma` or `--counts`; how far the noise is correlated is still measured."""
    noise = given.noise
    if noise is None or noise.kind == "gamma":
        raise NotApplicableError(f"the strength of {noise.kind if noise else 'unknown'} noise cannot be told")
    name = "counts" if noise.kind == "poisson" else "sigma"
    return _preset(given, None, "auto", {**_alone(given), name: noise.strength})


def grain_kept(given: Given) -> Denoise:
    """The default, where white noise beside correlated noise is kept as if the object had it."""
    return _preset(given, None, "auto", {**_alone(given), "grain": "keep"})


def scratch(given: Given) -> Denoise:
    """The same from random weights, with the learning rate that those need."""
    random = {"start": "random", "learning_rate": FROM_RANDOM}
    return _preset(given, None, "auto", {"student": random | ({"neighbours": 0} if given.single else {})})


def ensemble(given: Given) -> Denoise:
    """The same with `--sampler ensemble`: eight passes, however long they take."""
    return _preset(given, None, "ensemble", _alone(given))


def three_stages(given: Given) -> Denoise:
    """The preset with blind-spot network, diffusion and student."""
    return _preset(given, "gpu" if given.device == "cuda" else "cpu", "student")


def paper(given: Given) -> Denoise:
    """The paper preset and its student."""
    return _preset(given, "paper", "student")


def paper_small(given: Given) -> Denoise:
    """What the paper preset decides, with networks and steps of the size of the preset `cpu`, and its student."""
    stages = ((stage, getattr(PRESETS["cpu"], stage).model_dump()) for stage in ("blind_spot", "diffusion", "student"))
    sizes = {stage: {name: of[name] for name in SIZES if name in of} for stage, of in stages}
    return _preset(given, "paper", "student", sizes)


def paper_srds(given: Given) -> Denoise:
    """The paper preset, sampled."""
    return _preset(given, "paper", "srds")


def puca(given: Given) -> Denoise:
    """PUCA (Jang et al. 2023) at the preset's widths, L1: the blind estimate alone, as its authors use it."""
    return _blind(given, network="puca", loss="l1", fused=False)


def laine(given: Given) -> Denoise:
    """Four half-planes with mean and variance, then the posterior mean (Laine et al. 2019); the level is estimated."""
    return _blind(given, network="half_plane", loss="l2", fused=True)


def _alone(given: Given) -> dict[str, Any]:
    """Settings for scans that are single slices."""
    return {"student": {"neighbours": 0}} if given.single else {}


def _preset(given: Given, preset: str | None, sampler: Any, overrides: dict[str, Any] | None = None) -> Denoise:
    options: dict[str, Any] = {"preset": preset, "seed": given.seed, "device": given.device, "folder": given.work}
    denoiser = Denoiser.fit(given.train, budget=given.seconds, overrides=overrides, **options)
    return lambda scans: [denoiser.denoise(scan, sampler=sampler) for scan in scans]


def _blind(given: Given, network: Any, loss: Any, fused: bool) -> Denoise:
    start = time.perf_counter()
    store = _store(given.train, given.work / "noisy")
    level = float(np.median([level.typical for level in estimated(given.train)]))
    preset = PRESETS["gpu" if given.device == "cuda" else "cpu"].blind_spot.model_dump()
    settings = BlindSpotSettings.model_validate({**preset, "network": network, "loss": loss, "patch": 1})
    make = lambda settings: BlindSpotStage(settings, store, given.seed, 2 * level**2)  # noqa: E731
    per_step = seconds_per_step(make(settings), given.device)
    left = given.seconds - (time.perf_counter() - start)
    torch.manual_seed(given.seed)
    stage = make(settings.model_copy(update={"steps": max(1, int(left / per_step))}))
    train(stage, "blind-spot network", given.work / "training", given.device, lambda what, done, total: None)
    blind = stage.network.to(given.device)

    def one(image: np.ndarray, s2: float) -> np.ndarray:
        x_noisy = torch.from_numpy(image)[None, None].to(given.device)
        x_c, v_total = predict_blind(blind, x_noisy)
        return (fuse(x_c, x_noisy, v_total, s2) if fused else x_c)[0, 0].cpu().numpy()

    def denoise(scans: list[np.ndarray]) -> list[np.ndarray]:
        levels = estimated(scans)
        return [np.stack([one(i, level.typical**2) for i in s]) for s, level in zip(scans, levels, strict=True)]

    return denoise


def _store(scans: list[np.ndarray], folder: Path) -> SliceStore:
    for number, scan in enumerate(scans):
        write_scan_slices(folder, number, scan[:, None])
    return SliceStore(folder)
