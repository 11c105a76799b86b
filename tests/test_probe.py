import time

import torch
from torch import Tensor

from diffdenoise.probe import _Nothing, loop_seconds, seconds_per_step


class _Slow(_Nothing):
    """A stage that takes its time, and now and then, as on a busy machine, far more of it."""

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        time.sleep(0.3 if step == 5 else 0.03)
        return super().loss_at(step, generator)


def test_a_step_takes_as_long_as_most_do_and_the_loop_around_it() -> None:
    loop = loop_seconds("cpu")
    assert loop > 0
    assert 0.03 <= seconds_per_step(_Slow(), "cpu", seconds=1) - loop < 0.1
