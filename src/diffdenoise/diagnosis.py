"""What the noise of a scan is like, and what that decides about a fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffdenoise.config import BlindNetwork, Config, Loss
from diffdenoise.noise.assumptions import check_noise
from diffdenoise.noise.estimate import NoiseLevel, estimate_noise
from diffdenoise.noise.trend import Kind, Trend, classify_noise

# For a larger patch than one pixel, the paper changes PUCA for LG-BPN.
FOR_LARGER_PATCHES: dict[BlindNetwork, BlindNetwork] = {"puca": "local_global"}
SKEWED = ("poisson", "gamma", "rician")
GROWING = ("poisson", "gamma")  # their level varies over the whole range of brightness
IN_WORDS: dict[Kind, str] = {
    "gaussian": "equally strong at every brightness, as Gaussian noise is",
    "poisson": "stronger where it is bright, its variance in proportion, as counting noise (Poisson) is",
    "gamma": "in proportion to the brightness, as multiplicative noise (speckle) is",
    "rician": "weaker in the dark background and never negative, as in magnitude MR images (Rician)",
    "unknown": "of no kind known here",
}


@dataclass(frozen=True)
class Diagnosis:
    """Level and trend in the scan's own units; faults: assumptions that do not hold, one message each."""

    level: NoiseLevel
    trend: Trend
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What a fit does about the noise; why: one sentence each."""

    patch: int
    loss: Loss
    stabilise: bool
    why: tuple[str, ...]


def diagnose(slices: np.ndarray) -> Diagnosis:
    """The noise of (slices, rows, columns)."""
    level = estimate_noise(slices)
    faults = tuple(finding.message for finding in check_noise(slices, level))
    return Diagnosis(level, classify_noise(slices, level), faults)


def choose(kinds: Sequence[Kind], reaches: Sequence[int]) -> Choice:
    """For scans with these kinds of noise and reaches of its correlation: those of most of them count."""
    kind, reach = Counter(kinds).most_common(1)[0][0], int(np.median(reaches))
    patch, stabilise = 2 * reach + 1, kind in GROWING
    loss: Loss = "l2" if kind in SKEWED else "l1"
    pixels = f"correlated over {reach} pixel{'s' * (reach > 1)}" if reach else "independent between pixels"
    median = "it is skewed, and L1 would aim at its median" if kind in SKEWED else "it is symmetric"
    why = [
        f"The noise looks {pixels}: {patch} x {patch} pixels are hidden (blind_spot.patch).",
        f"It is {IN_WORDS[kind]}: loss {loss.upper()}, for {median} (blind_spot.loss).",
    ]
    if stabilise:
        why.append("Its level is evened out before training and the change undone after it (stabilise).")
    if kind == "rician":
        why.append("What is estimated is the mean magnitude, which stays above zero in the background.")
    return Choice(patch, loss, stabilise, tuple(why))


def settle(config: Config, choice: Choice) -> Config:
    """The config with what it leaves open (None) filled in."""
    spot = config.blind_spot
    patch, loss = spot.patch or choice.patch, spot.loss or choice.loss
    network = FOR_LARGER_PATCHES.get(spot.network, spot.network) if patch > 1 else spot.network
    changes = {"blind_spot": {**spot.model_dump(), "patch": patch, "loss": loss, "network": network}}
    stabilise = choice.stabilise if config.stabilise is None else config.stabilise
    return Config.model_validate({**config.model_dump(), **changes, "stabilise": stabilise})
