"""Turn a time budget into step counts, by a short probe of each stage on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable

from diffdenoise.config import Config
from diffdenoise.errors import ConfigError

SHARES = {"blind_spot": 0.40, "diffusion": 0.20, "student": 0.30}  # of the budget, for training
TEACHER_SHARE = 0.10  # what the teacher's images may cost at most; the rest of it goes to the trainings
OVERHEAD = 0.08  # reading, writing, predicting the condition
FEWEST_STEPS = 10


def parse_budget(text: str) -> float:
    """Seconds from "90", "90s", "10m", "1.5h" or "1h30m". Raises ConfigError."""
    match = re.fullmatch(r"(?:(\d+\.?\d*)h)?(?:(\d+\.?\d*)m)?(?:(\d+\.?\d*)s?)?", text.strip().lower())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if total <= 0:
        raise ConfigError(f"The budget {text!r} is not a time. Write it like 90s, 10m or 1h30m.")
    return total


def plan(config: Config, budget: float, seconds: dict[str, Callable[[], float]], slices: int) -> Config:
    """The config with steps (and, if time is short, teacher slices) that fit all rounds into `budget` seconds.

    seconds: measures one step of each of SHARES, and one slice of "teacher"; slices: how many there are.
    """
    budget *= 1 - OVERHEAD
    per_slice = seconds["teacher"]()
    rounds = config.rounds
    most = max(1, int(TEACHER_SHARE * budget / (rounds * per_slice)))
    chosen = min(slices, most, config.teacher.slices or slices)
    left = budget - rounds * chosen * per_slice
    total = sum(share * (1 if stage == "blind_spot" else rounds) for stage, share in SHARES.items())
    changes: dict[str, dict[str, int | None]] = {"teacher": {"slices": chosen if chosen < slices else None}}
    for stage, share in SHARES.items():
        time = left * share / total
        changes[stage] = {"steps": max(FEWEST_STEPS, int(time / seconds[stage]()))}
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=change) for name, change in changes.items()}
    )
