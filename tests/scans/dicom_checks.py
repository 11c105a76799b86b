"""Small DICOM files for tests, made from those that pydicom carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import Tag


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


def raw(path: Path, **values: bytes | None) -> Path:
    """The file with elements of just these bytes, which need not be allowed by the standard; None deletes one."""
    for keyword, value in values.items():
        dataset = pydicom.dcmread(path)  # anew for each: pydicom encodes text once more under a new character set
        dataset.pop(keyword, None)
        if value is not None:
            tag = Tag(keyword)
            dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
        dataset.save_as(path)
    return path


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


def over_time(target: Path, places: list[tuple[int, int]]) -> Path:
    """An enhanced image whose frames lie at (place, time); the pixels of each are all 10 time + place."""
    dataset = pydicom.dcmread(bundled("MR_small.dcm"))
    frames = [np.full((64, 64), 10 * time + place, np.int16) for place, time in places]
    dataset.NumberOfFrames, dataset.PixelData = len(frames), np.stack(frames).tobytes()
    direction = Dataset()
    direction.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.SharedFunctionalGroupsSequence = [Dataset()]
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence = [direction]
    dataset.PerFrameFunctionalGroupsSequence = []
    for place, time in places:
        group, corner, content = Dataset(), Dataset(), Dataset()
        corner.ImagePositionPatient, content.TemporalPositionIndex = [-place * 1.5, 7, 8], time + 1
        group.PlanePositionSequence, group.FrameContentSequence = [corner], [content]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    dataset.save_as(target)
    return target


def modality_table(values: list[int], first: int = 0) -> Dataset:
    """An item of a Modality LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values) % 2**16, first, 16])
    item.add_new("LUTData", "US", values)
    item.ModalityLUTType = "US"
    return item


def made(target: Path, pixels: np.ndarray, **tags: Any) -> Path:
    """A classic image of these stored numbers (rows, columns), integers or floats; tags replace those it has."""
    dataset = pydicom.dcmread(bundled("MR_small.dcm"))
    for keyword in ("PixelData", "PixelPaddingValue", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 8 * pixels.itemsize
    if pixels.dtype.kind == "f":
        for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
            delattr(dataset, keyword)
        word = {4: "FloatPixelData", 8: "DoubleFloatPixelData"}[pixels.itemsize]
        setattr(dataset, word, pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    else:
        dataset.BitsStored, dataset.HighBit = dataset.BitsAllocated, dataset.BitsAllocated - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    correct_ambiguous_vr(dataset, is_little_endian=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target, enforce_file_format=True)
    return target


def no_image(target: Path, class_: str, **tags: Any) -> Path:
    """An object of another class, without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = class_, pydicom.uid.generate_uid()
    dataset.PatientName, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "Nobody", "1.2.3", "1.2.4"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    target.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(target, enforce_file_format=True)
    return target
