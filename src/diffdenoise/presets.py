"""The presets: named configurations; what the paper says and what is ours."""

from __future__ import annotations

import logging
from typing import Any

from diffdenoise.config import (
    BlindSpotSettings,
    Config,
    DiffusionSettings,
    StudentSettings,
    TeacherSettings,
    config_from,
)
from diffdenoise.errors import ConfigError

# Trains in seconds; its results are worth nothing. For tests and for trying out a pipeline.
SMOKE = Config(
    preset="smoke",
    blind_spot=BlindSpotSettings(steps=30, batch=2, crop=32, learning_rate=3e-3, widths=(16, 16)),
    diffusion=DiffusionSettings(steps=20, batch=2, crop=32, learning_rate=1e-3, widths=(16, 16)),
    teacher=TeacherSettings(steps=2),
    student=StudentSettings(steps=20, batch=2, crop=32, learning_rate=1e-3, width=16, encoder=(1,), decoder=(1,)),
)

# The student alone, from the noisy images themselves: no teacher to wait for, and nothing to sample from.
FAST = Config(
    preset="fast",
    blind_spot=BlindSpotSettings(steps=1, batch=4, crop=64, learning_rate=3e-3),  # not trained
    diffusion=DiffusionSettings(steps=1, batch=4, crop=64, learning_rate=1e-3),  # not trained
    teacher=TeacherSettings(),  # none
    student=StudentSettings(
        steps=10_000,
        batch=4,
        crop=64,
        learning_rate=1e-3,  # 2e-3 from random weights
        learns_from="recorrupted",
        visits=700,  # of few pixels: from 500 to 1250 it made no difference, with 2100 it was worse (docs/tried.md)
        neighbours=None,
        series=None,
        turns=None,
        second_opinion=None,
        start="synthetic",
    ),
)

CPU = Config(
    preset="cpu",
    blind_spot=BlindSpotSettings(steps=3500, batch=4, crop=64, learning_rate=3e-3),
    diffusion=DiffusionSettings(steps=1000, batch=4, crop=64, learning_rate=1e-3),
    teacher=TeacherSettings(steps=4),
    student=StudentSettings(steps=3000, batch=4, crop=64, learning_rate=2e-3),
)

# Three stages with room to grow. Of a minute on a GPU, too, the student alone makes more (docs/ablations.md, t).
GPU = Config(
    preset="gpu",
    blind_spot=BlindSpotSettings(steps=20_000, batch=16, crop=96, learning_rate=2e-3, widths=(64, 128, 128), blocks=2),
    diffusion=DiffusionSettings(steps=10_000, batch=16, crop=96, learning_rate=1e-3, widths=(64, 128, 128), blocks=2),
    teacher=TeacherSettings(steps=10),
    student=StudentSettings(
        steps=20_000, batch=16, crop=128, learning_rate=1e-3, width=32, encoder=(2, 2, 2), middle=4, decoder=(2, 2, 2)
    ),
)

# The published pipeline, as literally as it is known, in this one place. Where each setting comes from:
#   [P] the paper itself   [S] second-hand, quoted in summaries of it   [O] ours, for want of a source
PAPER = Config(
    preset="paper",
    rounds=1,  # [P] "after three iterations" is shown for correlated noise: set rounds = 3 for it
    feedback="student",  # [O] the reading of "iterations" that uses every stage
    normalisation="auto",  # [O]
    stabilise=False,  # [O] not heard of
    noise_floor="keep",  # [O] not heard of
    blind_spot=BlindSpotSettings(
        network="puca",  # [S] where the noise is correlated the paper takes LG-BPN, and the fit "local_global"
        patch=None,  # [S] 5 or 9 for correlated noise; here from the estimated reach
        widths=(128, 256, 512),  # [O] those of PUCA's own paper
        blocks=(3, 4, 4),  # [O] as above
        loss=None,  # [O] L1 as PUCA's own paper has it; L2 where the noise is skewed, for L1 would be biased there
        pooling="parity",  # [O] PUCA's own paper pools over the whole image ("global"), which is not blind
        steps=100_000,  # [O]
        batch=8,  # [O]
        crop=128,  # [O]
        learning_rate=3e-4,  # [O]
    ),
    diffusion=DiffusionSettings(
        network="improved_ddpm",  # [S] Improved DDPM
        widths=(64, 128, 192, 256),  # [O]
        blocks=2,  # [O]
        schedule="linear",  # [O] Improved DDPM has cosine, but eps from pure noise fails with it (docs/ablations.md, d)
        timesteps=1000,  # [O]
        prediction="eps",  # [P]
        loss="l1",  # [P]
        leak="open",  # [P] the whole condition is shown
        target="image",  # [P] x_0 is x_noisy
        ema=0.9999,  # [O] Improved DDPM's
        steps=200_000,  # [O] 200 epochs [S], of an unknown number of slices
        batch=8,  # [O]
        crop=300,  # [S]
        learning_rate=1e-4,  # [O] Improved DDPM's
    ),
    teacher=TeacherSettings(
        steps=10,  # [S]
        pairs=1,  # [P] +eps and -eps
        fuse=False,  # [P] x_noisy is not used
        bound_level=False,  # [O] belongs to the fusion
    ),
    student=StudentSettings(
        learns_from="teacher",  # [P]
        neighbours=0,  # [P] single slices
        series=False,  # [P] as above
        together=0,  # [P] as above
        turns=1,  # [P] one pass
        second_opinion=False,  # [P] the student's word alone
        loss="l1",  # [P]
        network="nafnet",  # [P]
        width=32,  # [O] at the size of its own paper
        encoder=(2, 2, 4, 8),  # [O] as above
        middle=12,  # [O] as above
        decoder=(2, 2, 2, 2),  # [O] as above
        steps=100_000,  # [O]
        batch=8,  # [O]
        crop=256,  # [O]
        learning_rate=1e-3,  # [O] NAFNet's
        start="random",  # [O] not heard of
    ),
)

OF_TEACHER = {"blind_spot", "diffusion", "teacher", "rounds", "feedback"}  # settings that mean nothing without one

# What a preset has other than above where it runs on a GPU: a larger step takes hardly longer there, and brings more.
ON_GPU: dict[str, dict[str, Any]] = {"fast": {"student": {"batch": 16, "crop": 128}}}

log = logging.getLogger("diffdenoise")
PRESETS = {config.preset: config for config in (SMOKE, FAST, CPU, GPU, PAPER)}


def make_config(
    preset: str | None = None, overrides: dict[str, Any] | None = None, device: str | None = None
) -> Config:
    """A preset, as it is on a device, with some settings replaced; overrides are nested as in `Config`.

    None takes the preset that the overrides name, or else "cpu". Raises ConfigError for an unknown preset or setting,
    for two presets, and for settings that exclude one another.
    """
    named = (overrides or {}).get("preset", preset)
    if preset is None:
        preset = "cpu" if named is None else named
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"There is no preset {preset!r}. Choose one of: {', '.join(PRESETS)}.")
    if named not in (None, preset):
        raise ConfigError(f"The preset is to be {preset}, but the settings name {named!r}. Name one of them.")
    config = config_from(_merge(_usual(preset, device), {**(overrides or {}), "preset": preset}))
    _require_start(config)
    _require_used(config, (overrides or {}).get("student"))
    if config.has_teacher and preset == FAST.preset:
        raise ConfigError("student.learns_from: the preset fast trains no teacher to learn from. Take the preset cpu.")
    return config


def choose_config(
    preset: str | None,
    device: str,
    overrides: dict[str, Any] | None = None,
    sampled: bool = False,
    **settings: Any,
) -> Config:
    """The preset (given or named by overrides), as it is on the device, with overrides; without one, "fast".

    settings: more of them; those that are None do not count. sampled: the diffusion model is wanted. With it, or where
    overrides are about it, a preset with a teacher is chosen, "gpu" or "cpu" by the device. Which one is taken is told.
    Raises ConfigError for settings that make no sense, or are about a teacher where there is none.
    """
    if not isinstance(overrides, dict | None):
        raise ConfigError(
            f'Overrides are a dictionary such as {{"student": {{"neighbours": 0}}}}, not {overrides!r}; '
            "diffdenoise.config.read_overrides makes one of a TOML file."
        )
    given = {key: value for key, value in settings.items() if value is not None}
    of_teacher = sorted(OF_TEACHER.intersection(overrides or {}))
    if _learns_from(overrides) == "teacher":
        of_teacher.append("student.learns_from")
    chosen = ("gpu" if device == "cuda" else "cpu") if sampled or of_teacher else FAST.preset
    named = preset or (overrides or {}).get("preset")
    config = make_config(preset or (chosen if named is None else None), {**(overrides or {}), **given}, device)
    if of_teacher and not config.has_teacher:
        raise ConfigError(
            f"{', '.join(of_teacher)}: does nothing, for with preset {config.preset} there is no teacher. "
            "Leave it out, or take the preset cpu or gpu."
        )
    why = f"{', '.join(of_teacher)} in the settings" if of_teacher else "the samples that are asked for" * sampled
    _tell(config, "" if named else why)
    return config


def _tell(config: Config, asked: str) -> None:
    """Say which preset is taken; asked: what it is taken for, if nobody named it and it is not the usual one."""
    stages = "blind-spot network, diffusion model and student" if config.has_teacher else "the student alone"
    why = f" It is taken because of {asked}; without, it is {FAST.preset}, the student alone." if asked else ""
    log.info("Preset %s: %s.%s", config.preset, stages, why)


def _learns_from(overrides: dict[str, Any] | None) -> Any:
    student = (overrides or {}).get("student")
    return student.get("learns_from") if isinstance(student, dict) else None


def as_asked(config: Config, device: str) -> dict[str, Any]:
    """The settings without those that only the device decides: as its preset has them here, and elsewhere otherwise."""
    values, usual = config.model_dump(mode="json"), _usual(config.preset, device)
    for part, names in ON_GPU.get(config.preset, {}).items():
        values[part] = {
            name: value for name, value in values[part].items() if name not in names or value != usual[part][name]
        }
    return values


def _usual(preset: str, device: str | None) -> dict[str, Any]:
    return _merge(PRESETS[preset].model_dump(), ON_GPU.get(preset, {}) if device == "cuda" else {})


def _require_start(config: Config) -> None:
    student, shape = config.student, ("network", "width", "encoder", "middle", "decoder")
    if student.start == "synthetic" and any(getattr(student, it) != getattr(FAST.student, it) for it in shape):
        raise ConfigError(
            "student: the weights to start from are of the network of the preset fast. "
            'Take its network, width, encoder, middle and decoder, or set start = "random".'
        )


def _require_used(config: Config, student: Any) -> None:
    """Raises ConfigError for settings that would do nothing. Not part of `Config`: old model files may have them.

    student: what is set of it; all else is the preset's.
    """
    if config.stabilise and not config.evens_out:
        raise ConfigError(
            "stabilise: evens out the noise as it is measured, and does nothing where sigma or counts is given. "
            "Leave one of them out."
        )
    if config.blind_spot.pooling == "global" and config.blind_spot.network != "puca":
        raise ConfigError(
            'blind_spot.pooling: "global" is of network = "puca" alone. Take that network, or leave it out.'
        )
    given = student if isinstance(student, dict) else {}
    if config.has_teacher and (unused := sorted({"recorruption", "together", "visits"}.intersection(given))):
        raise ConfigError(
            f"student.{unused[0]}: does nothing where the student learns from a teacher. "
            'Leave it out, or set learns_from = "recorrupted".'
        )
    if not config.has_teacher and given.get("loss", "l2") != "l2":
        raise ConfigError("student.loss: does nothing without a teacher, for the student learns by L2. Leave it out.")


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
