"""One method on one task, in a process of its own: its results, its time and its memory.

    python -m benchmarks.worker METHOD NOISY OUT SECONDS DEVICE SEED [NOISE-NAME] [CLEAN]

An empty NOISE-NAME tells the method nothing. OUT gets a file for each test scan, and `figures.json`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.methods import METHODS, Given, NotApplicableError
from benchmarks.noises import NOISES
from benchmarks.tasks import load


def main(
    method: str, noisy: str, out: str, seconds: str, device: str, seed: str, noise: str = "", clean: str = ""
) -> None:
    """Train, denoise, write."""
    test, to = load(Path(noisy) / "test"), Path(out)
    work = to / "work"
    work.mkdir()
    truth = load(Path(clean)) if clean else None
    told, single = NOISES[noise] if noise else None, all(len(scan) == 1 for scan in test)
    given = Given(load(Path(noisy) / "train"), float(seconds), device, int(seed), work, told, truth, single)
    make = METHODS[method].load()
    try:
        start, used = time.perf_counter(), _used()
        denoise = make(given)
        trained = time.perf_counter()
        results = denoise(test)
        ended, used_later = time.perf_counter(), _used()
    except NotApplicableError as reason:
        (to / "figures.json").write_text(json.dumps({"not_applicable": str(reason)}))
        return
    for number, (scan, result) in enumerate(zip(test, results, strict=True)):
        if result.shape != scan.shape:
            raise ValueError(f"{method} made {result.shape} of a scan of {scan.shape}")
        np.save(to / f"{number:03d}.npy", np.asarray(result, dtype=np.float32))
    figures = {
        "train_seconds": trained - start,
        "seconds_per_megapixel": (ended - trained) / (sum(scan.size for scan in test) / 1e6),
        "megapixels": sum(scan.size for scan in test) / 1e6,
        "memory_mib": _memory(device),
    }
    if used and used_later:
        figures["others"] = _others(used, used_later, ended - start)
    (to / "figures.json").write_text(json.dumps(figures))


def _used() -> tuple[float, float] | None:
    """Seconds of CPU time used so far: by the whole machine (also taken by its host), by this process. Linux alone."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = ticks
    mine = os.times()
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), sum(mine[:4])


def _others(before: tuple[float, float], after: tuple[float, float], seconds: float) -> float:
    """The part of the machine that was not this process's to use while it ran: how far to trust its figures."""
    machine, mine = (late - early for early, late in zip(before, after, strict=True))
    return max(0.0, machine - mine) / (max(seconds, 0.01) * (os.cpu_count() or 1))


def _memory(device: str) -> float:
    """Peak, of the device on a GPU, else of the process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
