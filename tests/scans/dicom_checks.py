"""Small DICOM files for tests, made from those that pydicom carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.filewriter import correct_ambiguous_vr


def bundled(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def changed_copy(path: Path, target: Path, **tags: Any) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
        if keyword == "SOPInstanceUID":
            dataset.file_meta.MediaStorageSOPInstanceUID = value
    correct_ambiguous_vr(dataset, is_little_endian=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target)
    return target


def series(folder: Path, positions: dict[str, int], **tags: Any) -> Path:
    """Files of one series; each at a position along an oblique normal, its pixels all equal to that position."""
    for name, position in positions.items():
        pixels = np.full((64, 64), position, np.int16)
        changed_copy(
            bundled("MR_small.dcm"),
            folder / name,
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],  # normal along -x
            ImagePositionPatient=[-position * 1.5, 7, 8],
            SOPInstanceUID=f"1.2.3.{position + 1}",
            InstanceNumber=1000 - position,
            PixelData=pixels.tobytes(),
            **tags,
        )
    return folder


def multi_frame(target: Path) -> Path:
    """An enhanced image of two frames: slope 2 for both, intercepts 10 and 20 in each frame's own group."""
    dataset = pydicom.dcmread(bundled("MR_small.dcm"))
    frames = np.stack([dataset.pixel_array, dataset.pixel_array + 1])
    dataset.NumberOfFrames, dataset.PixelData = 2, frames.tobytes()
    dataset.SharedFunctionalGroupsSequence = [Dataset()]
    dataset.PerFrameFunctionalGroupsSequence = []
    for intercept in ("10", "20"):
        group, transformation, kind = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = "2", intercept
        kind.FrameType = ["ORIGINAL", "PRIMARY", "M"]
        group.PixelValueTransformationSequence, group.MRImageFrameTypeSequence = [transformation], [kind]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    dataset.save_as(target)
    return target


def modality_table() -> Dataset:
    item = Dataset()
    item.ModalityLUTType = "US"
    return item
