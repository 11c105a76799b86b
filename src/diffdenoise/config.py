"""All settings of a fit, frozen; and the presets."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffdenoise.errors import ConfigError

Loss = Literal["l1", "l2"]


class Settings(BaseModel):
    """Frozen, and an unknown key is an error rather than a silent typo."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageSettings(Settings):
    """What the three trainings share: optimiser steps, crops per step, crop side in pixels, peak learning rate."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    crop: int = Field(ge=16)
    learning_rate: float = Field(gt=0)


class BlindSpotSettings(StageSettings):
    """Stage 1. patch: side of the hidden patch in pixels, 1 for noise that is independent between pixels.

    None chooses the smallest patch that hides all noise correlated with its centre, by the estimated reach.
    """

    patch: int | None = Field(default=None, ge=1)
    widths: tuple[int, ...] = (32, 64)
    blocks: int = 1
    loss: Loss = "l2"


class DiffusionSettings(StageSettings):
    """Stage 2.

    leak: "open" is the published training; "masked" and "redrawn" close the condition leak (see `training.diffusion`),
    hidden_share is the share of pixels they hide at a step. target: what the chain samples, the noisy image or its
    difference from the condition.
    """

    network: Literal["convolutional", "improved_ddpm"] = "convolutional"
    widths: tuple[int, ...] = (32, 64)
    blocks: int = 1
    schedule: Literal["cosine", "linear"] = "cosine"
    timesteps: int = Field(default=1000, gt=0)
    prediction: Literal["eps", "v", "x0"] = "v"
    loss: Loss = "l2"
    leak: Literal["open", "masked", "redrawn"] = "redrawn"
    hidden_share: float = Field(default=0.1, gt=0, le=0.5)
    target: Literal["image", "residual"] = "residual"
    ema: float | None = Field(default=None, gt=0, lt=1)


class TeacherSettings(Settings):
    """The image the student learns from: SRDS with `steps` DDIM steps and `pairs` symmetric pairs, then fusion.

    slices: at most so many slices are sampled, evenly spread (None: all of them).
    """

    steps: int = Field(default=10, gt=0)
    pairs: int = Field(default=1, gt=0)
    fuse: bool = True
    slices: int | None = Field(default=None, gt=0)


class StudentSettings(StageSettings):
    """Stage 3: NAFNet, blocks per level."""

    width: int = 16
    encoder: tuple[int, ...] = (1, 1)
    middle: int = 1
    decoder: tuple[int, ...] = (1, 1)
    loss: Loss = "l1"


class Config(Settings):
    """A whole fit.

    normalisation: "scan" brings each scan to its own range, "fixed" all to a common one; "auto" takes "fixed" where
    the scans have absolute units (HU, 8-bit grey). sigma: noise standard deviation in the scans' units, None to
    estimate it from each scan.
    """

    preset: str
    seed: int = 0
    normalisation: Literal["auto", "scan", "fixed"] = "auto"
    sigma: float | None = Field(default=None, gt=0)
    blind_spot: BlindSpotSettings
    diffusion: DiffusionSettings
    teacher: TeacherSettings
    student: StudentSettings


# Trains in seconds; its results are worth nothing. For tests and for trying out a pipeline.
SMOKE = Config(
    preset="smoke",
    blind_spot=BlindSpotSettings(steps=30, batch=2, crop=32, learning_rate=3e-3, widths=(16, 16)),
    diffusion=DiffusionSettings(steps=20, batch=2, crop=32, learning_rate=1e-3, widths=(16, 16)),
    teacher=TeacherSettings(steps=2),
    student=StudentSettings(steps=20, batch=2, crop=32, learning_rate=1e-3, width=16, encoder=(1,), decoder=(1,)),
)

CPU = Config(
    preset="cpu",
    blind_spot=BlindSpotSettings(steps=3500, batch=4, crop=64, learning_rate=3e-3),
    diffusion=DiffusionSettings(steps=1000, batch=4, crop=64, learning_rate=1e-3),
    teacher=TeacherSettings(steps=4),
    student=StudentSettings(steps=2000, batch=4, crop=64, learning_rate=2e-3),
)

# The cpu pipeline with room to grow; not yet tuned on a GPU.
GPU = Config(
    preset="gpu",
    blind_spot=BlindSpotSettings(steps=20_000, batch=16, crop=96, learning_rate=2e-3, widths=(64, 128, 128), blocks=2),
    diffusion=DiffusionSettings(steps=10_000, batch=16, crop=96, learning_rate=1e-3, widths=(64, 128, 128), blocks=2),
    teacher=TeacherSettings(steps=10),
    student=StudentSettings(
        steps=20_000, batch=16, crop=128, learning_rate=1e-3, width=32, encoder=(2, 2, 2), middle=4, decoder=(2, 2, 2)
    ),
)

# The published pipeline as far as it is known. Paper: the stages, L1, pure-noise pairs, no cure of the leak, no fusion.
# Second-hand: Improved DDPM network, 300-pixel crops, 10 DDIM steps, NAFNet. Ours, for want of a source: everything
# else (eps prediction is Improved DDPM's; PUCA comes with a later version, a patch-blind network stands in).
PAPER = Config(
    preset="paper",
    blind_spot=BlindSpotSettings(
        steps=100_000, batch=8, crop=128, learning_rate=3e-4, widths=(64, 128, 256), blocks=2, loss="l1"
    ),
    diffusion=DiffusionSettings(
        steps=200_000, batch=8, crop=304, learning_rate=1e-4, network="improved_ddpm", widths=(64, 128, 192, 256),
        blocks=2, prediction="eps", loss="l1", leak="open", target="image", ema=0.9999,
    ),
    teacher=TeacherSettings(steps=10, fuse=False),
    student=StudentSettings(
        steps=100_000, batch=8, crop=256, learning_rate=1e-3, width=32, encoder=(2, 2, 4, 8), middle=12,
        decoder=(2, 2, 2, 2),
    ),
)  # fmt: skip

PRESETS = {config.preset: config for config in (SMOKE, CPU, GPU, PAPER)}


def make_config(preset: str = "cpu", overrides: dict[str, Any] | None = None) -> Config:
    """A preset with some settings replaced; overrides are nested as in `Config`.

    Raises ConfigError for an unknown preset or setting.
    """
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}. Choose one of: {', '.join(PRESETS)}.")
    return _validate(_merge(PRESETS[preset].model_dump(), overrides or {}))


def read_overrides(path: Path) -> dict[str, Any]:
    """Settings from a TOML file with the names of `Config`. Raises ConfigError if it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error}).") from error


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _validate(values: dict[str, Any]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"These settings make no sense: {faults}.") from error
