import io
import sys

import pytest

from diffdenoise.progress import show_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_follows_a_plan_that_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with show_progress() as progress:
        progress("Student", 5, 20)
        progress("Student", 10, 10)
    assert "10/10" in terminal.getvalue()
    assert "10/20" not in terminal.getvalue()
