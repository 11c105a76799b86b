"""How many threads compute, and how they wait for each other: told before PyTorch is there, which reads it only then.

A network's step is some thousand small pieces of work, and after each all threads wait for the last. The libraries let
them wait busily, for milliseconds, on the supposition that nothing else wants the cores. Where something else does,
the last one waits for those that wait. What a user has set in the environment counts.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

# Looks at whether the others are done, before a thread sleeps; libgomp's own is 300 000 (docs/architecture.md).
SPINS = 10_000
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of computing in so many; or "max"


def settle_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep early, and have no more of them than this container's share of cores."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environment.keys():
        environment["GOMP_SPINCOUNT"] = str(SPINS)
    cores = quota()
    if cores < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(max(1, math.ceil(cores))))


def quota() -> float:
    """Cores that this process's container may use (`docker run --cpus`); inf where there is no bound, or none known."""
    with suppress(OSError, ValueError, ZeroDivisionError):  # no Linux, "max"
        granted, period = QUOTA.read_text().split()
        return int(granted) / int(period)
    return math.inf
