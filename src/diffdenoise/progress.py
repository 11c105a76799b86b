"""Progress with time left on the terminal; in a log file, a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from diffdenoise.training.stage import Progress

LOG_SECONDS = 30.0


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A callback (what, done, of how many) that draws on stderr while the block runs."""
    if not sys.stderr.isatty():
        yield log_progress(sys.stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<24}", markup=False), BarColumn(), MofNCompleteColumn())
    with Bars(
        *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True)
    ) as bars:
        tasks: dict[str, int] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, completed=done)
            bars.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]
            if what.startswith(" ") and done == total:  # one scan of many: make room for the next
                bars.remove_task(tasks.pop(what))  # type: ignore[arg-type]

        yield update


def log_progress(stream: TextIO) -> Progress:
    """Progress as plain lines: at the end of each task, and every LOG_SECONDS within one."""
    said: dict[str, float] = {}
    started: dict[str, tuple[float, int]] = {}  # when, and what had been done before an interruption

    def update(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun, before = started.setdefault(what, (now, done))
        last = said.setdefault(what, now)
        if what.startswith(" ") or (done < total and now - last < LOG_SECONDS):
            return
        said[what] = now
        left = f", {(now - begun) / (done - before) * (total - done):.0f} s left" if before < done < total else ""
        print(f"{what}: {done}/{total}, {now - begun:.0f} s{left}", file=stream, flush=True)

    return update
