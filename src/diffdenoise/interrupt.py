"""Ctrl-C where Python would not get to answer it.

While PyTorch is imported it is heard afterwards, for PyTorch aborts the process if it comes in between. And when all is
done and said, while Python itself is ending, it is not heard: the status would deny what was done.
"""

from __future__ import annotations

import atexit
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


def not_at_the_end() -> None:
    """From when the interpreter ends, no more Ctrl-C."""
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
