"""Reads inputs one after the other, in a process with little memory.

python -m tests.bad_inputs.read_all; in: lines of JSON, [path, what must hold]. Out: of each a line of JSON with path,
seconds of processor, and `error` (its kind and text) or `holds`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

ADDRESS_SPACE = 3_000_000_000  # bytes; the libraries alone take one


def read(path: Path, holds: str) -> dict[str, Any]:
    import numpy as np

    from diffdenoise.scans.files import find, read_scan

    found, errors = find([path])
    if errors:
        raise errors[0]
    (one,) = found
    pixels = read_scan(one).pixels
    finite = bool(np.isfinite(pixels).all()) and pixels.dtype == np.float32
    return {"holds": finite and bool(eval(holds)) if holds else finite}


def outcome(path: Path, holds: str) -> dict[str, Any]:
    begun = time.process_time()
    try:
        result = read(path, holds)
    except Exception as error:  # whatever it is: the test judges
        result = {"error": type(error).__name__, "text": str(error)}
    return {"path": str(path), **result, "seconds": time.process_time() - begun}


def main(lines: list[str]) -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    for line in lines:
        path, holds = json.loads(line)
        print(json.dumps(outcome(Path(path), holds)), flush=True)
    print(json.dumps({"path": "peak", "bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


if __name__ == "__main__":
    main(sys.stdin.read().splitlines())
