"""Ctrl-C while PyTorch is imported: PyTorch aborts the process if it comes in between, so it is heard after that."""

from __future__ import annotations

import signal
import threading


def import_all() -> None:
    """Import what is heavy. Raises KeyboardInterrupt when that is done if Ctrl-C came meanwhile."""
    before, asked = signal.getsignal(signal.SIGINT), list[int]()
    held = callable(before) and threading.current_thread() is threading.main_thread()
    if held:
        signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        import diffdenoise.pipeline  # noqa: F401
    finally:
        if held:
            signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt
