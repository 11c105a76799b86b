"""`python -m benchmarks.run`: methods on tasks, one process a cell; then docs/benchmarks.md.

A cell that is done, in the results folder, for the same task, method, time and kind of device, is not done again:
run as often as you like, a stopped run goes on. `--minutes` starts no cell, after the first, whose training would pass
so many.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import App

from benchmarks.methods import METHODS, Method
from benchmarks.pictures import write_pictures
from benchmarks.records import keys_of
from benchmarks.report import write_report
from benchmarks.scoring import score
from benchmarks.tasks import CORE, FULL, PAPER, Protocol, Task, prepared
from diffdenoise.device import choose_device
from diffdenoise.errors import ConfigError
from diffdenoise.run_folder import write_json

SHARED = Path("../shared/data")
PATIENCE = 6  # times the budget, and GRACE seconds: then a method is stopped
GRACE = 1800
SAYS = {"clean": "clean images of others", "noise": "noise that is known"}

app = App(name="python -m benchmarks.run", help=__doc__)


@dataclass(frozen=True)
class Cell:
    """A method on a task for so many seconds of training on a device."""

    task: Task
    method: str
    seconds: float
    device: str

    @property
    def key(self) -> str:
        """Of all that its figures depend on."""
        return self.keys[0]

    @property
    def keys(self) -> tuple[str, ...]:
        """This one, and the same in an older spelling."""
        return keys_of(self.task, self.method, self.seconds, self.device)

    def path(self, results: Path) -> Path:
        """Where its figures are kept."""
        return results / f"{self.device}-{self.seconds:g}s" / self.task.slug / f"{self.method}.json"

    def outputs(self, cache: Path) -> Path:
        """Where its denoised scans are kept."""
        return self.path(cache / "outputs").with_suffix("")


@app.default
def main(
    *methods: str,
    task: list[str] | None = None,
    full: bool = False,
    paper: bool = False,
    rescore: bool = False,
    seconds: float = 180,
    device: str = "cpu",
    minutes: float | None = None,
    data: Path = SHARED,
    own: list[Path] | None = None,
    noise: list[str] | None = None,
    seen: bool = False,
    cache: Path = Path("benchmarks/cache"),
    results: Path = Path("benchmarks/results/peers"),
    docs: Path = Path("docs"),
) -> None:
    """Fill the table: all core methods (or those named) on the eight core tasks.

    task: only tasks with this in their name.
    full: every task and method.
    paper: the paper's own data, which you hold in the folder `data` (benchmarks/paper_data.py tells how).
    own: folders of clean scans of yours, to which `noise` (by name, several allowed) is added.
    seen: train on the noisy test scans of those folders, not on other patients'.
    rescore: train nothing; measure again what the cache still holds.
    """
    device = choose_device(device)
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise SystemExit(f"There is no method {unknown[0]!r}. There are: {', '.join(METHODS)}.")
    tasks: tuple[Task, ...] = PAPER if paper else FULL if full else CORE
    if own:
        protocol: Protocol = "transductive" if seen else "inductive"
        tasks = tuple(Task(str(folder), name, protocol) for folder in own for name in noise or ("gaussian-25",))
    tasks = tuple(one for one in tasks if not task or any(part in one.name for part in task))
    names = methods or tuple(name for name, method in METHODS.items() if full or method.core)
    cells = [Cell(one, name, seconds, device) for name in names for one in tasks]
    if rescore:
        print(f"{sum(measure_again(cell, data, cache, results) for cell in cells)} cells were measured again.")
    else:
        left = [cell for cell in cells if not _done(cell, results)]
        hours = sum(cell.seconds for cell in left if METHODS[cell.method].sees != "nothing") / 3600
        print(
            f"{len(cells) - len(left)} of {len(cells)} cells are there; {hours:.1f} hours of training to go.",
            flush=True,
        )
        _fill(left, minutes, data, cache, results)
    write_report(results, docs)
    write_pictures(cache, docs)


def _fill(left: list[Cell], minutes: float | None, data: Path, cache: Path, results: Path) -> None:
    start = time.monotonic()
    for number, cell in enumerate(left):
        training = 0 if METHODS[cell.method].sees == "nothing" else cell.seconds
        if minutes and number and time.monotonic() - start + training > 60 * minutes:
            print(f"Time is up with {len(left) - number} cells to go. Run it again to go on.")
            break
        print(f"[{number + 1}/{len(left)}] {METHODS[cell.method].title} on {cell.task.name}: ", end="", flush=True)
        print(_summary(run_cell(cell, data, cache, results)), flush=True)


def run_cell(cell: Cell, data: Path, cache: Path, results: Path) -> dict[str, Any]:
    """Run a cell in a process of its own and keep its figures; what went wrong is kept, too, and tried again later."""
    try:
        folder = prepared(cell.task, data, cache)
    except (FileNotFoundError, ConfigError) as error:
        return {"failed": f"no data: {error}"}
    out = cell.outputs(cache)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    method = METHODS[cell.method]
    said = _told(cell, method, folder)
    if said is None:
        figures: dict[str, Any] = {"not_applicable": f"this task has no {SAYS[method.told]}"}
    else:
        figures = _worked(cell, folder, out, said)
    shutil.rmtree(out / "work", ignore_errors=True)
    names = {"task": cell.task.name, "method": cell.method, "key": cell.key, "machine": machine(cell.device)}
    names["commit"] = commit()
    return _keep(cell, {**names, **figures}, folder, cache, results)


def measure_again(cell: Cell, data: Path, cache: Path, results: Path) -> bool:
    """Score anew what the cache still holds of a finished cell; False if it holds nothing."""
    path = cell.path(results)
    if not _done(cell, results) or not (cell.outputs(cache) / "figures.json").exists():
        return False
    kept = (
        "task",
        "method",
        "key",
        "machine",
        "commit",
        *json.loads((cell.outputs(cache) / "figures.json").read_text()),
    )
    record = {name: value for name, value in json.loads(path.read_text()).items() if name in kept}
    _keep(cell, record, prepared(cell.task, data, cache), cache, results)
    return True


def _keep(cell: Cell, record: dict[str, Any], folder: Path, cache: Path, results: Path) -> dict[str, Any]:
    if "train_seconds" in record:
        record |= score(folder, cell.outputs(cache))
    path = cell.path(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def commit() -> str:
    """Of the code that computed a cell; empty outside a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    return found.stdout.strip() if found and found.returncode == 0 else ""


def machine(device: str) -> str:
    """Where a cell was computed."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores ({platform.machine()})"
    return f"{name}, PyTorch {torch.__version__.split('+')[0]}"


def _done(cell: Cell, results: Path) -> bool:
    path = cell.path(results)
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    return record["key"] in cell.keys and "failed" not in record


def _told(cell: Cell, method: Method, folder: Path) -> list[str] | None:
    """The worker's last arguments; None if the task has not what the method needs."""
    if method.told == "clean":
        clean = folder / "clean" / "train"
        return ["", str(clean)] if clean.exists() else None
    if method.told == "noise" and cell.task.noise is None:
        return None
    return [cell.task.noise or ""] if method.told == "noise" else []


def _worked(cell: Cell, folder: Path, out: Path, said: list[str]) -> dict[str, Any]:
    arguments = [cell.method, folder / "noisy", out, cell.seconds, cell.device, cell.task.seed, *said]
    command = [sys.executable, "-m", "benchmarks.worker", *map(str, arguments)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE * cell.seconds + GRACE, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {PATIENCE * cell.seconds + GRACE:.0f} s"}
    if ended.returncode != 0:
        return {"failed": (ended.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    return json.loads((out / "figures.json").read_text())


def _summary(record: dict[str, Any]) -> str:
    for word in ("failed", "not_applicable"):
        if word in record:
            return f"{word.replace('_', ' ')}: {record[word]}"
    values = [image["psnr_foreground"] for image in record["images"] if "psnr_foreground" in image]
    quality = f"{sum(values) / len(values):.2f} dB, " if values else ""
    return f"{quality}{record['train_seconds']:.0f} s of training, {record['seconds_per_megapixel']:.1f} s/MP"


if __name__ == "__main__":
    app()
