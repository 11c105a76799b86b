"""How many threads compute, and how they wait for each other: told before PyTorch is there, which reads it only then.

A network's step is some thousand small pieces of work, and after each all threads wait for the last. The libraries let
them wait busily, for milliseconds, on the supposition that nothing else wants the cores. Where something else does,
the last one waits for those that wait, or for its turn on a core. So there are as many threads as cores are free when
the work begins. What a user has set in the environment counts.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from threading import RLock
from typing import NamedTuple, ParamSpec, TypeVar

# Looks at whether the others are done, before a thread sleeps; libgomp's own is 300 000 (docs/architecture.md).
SPINS = 10_000
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of computing in so many; or "max"
STAT = Path("/proc/stat")  # of Linux
LEAST_WATCHED = 0.5  # seconds; in less nothing can be told, and the threads stay as they are
log = logging.getLogger("diffdenoise")
P = ParamSpec("P")
T = TypeVar("T")


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep early, and have no more of them than this container's share of cores.

    Where their number is left open it is watched from now on what others compute, for `give_way`.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = str(SPINS)
    if "OMP_NUM_THREADS" not in environment:
        _watched.append(_computed())
    if cores() < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(cores()))


def give_way(chosen: int | None = None) -> int:
    """Have as many threads as cores were free since the last call, or so many as were chosen before; returns how many.

    Nothing is changed where `settle_threads` was not called, or a user has set their number. What others do later is
    not looked at: a training takes as long as it takes, and ends at the same model after a kill.
    """
    import torch

    most = _most()
    if not _watched:
        return torch.get_num_threads()
    before, now = _watched[-1], _computed()
    count = min(most, chosen or torch.get_num_threads())
    if not chosen and now.at - before.at >= LEAST_WATCHED:
        _watched[:] = [now]
        others, every = now.by_others_since(before), os.cpu_count() or 1
        count = min(most, max(1, round(every - others)))
        if count < most and count != torch.get_num_threads():
            log.info("Other work keeps %.1f of %d cores busy: %d of %d threads compute.", others, every, count, most)
    torch.set_num_threads(count)
    return count


class _Computed(NamedTuple):
    """Seconds that were computed until a time, by all processes and by this one."""

    at: float
    by_all: float
    own: float

    def by_others_since(self, before: _Computed) -> float:
        """Cores that others kept busy; 0 where that cannot be told."""
        others = (self.by_all - before.by_all) - (self.own - before.own)
        return max(0.0, others / (self.at - before.at))


_watched: list[_Computed] = []  # the last one


@cache
def _most() -> int:
    """Threads that there are before any way is given."""
    import torch

    return torch.get_num_threads()


def _computed() -> _Computed:
    by_all = 0.0
    with suppress(OSError, ValueError, IndexError):  # no Linux
        ticks = [int(field) for field in STAT.read_text().splitlines()[0].split()[1:9]]
        # Without waiting, and without what is "nice", for that leaves the core to us.
        by_all = sum(ticks[place] for place in (0, 2, 5, 6, 7)) / os.sysconf("SC_CLK_TCK")
    return _Computed(time.monotonic(), by_all, time.process_time())


def made_once(make: Callable[P, T]) -> Callable[P, T]:
    """As `functools.cache`, but threads that ask for it while it is being made wait, and do not make it themselves."""
    lock, cached = RLock(), cache(make)

    @wraps(make)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            return cached(*args, **kwargs)  # type: ignore[arg-type]

    return call


def cores() -> int:
    """That this process may use, at least one."""
    return max(1, math.ceil(min(os.cpu_count() or 1, quota())))


def quota() -> float:
    """Cores that this process's container may use (`docker run --cpus`); inf where there is no bound, or none known."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # no Linux, "max"
        granted, period = QUOTA.read_text().split()
        return int(granted) / int(period)
    return math.inf
