"""One file, read and written back: with its own pixels, and with slightly other ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.formats.views import INTENDED, View, view
from diffdenoise.errors import ScanError
from diffdenoise.scans.files import find, read_scan, write_scan
from diffdenoise.scans.formats import format_of
from diffdenoise.scans.scan import Provenance, Scan

PROVENANCE = Provenance("0", "round trip")


def check_folder(folder: Path) -> list[dict[str, Any]]:
    """A record for each image file in the folder and below, in order of names."""
    records = [check_file(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [record | {"folder": folder.name} for record in records if record is not None]


def check_file(path: Path) -> dict[str, Any] | None:
    """What became of it: {"file", "format", ...} with the outcome or the refusal; None for what is no image file."""
    found, errors = find([path])
    if not found:
        (error,) = errors
        kind = format_of(path)
        return {"file": path.name, **_head(path, kind), "refused": error.fault} if kind else None
    try:
        scan = read_scan(found[0])
    except ScanError as error:
        return {"file": path.name, **_head(path, found[0].format), "refused": error.fault}
    before = view(path, scan.format)
    with tempfile.TemporaryDirectory() as folder:
        same = _written(scan, Path(folder) / "same")
        wanted = _slightly_changed(scan, before)
        changed = _written(scan.with_pixels(wanted), Path(folder) / "changed")
        back = read_scan(find([Path(folder) / "changed"], own_results=True)[0][0]).pixels
    return {
        "file": path.name,
        "format": before.kind,
        "stored_as": before.stored_as,
        "shape": list(scan.pixels.shape),
        "volumes": scan.frames,
        "dtype": before.dtype,
        "range": [float(f"{value:.6g}") for value in (scan.pixels.min(), scan.pixels.max())],
        "becomes": same.kind,
        "same_geometry": same.geometry == before.geometry == changed.geometry,
        "same_dtype": same.dtype == before.dtype == changed.dtype,
        "same_pixels": bool(np.array_equal(same.pixels, before.pixels, equal_nan=before.pixels.dtype.kind in "fc")),
        "new_pixels": bool((np.abs(back - wanted) <= _tolerance(before, wanted)).all()),
        "changed": sorted(_differing(before, same) | _differing(before, changed)),
    }


def _written(scan: Scan, folder: Path) -> View:
    path = write_scan(scan, folder, PROVENANCE)
    return view(path, scan.format)


def _slightly_changed(scan: Scan, before: View) -> np.ndarray:
    """Three steps of what is stored, or a hundredth of the range, up and down at random; inside the range, and not onto
    the padding value, beside which a result goes.
    """
    low, high = float(scan.pixels.min()), float(scan.pixels.max())
    size = max(3 * before.step, (high - low) / 100)
    noise = size * np.random.default_rng(0).standard_normal(scan.pixels.shape)
    moved = np.clip(scan.pixels + noise, low, high).astype(np.float32)
    if before.padding is not None:
        padded = before.padding.reshape(scan.pixels.shape)
        for value in np.unique(scan.pixels[padded]):
            padded |= np.abs(moved - value) < before.step
        moved[padded] = scan.pixels[padded]
    return moved


def _tolerance(before: View, wanted: np.ndarray) -> np.ndarray:
    """Half a step, and what float32 cannot tell apart."""
    return before.step / 2 * 1.001 + 4e-7 * np.abs(wanted).max()


def _differing(before: View, after: View) -> set[str]:
    """What is not as it was, and not meant to differ; nothing can be said across formats."""
    if before.kind != after.kind:
        return set()
    keys = {key for key in before.rest.keys() | after.rest.keys() if before.rest.get(key) != after.rest.get(key)}
    return {key for key in keys if key.split(".")[-1].split("[")[0] not in INTENDED.get(before.kind, set())}


def _head(path: Path, format_: str) -> dict[str, Any]:
    """What can be said of a file that is refused."""
    if format_ != "dicom_file":
        return {"format": path.suffix.lstrip(".").upper(), "stored_as": ""}
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    syntax = header.file_meta.get("TransferSyntaxUID")
    return {"format": "DICOM", "stored_as": f"{header.get('Modality', '')} {syntax.name if syntax else ''}".strip()}
