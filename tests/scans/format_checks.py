"""The steps that most tests of formats repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffdenoise.scans.files import find, read_scan, write_scan
from diffdenoise.scans.scan import Provenance, Scan

PROVENANCE = Provenance(version="0.1.0", model="f00d", settings={"seed": 1, "sampler": "student"})
REMOVED = Provenance(version="0.1.0", model="f00d", settings={"seed": 1, "sampler": "student"}, quantity="removed")


def read(path: Path) -> Scan:
    found, errors = find([path], own_results=True)
    assert not errors
    assert len(found) == 1
    return read_scan(found[0])


def round_trip(path: Path, folder: Path, provenance: Provenance = PROVENANCE) -> Path:
    """Read and write unchanged; checks what all formats promise about pixels and the original."""
    before = path.read_bytes()
    scan = read(path)
    assert scan.pixels.dtype == np.float32
    assert scan.pixels.ndim == 3
    assert scan.pixels.flags.c_contiguous
    assert np.isfinite(scan.pixels).all()
    result = write_scan(scan, folder, provenance)
    assert path.read_bytes() == before
    return result
