import io
import sys

import pytest

from diffdenoise import progress
from diffdenoise.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_follows_a_plan_that_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress() as tell:
        tell("Student", 5, 20)
        tell("Student", 10, 10)
    assert "10/10" in terminal.getvalue()
    assert "10/20" not in terminal.getvalue()


def test_the_time_that_is_left_does_not_count_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    tell = progress.log_progress(stream)
    for done in (5001, 5301, 6000):  # ten steps a second, of which five thousand had been made before
        now[0] = (done - 5001) / 10
        tell("Student", done, 6000)
    assert stream.getvalue().splitlines() == ["Student: 5301/6000, 30 s, 70 s left", "Student: 6000/6000, 100 s"]
