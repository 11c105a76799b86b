"""Disturb real `diffdenoise fit` and `denoise` at random moments, run them again, and compare with an undisturbed one.

python -m tests.faults.commands --kills 50 --seed 0

kill: SIGKILL; interrupt: SIGINT; full: a disk on which no file may grow beyond a random size (RLIMIT_FSIZE). Each is
done to both commands. The same command then goes on, is disturbed again, and at last left in peace. Afterwards the
model and every result must be those of the undisturbed run to the last byte, the originals unchanged, nothing left
over; and whoever was not killed must have said why it stopped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from diffdenoise.scans.sidecar import sha256
from tests.conftest import noisy_disks
from tests.scans.dicom_checks import changed_copy

MOST_IN_A_ROW = 5  # disturbances before the command is left in peace
SCANS = 6


@dataclass(frozen=True)
class Job:
    """A command, the folder it writes, and what of that must be the same as in an undisturbed run."""

    name: str
    command: list[str]
    output: Path
    compared: Callable[[Path], dict[str, str]]


@dataclass
class Tally:
    """What was done, and what went wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def model_of(folder: Path) -> dict[str, str]:
    """The model of a run; and that no temporary file is left in the whole run."""
    left = {name: digest for name, digest in tree(folder).items() if Path(name).name.startswith(".") or ".part" in name}
    return {"model": sha256(folder / "model.safetensors"), **left}


def make_scans(folder: Path) -> Path:
    """Noisy disks as arrays, and one DICOM series, whose result is a folder."""
    (folder / "series").mkdir(parents=True)
    for number in range(SCANS):
        np.save(folder / f"{number}.npy", noisy_disks(slices=3, rows=64, columns=64, seed=number))
    template = changed_copy(Path(str(_bundled())), folder / "series" / "0.dcm", SeriesInstanceUID="1.2.3")
    for number, image in enumerate(noisy_disks(slices=4, rows=64, columns=64, seed=99)):
        tags = {"SOPInstanceUID": f"1.2.3.{number + 1}", "InstanceNumber": number}
        pixels = (1000 * image).astype(np.int16).tobytes()
        changed_copy(template, folder / "series" / f"{number}.dcm", PixelData=pixels, **tags)
    return folder


def _bundled() -> object:
    from pydicom.data import get_testdata_file

    return get_testdata_file("MR_small.dcm", download=False)


def start(job: Job, limit: int | None = None) -> subprocess.Popen[str]:
    """The command in a process group of its own; limit: bytes to which a file may grow."""
    environment = {**os.environ, "DIFFDENOISE_CHECKPOINT_SECONDS": "0.2"}
    cap = [] if limit is None else ["prlimit", f"--fsize={limit}"]
    pipe = subprocess.PIPE
    command = [*cap, *job.command]
    return subprocess.Popen(
        command, text=True, start_new_session=True, env=environment, stdout=pipe, stderr=subprocess.STDOUT
    )


def disturb(job: Job, kind: str, seconds: float, random: np.random.Generator) -> tuple[int, str]:
    """Run the command with one disturbance: (status, what it said).

    A signal that comes while Python itself is starting cannot be answered: an interrupt waits that long.
    """
    if kind == "full":
        process = start(job, int(10 ** random.uniform(1, 5.3)))
        said, _ = process.communicate()
        return process.returncode, said
    earliest = 0.0 if kind == "kill" else starting()
    process = start(job)
    try:
        said, _ = process.communicate(timeout=float(random.uniform(earliest, max(seconds, 2 * earliest))))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL if kind == "kill" else signal.SIGINT)
        said, _ = process.communicate()
    return process.returncode, said


def starting() -> float:
    """Seconds until a command has begun, generously."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "diffdenoise", "--version"], check=True, capture_output=True)
    return 2 * (time.monotonic() - begun)


def judge(kind: str, status: int, said: str) -> str | None:
    """What is wrong with how a disturbed command ended, or None."""
    if status == 0 or (kind == "kill" and status == -signal.SIGKILL):
        return None
    if kind == "interrupt" and status == 130 and "same command again goes on" in said and "Traceback" not in said:
        return None
    if kind == "full" and status == 1 and "diffdenoise: " in said and "Traceback" not in said:
        return None
    return f"{kind}: status {status}: {said[-3000:]}"


def one_life(job: Job, kind: str, seconds: float, random: np.random.Generator, tally: Tally) -> dict[str, str]:
    """From nothing to the end, disturbed on the way; what is compared."""
    shutil.rmtree(job.output, ignore_errors=True)
    for _ in range(MOST_IN_A_ROW):
        status, said = disturb(job, kind, seconds, random)
        if fault := judge(kind, status, said):
            tally.faults.append(f"{job.name} {fault}")
        if status == 0:
            break
        tally.counts[f"{job.name} {kind}"] += 1
    process = start(job)
    said, _ = process.communicate()
    if process.returncode:
        tally.faults.append(f"{job.name} after {kind}, in peace: status {process.returncode}: {said[-3000:]}")
        return {}
    return job.compared(job.output)


def undisturbed(job: Job) -> float:
    """Seconds from nothing to the end."""
    shutil.rmtree(job.output, ignore_errors=True)
    begun = time.monotonic()
    subprocess.run(job.command, check=True, capture_output=True)
    return time.monotonic() - begun


def check(job: Job, kind: str, wanted: int, seed: int, scans: Path, tally: Tally) -> None:
    """Lives of one job until it was disturbed so often."""
    originals = tree(scans)
    seconds = 0.7 * min(undisturbed(job) for _ in range(2))  # the first one fills caches; what goes on takes less
    expected = job.compared(job.output)
    random = np.random.default_rng([seed, len(kind), len(job.name)])
    while tally.counts[f"{job.name} {kind}"] < wanted:
        got = one_life(job, kind, seconds, random, tally)
        tally.counts[f"{job.name} {kind}, runs compared"] += 1
        if got != expected:
            wrong = sorted(name for name in got | expected if got.get(name) != expected.get(name))
            tally.faults.append(f"{job.name} after {kind}: {', '.join(wrong)} differ(s)")
        if tree(scans) != originals:
            tally.faults.append(f"{job.name} after {kind}: originals changed")
        print("\n".join([*tally.faults, str(dict(tally.counts))]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each command; a third as many of the other kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=["kill", "interrupt", "full"])
    parser.add_argument("--jobs", nargs="+", default=["fit", "denoise"])
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs behind them deaf to it
    tally = Tally()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scans = make_scans(folder / "scans")
        tool = [sys.executable, "-m", "diffdenoise"]
        fit = [*tool, "fit", str(scans), "-o", str(folder / "run"), "--preset", "smoke", "--device", "cpu"]
        subprocess.run([*fit[:6], str(folder / "model"), *fit[7:]], check=True, capture_output=True)
        apply = [*tool, "denoise", str(scans), "--model", str(folder / "model"), "-o", str(folder / "out"), "--removed"]
        jobs = [
            Job("fit", fit, folder / "run", model_of),
            Job("denoise", [*apply, "--device", "cpu"], folder / "out", tree),
        ]
        for kind in given.kinds:
            for job in (job for job in jobs if job.name in given.jobs):
                check(job, kind, given.kills if kind == "kill" else given.kills // 3, given.seed, scans, tally)
    print("\n".join([*tally.faults, f"{dict(tally.counts)}, {len(tally.faults)} faults"]))
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
