"""Reads the scans named on standard input, one a line, with little memory; answers each with a line of JSON."""

from __future__ import annotations

import json
import logging
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path

from diffdenoise.errors import ScanError
from diffdenoise.scans.files import find, read_scan, write_scan
from tests.scans.format_checks import PROVENANCE

ADDRESS_SPACE = 12_000_000_000  # bytes; some libraries reserve (not use) what a header of 32 bits claims


def answer(path: Path) -> dict[str, str | int]:
    """kind: "scan" and "refused" are what is wished for, anything else is a finding."""
    try:
        kind, text = read(path)
    except ScanError as error:
        kind, text = ("refused" if path.name in str(error) else "unclear"), str(error)
    except BaseException:  # that it happens at all is the finding
        kind, text = "crash", traceback.format_exc()
    return {"kind": kind, "text": text, "peak": peak()}


def peak() -> int:
    """Most bytes that this program had in use; getrusage would count those of the process that started it, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])


def read(path: Path) -> tuple[str, str]:
    """Read it, and write it again as it is."""
    import numpy as np

    found, errors = find([path])
    if errors:
        raise errors[0]
    scan = read_scan(found[0])
    good = np.isfinite(scan.pixels).all() and scan.pixels.ndim == 3 and scan.pixels.size
    if not good:
        return "strange", f"pixels of shape {scan.pixels.shape}"
    out = path.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    write_scan(scan, out, PROVENANCE)
    return "scan", ""


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(Path(line.rstrip("\n")))), flush=True)


if __name__ == "__main__":
    main()
