"""How far a training is at each of its steps, when their number may change on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pace:
    """Straight lines through (step, progress from 0 to 1), rising; the last step has progress 1."""

    knots: tuple[tuple[int, float], ...]

    @classmethod
    def even(cls, steps: int) -> Pace:
        """As far at each step as its share of all."""
        return cls(((0, 0.0), (steps, 1.0)))

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.knots[-1][0]

    def progress(self, step: int) -> float:
        """From 0 at the start to 1 at the end and beyond."""
        steps, progress = zip(*self.knots, strict=True)
        return float(np.interp(step, steps, progress))

    def ending_at(self, steps: int, now: int) -> Pace:
        """From step `now` on as much faster or slower as it takes to end after `steps`, at least one more."""
        past = tuple(knot for knot in self.knots if knot[0] < now)
        return Pace((*past, (now, self.progress(now)), (max(steps, now + 1), 1.0)))


Pacer = Callable[[int, Pace], Pace]  # (steps done, pace) -> pace from here on


def steadily(done: int, pace: Pace) -> Pace:
    """The pacer that changes nothing."""
    return pace
