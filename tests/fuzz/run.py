"""Damage small files of every format and read them: each must give a scan or a ScanError, in little time and memory.

python -m tests.fuzz.run --minutes 30 --seed 0 --findings FOLDER

Input number n of a seed is always the same. Findings (another error, a crash, too much memory, no answer in time) are
kept in FOLDER, beside a text that says what happened.
"""

from __future__ import annotations

import argparse
import json
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.fuzz.mutate import mutated
from tests.fuzz.whole import Whole, whole_files

SECONDS = 60  # for one input, generous, for other work may share the processor
PEAK = 1_500_000_000  # bytes in use
FRESH = 2000  # inputs after which the reader is started anew


class Reader:
    """A process that reads what it is told; another one takes its place if it dies."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.read = 0

    def ask(self, path: Path) -> dict[str, Any]:
        process = self._process()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], SECONDS)
        line = process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.stop()
        return {"kind": "died" if ready else "hung", "text": f"status {process.returncode}", "peak": 0}

    def _process(self) -> subprocess.Popen[str]:
        if self.process is None or self.read >= FRESH:
            self.stop()
            command = [sys.executable, "-m", "tests.fuzz.read_one"]
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process, self.read = subprocess.Popen(command, text=True, **streams), 0  # type: ignore[call-overload]
            assert self.process.stdout.readline() == "ready\n"  # starting is not part of an input's time
        self.read += 1
        return self.process

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def put(whole: Whole, content: bytes, folder: Path) -> Path:
    """A damaged file, and what lies beside it."""
    for name, other in whole.beside.items():
        (folder / name).write_bytes(other)
    path = folder / whole.name
    path.write_bytes(content)
    return path


def keep(findings: Path, number: str, whole: Whole, content: bytes, said: dict[str, Any]) -> None:
    place = findings / number
    place.mkdir(parents=True, exist_ok=True)
    put(whole, content, place)
    (place / "finding.txt").write_text(f"{said['kind']}\n{said['text']}\n")


def fuzz(seed: int, seconds: float, findings: Path, first: int = 0, most: int = 10**9, only: str = "") -> Counter[str]:
    """How often each kind of answer was given; ends after so many seconds, or inputs."""
    counts: Counter[str] = Counter()
    files = [whole for whole in whole_files() if only in whole.name]
    reader, number, end = Reader(), first, time.monotonic() + seconds
    with TemporaryDirectory() as folder:
        while time.monotonic() < end and number < first + most:
            random = np.random.default_rng([seed, number])
            whole = files[number % len(files)]
            content = mutated(whole.content, whole.suffix, random)
            said = reader.ask(put(whole, content, Path(folder)))
            if said["peak"] > PEAK and said["kind"] in ("scan", "refused"):
                said["kind"] = "greedy"
                reader.stop()
            counts[said["kind"]] += 1
            if said["kind"] not in ("scan", "refused"):
                keep(findings, f"{seed}-{number}", whole, content, said)
            number += 1
            if number % 1000 == 0:
                print(number, dict(counts), flush=True)
    reader.stop()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", default="", help="part of the names of the files to damage")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    given = parser.parse_args()
    counts = fuzz(given.seed, 60 * given.minutes, given.findings, given.first, only=given.only)
    print(f"{counts.total()} inputs:", ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    sys.exit(0 if set(counts) <= {"scan", "refused"} else 1)


if __name__ == "__main__":
    main()
