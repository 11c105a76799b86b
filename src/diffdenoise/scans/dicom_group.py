"""Which of the DICOM files in a folder are slices of one scan, which are copies, and which may be slices of none.

Keys and directions of each are of `dicom_series`, from headers alone; reading says what is wrong with the pixels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.scans import dicom_series

_COPY = "is a copy of an image of its series (the same SOP Instance UID, number and place)"


class _Slices(NamedTuple):
    """Of a series: the direction of the first one, and each by what its copies share."""

    direction: tuple[float, ...]
    paths: dict[tuple[object, ...], Path]


def scans_among(paths: Iterable[Path], errors: list[ScanError]) -> list[list[Path]]:
    """The files of each scan among DICOM files, in their order; what is said of copies of a slice goes to `errors`."""
    series: dict[tuple[object, ...], list[_Slices]] = {}
    all_slices: list[_Slices] = []
    headers = [(path, keys) for path in paths if (keys := dicom_series.keys_of(path))]
    for path, keys in sorted(headers, key=lambda header: not header[1].direction):  # whose direction is unknown: last
        alike = series.setdefault(keys.series, [])
        slices = next((it for it in alike if dicom_series.is_along(keys.direction, it.direction)), None)
        if slices is None and not keys.direction and len(alike) == 1:
            (slices,) = alike
        if slices is None:
            alike.append(slices := _Slices(keys.direction, {}))
            all_slices.append(slices)
        first = slices.paths.get(keys.copy, path)
        cut_off = first.stat().st_size < path.stat().st_size  # as by a transfer that was given up and repeated
        slices.paths[keys.copy] = path if cut_off else first
        if first != path:
            errors.append(_doubled(*((path, first) if cut_off else (first, path))))
    _join_broken([path for path, keys in headers if keys.broken], all_slices)
    return [list(slices.paths.values()) for slices in all_slices]


def emptied_slices(files: Iterable[Path], kinds: Mapping[Path, str]) -> list[Path]:
    """Empty files without a suffix that are called as DICOM files beside them are, but for their numbers."""
    slices = {_called(path) for path, kind in kinds.items() if kind == "dicom_file"}
    unknown = (path for path in files if path not in kinds and _called(path) in slices)
    return [path for path in unknown if os.path.isfile(path) and path.stat().st_size == 0]  # noqa: PTH113 - no rights: no


def _join_broken(broken: Iterable[Path], all_slices: list[_Slices]) -> None:
    """Put a file that does not tell what it is a slice of into the only series in its folder that is called alike.

    That cannot be read then, and the file is named: without it the series would pass for the whole.
    """
    for path in broken:
        called = _called(path)
        there = [it for it in all_slices if len(it.paths) > 1 and called in map(_called, it.paths.values())]
        own = next(it for it in all_slices if path in it.paths.values())
        if len(there) == 1:
            all_slices.remove(own)
            there[0].paths["broken", path] = path


def _called(path: Path) -> tuple[Path, str]:
    """Its folder, and its name but for numbers, which slices of a series have in common."""
    return path.parent, re.sub(r"\d+", "0", path.name)


def _doubled(taken: Path, left: Path) -> ScanError:
    """What to say of an image that there is already: left alone if it is the same one, else an error."""
    if _differ(taken, left):
        fault = f"has the SOP Instance UID, number and place of {taken}, but other pixels"
        return ScanError(left, fault, "Give it a UID of its own, or leave it out.")
    return LeftAlone(left, _COPY, "The longest copy is taken, the first of these by name.")


def _differ(path: Path, other: Path) -> bool:
    """Whether files that pass for copies of one image hold two; one that is cut off or broken holds no other."""
    import pydicom

    with dicom_series.quiet():
        try:
            one, two = (pydicom.dcmread(file, force=True) for file in (path, other))
            if "PixelData" in one and one.PixelData == two.get("PixelData"):
                return False
            return not np.array_equal(one.pixel_array, two.pixel_array)  # packed in other ways they may be equal yet
        except Exception:
            return False
