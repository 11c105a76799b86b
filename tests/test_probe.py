from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from diffdenoise.presets import PRESETS
from diffdenoise.probe import FEWEST, LONG, MOST, quickest, seconds_per_step
from diffdenoise.training.stage import Batch, Stage


class _Slow(Stage):
    """A stage that takes its time, and now and then, as on a busy machine, far more of it; by a clock of its own."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 1, 1), PRESETS["smoke"].student, 0)
        self.now = 0.0

    def batch_at(self, step: int, generator: torch.Generator) -> Batch:
        self.made_steps = step + 1
        self.now += 0.3 if step == 5 else 0.03
        return (torch.zeros(1, 1, 1, 1),)

    def loss_of(self, batch: Batch, generator: torch.Generator) -> Tensor:
        return self(*batch).mean()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> _Slow:
    stage = _Slow()
    monkeypatch.setattr("diffdenoise.probe.time", SimpleNamespace(perf_counter=lambda: stage.now))
    return stage


def test_a_step_takes_as_long_as_most_do(slow: _Slow) -> None:
    assert seconds_per_step(slow, "cpu", seconds=1) == pytest.approx(0.03)


@pytest.mark.parametrize(("seconds", "fewest", "most"), [(0.0, FEWEST, FEWEST + 1), (1e9, MOST, MOST)])
def test_it_is_measured_for_as_long_as_wanted_within_bounds(
    slow: _Slow, seconds: float, fewest: int, most: int
) -> None:
    seconds_per_step(slow, "cpu", seconds)
    assert fewest <= slow.made_steps <= most


@pytest.mark.parametrize(("times", "taken"), [([LONG + 1, 0.1], 1), ([0.2, 0.1], 2), ([0.1, 0.2], 2)])
def test_what_takes_long_is_not_timed_twice(times: list[float], taken: int) -> None:
    left = list(times)
    assert quickest(lambda: left.pop(0)) == min(times[:taken])
    assert len(times) - len(left) == taken
