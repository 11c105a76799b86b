"""A time budget: what share of the time that is left the next stage gets, and how many steps that makes.

Each stage is measured and planned when its turn comes, with the time that is really left: what an earlier one took
longer, or less, than planned is shared out among the later ones. While it trains, the number of its steps is corrected
a few times by how long they really take. Decisions are recorded before they are acted on, so that a resumed fit takes
the same steps.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from diffdenoise.config import Config
from diffdenoise.errors import ConfigError
from diffdenoise.presets import PRESETS
from diffdenoise.run_folder import write_json
from diffdenoise.training.pace import Pace, Pacer, steadily

SHARES = {"blind_spot": 0.40, "teacher": 0.10, "diffusion": 0.20, "student": 0.30}  # the last three in each round
RESERVE = 0.02  # of the budget, for writing the model
FEWEST_STEPS, FEWEST_SLICES = 10, 4
TOO_FEW_STEPS = 200  # a network has hardly begun to learn; a word is due, unless the preset has no more either
CORRECTED_AT = (0.25, 0.5, 0.75, 0.9)  # of the time planned for a stage, or of its training
log = logging.getLogger("diffdenoise")


def parse_budget(given: str | float) -> float:
    """Seconds from a number of them, or from "90s", "10m", "1.5h" or "1h30m"; "90" could be either.

    Raises ConfigError for what is no time, or not more than none.
    """
    total = _seconds_in(given) if isinstance(given, str) else float(given)
    if not -math.inf < total < math.inf:
        raise ConfigError(f"The budget {given!r} is not a time. Write it like 90s, 10m or 1h30m.")
    if total <= 0:
        raise ConfigError(f"In a budget of {given!r} nothing can be trained. Give some minutes, such as 3m.")
    return total


def _seconds_in(text: str) -> float:
    """NaN where it is no time."""
    match = re.fullmatch(r"(?:(\d+\.?\d*)h)?(?:(\d+\.?\d*)m)?(?:(\d+\.?\d*)s)?", text.strip().lower())
    if not (match and match[0]):
        return math.nan
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def share(stage: str, number: int, rounds: int) -> float:
    """What part of the time left a stage of round `number` gets; the last one gets all.

    How many slices are sampled, in all rounds, is decided before the first diffusion model is trained. What sampling
    them takes is still to come then.
    """
    a_round = sum(part for name, part in SHARES.items() if name != "blind_spot")
    if stage == "blind_spot":
        return SHARES[stage] / (SHARES[stage] + rounds * a_round)
    if stage == "teacher":
        return SHARES[stage] / a_round
    here = SHARES["student"] if stage == "student" else a_round
    return SHARES[stage] / (here + (rounds - number) * a_round)


def tell_of_steps(config: Config) -> None:
    """Say so where the config has other steps than its preset, and a budget decides them."""
    stages = ("blind_spot", "diffusion", "student") if config.has_teacher else ("student",)
    steps = {stage: getattr(config, stage).steps for stage in stages}
    told = [f"{stage}.steps = {n}" for stage, n in steps.items() if n != getattr(PRESETS[config.preset], stage).steps]
    if told:
        log.info("%s: does nothing, for the budget decides how many steps are taken.", ", ".join(told))


class Planner:
    """Decides the steps of each stage (the slices of the teacher) when its turn comes, and records them in a file.

    key: of the fit; budget: seconds for all of it, None leaves the config as it is; seconds: measures a step of each
    stage in SHARES, and a slice of the teacher in all rounds; slices: how many there are; started: by time.monotonic().
    """

    def __init__(
        self,
        path: Path,
        key: str,
        budget: float | None,
        seconds: Mapping[str, Callable[[], float]],
        slices: int,
        started: float,
    ) -> None:
        self.path, self.key, self.budget, self.seconds, self.slices = path, key, budget, seconds, slices
        recorded = json.loads(path.read_text()) if budget is not None and path.exists() else {}
        self.decisions: dict[str, dict[str, Any]] = recorded["decisions"] if recorded.get("key") == key else {}
        self.spent, self.clock = 0.0, started
        self.warned = False

    def decide(self, stage: str, number: int, config: Config, most: int = sys.maxsize) -> Config:
        """The config with the steps of this stage, but no more than `most`; number: of the round."""
        if self.budget is None:
            return config if stage == "teacher" else _with(config, stage, steps=min(most, _steps(config, stage)))
        name = f"{stage} {number}"
        if name in self.decisions:
            decision = self.decisions[name]  # before an interruption and after it, it takes as long as planned
            self.spent, self.clock = decision["spent"] + decision["planned"], time.monotonic()
        else:
            decision = self._decision(stage, number, config, most)
            self._record(name, decision)
            if stage != "teacher":
                self._warn_of_few(name, decision, min(most, _steps(config, stage)))
        field = "slices" if stage == "teacher" else "steps"
        return _with(config, stage, **{field: decision[field]})

    def pace(self, stage: str, number: int, steps: int) -> tuple[Pace, Pacer]:
        """How a stage of so many steps is to be run: as it was before an interruption, else to be corrected."""
        name = f"{stage} {number}"
        if self.budget is None:
            return Pace.even(steps), steadily
        recorded = self.decisions[name].get("pace")
        if recorded:  # how fast it was then is not known
            return Pace(tuple((step, progress) for step, progress in recorded)), self._paid
        self._record(name, {**self.decisions[name], "pace": Pace.even(steps).knots})
        return Pace.even(steps), partial(self._corrected, name, list(CORRECTED_AT))

    def _paid(self, done: int, pace: Pace) -> Pace:
        """Changes nothing: the time of a stage that goes on was counted when it was decided."""
        self.clock = time.monotonic()
        return pace

    def _corrected(self, name: str, moments: list[float], done: int, pace: Pace) -> Pace:
        """With as many steps as the planned time has room for, whenever one of the moments is past.

        Of that time, or of the training: where a step took far longer when it was measured all are done before long.
        """
        planned, passed = self.decisions[name]["planned"], max(1e-9, time.monotonic() - self.clock)
        reached = max(passed / max(planned, 1e-9), pace.progress(done))
        if not moments or reached < moments[0] or done >= pace.steps:
            return pace
        while moments and reached >= moments[0]:
            moments.pop(0)
        steps = max(FEWEST_STEPS, int(done * planned / passed))
        pace = pace.ending_at(min(self.decisions[name]["most"], steps), done)
        self._record(name, {**self.decisions[name], "pace": pace.knots})
        return pace

    def _warn_of_few(self, name: str, decision: dict[str, Any], usual: int) -> None:
        """Once in a fit: where the time that is left has no room to learn in."""
        if self.warned or decision["steps"] >= TOO_FEW_STEPS or usual < TOO_FEW_STEPS:
            return
        self.warned = True
        log.warning(
            "The budget of %.0f s has room for %d steps of training (%s), which is far too few: %.0f s went by before, "
            "and a step takes %.2g s. Give a longer budget, or fewer or smaller scans.",
            self.budget,
            decision["steps"],
            name,
            decision["spent"],
            decision["seconds_each"],
        )

    def _record(self, name: str, decision: dict[str, Any]) -> None:
        assert self.budget is not None
        self.decisions[name] = decision
        write_json(self.path, {"key": self.key, "budget_seconds": self.budget, "decisions": self.decisions})

    def _decision(self, stage: str, number: int, config: Config, most: int) -> dict[str, Any]:
        assert self.budget is not None
        each = self.seconds[stage]()  # measured first, for it takes time itself
        self.spent += time.monotonic() - self.clock
        self.clock = time.monotonic()
        planned = share(stage, number, config.rounds) * max(0.0, (1 - RESERVE) * self.budget - self.spent)
        decision = {"spent": self.spent, "planned": planned, "seconds_each": each}
        if stage != "teacher":
            return {**decision, "most": most, "steps": min(most, max(FEWEST_STEPS, int(planned / each)))}
        chosen = min(self.slices, max(FEWEST_SLICES, int(planned / each)), config.teacher.slices or self.slices)
        return {**decision, "planned": 0.0, "slices": chosen if chosen < self.slices else None}


def _steps(config: Config, stage: str) -> int:
    steps: int = getattr(config, stage).steps
    return steps


def _with(config: Config, stage: str, **changes: Any) -> Config:
    return config.model_copy(update={stage: getattr(config, stage).model_copy(update=changes)})
