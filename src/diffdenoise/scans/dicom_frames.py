"""The frames of one enhanced DICOM file: where in the patient each lies, and which of them are volumes over time."""

from __future__ import annotations

from typing import Any

from diffdenoise.scans.dicom_series import by_volume, places_along_normal

Corner = tuple[float, ...]  # ImagePositionPatient, mm


def corners(dataset: Any) -> list[Corner] | None:
    """Of the frames, as they lie in the file; None where the file does not say so for each."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    found = [_item(group, "PlanePositionSequence").get("ImagePositionPatient") for group in groups]
    return [tuple(corner) for corner in found] if found and all(found) else None


def in_order(dataset: Any) -> tuple[list[int], int]:
    """(the frames in order, counted from 0, of how many volumes): by place, and at a place by time.

    As they lie in the file where it does not say where they are, or where they are not parallel.
    """
    frames = list(range(int(dataset.get("NumberOfFrames") or 1)))
    groups, found = dataset.get("PerFrameFunctionalGroupsSequence") or [], corners(dataset)
    if found is None or len(found) != len(frames):
        return frames, 1
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    directions = [
        _item(group, "PlaneOrientationSequence") or _item(shared, "PlaneOrientationSequence") for group in groups
    ]
    places = places_along_normal([direction.get("ImageOrientationPatient") for direction in directions], found)
    if places is None:
        return frames, 1
    times = [_item(group, "FrameContentSequence").get("TemporalPositionIndex") or 0 for group in groups]
    return by_volume(sorted(frames, key=lambda frame: (places[frame], times[frame], frame)), places.__getitem__)


def _item(group: Any, keyword: str) -> Any:
    """The one item of a functional group's sequence; an empty one where there is none."""
    found = group.get(keyword)
    return found[0] if found else {}
