"""`python -m benchmarks.ablations STUDY ...`: run studies, write their figures, plots and the page."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Literal

from cyclopts import App

from benchmarks.ablations.lab import SIZES, Lab
from benchmarks.ablations.page import STUDIES, environment, save, write_page
from diffdenoise.device import choose_device

app = App(name="python -m benchmarks.ablations", help=__doc__)


@app.default
def main(
    *studies: str,
    size: Literal["smoke", "cpu", "gpu"] = "cpu",
    device: str = "auto",
    work: Path = Path("benchmarks/cache"),
    results: Path = Path("benchmarks/results/ablations"),
    docs: Path = Path("docs"),
) -> None:
    """Run the named studies (letters, all if none is named) and write docs/ablations.md.

    What was trained or measured already is read from the work folder: run again, it goes on where it was stopped.
    """
    device = choose_device(device)
    for letter in studies or tuple(STUDIES):
        study = import_module(f"benchmarks.ablations.{STUDIES[letter]}")
        print(f"{letter}: {study.TITLE}", flush=True)
        start = time.perf_counter()
        lab = Lab(SIZES[size], work / size, device)
        result = study.run(lab)
        save(results, letter, {**environment(size, device), "result": result}, time.perf_counter() - start)
    write_page(results, docs)


if __name__ == "__main__":
    app()
