"""One method on one task, in a process of its own: its results, its time and its memory.

    python -m benchmarks.worker METHOD NOISY OUT SECONDS DEVICE SEED [NOISE-NAME] [CLEAN]

An empty NOISE-NAME tells the method nothing. OUT gets a file for each test scan, and `figures.json`.
"""

from __future__ import annotations

import json
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
    given = Given(
        load(Path(noisy) / "train"), float(seconds), device, int(seed), work, NOISES[noise] if noise else None, truth
    )
    make = METHODS[method].load()
    try:
        start = time.perf_counter()
        denoise = make(given)
        trained = time.perf_counter()
        results = denoise(test)
        ended = time.perf_counter()
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
    (to / "figures.json").write_text(json.dumps(figures))


def _memory(device: str) -> float:
    """Peak, of the device on a GPU, else of the process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
