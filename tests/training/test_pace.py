import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.training.pace import Pace, steadily


@given(st.integers(1, 1000), st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 3000)), max_size=4))
def test_progress_rises_from_0_to_1_and_never_jumps(steps: int, changes: list[tuple[int, int]]) -> None:
    pace = Pace.even(steps)
    for now, end in sorted(changes):
        if now >= pace.steps:
            continue
        before, pace = pace, pace.ending_at(end, now)
        assert pace.steps == max(end, now + 1)
        done = np.arange(now + 1)
        assert [pace.progress(step) for step in done] == pytest.approx([before.progress(step) for step in done])
    progress = [pace.progress(step) for step in range(pace.steps + 1)]
    assert (progress[0], progress[-1], pace.progress(pace.steps + 5)) == (0, 1, 1)
    assert (np.diff(progress) > 0).all()


def test_steadily_changes_nothing() -> None:
    assert steadily(3, Pace.even(10)) == Pace.even(10)
