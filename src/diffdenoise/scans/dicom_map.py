"""Maps of numbers beside a DICOM series, as a Parametric Map (PS3.3 A.75): floats, in one multi-frame file.

It refers to the source image of each frame, and says what its numbers mean and in which unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffdenoise.scans import dicom_derive, dicom_frames
from diffdenoise.scans.dicom_scale import in_hounsfield
from diffdenoise.scans.scan import Provenance
from diffdenoise.scans.sidecar import TOOL

MEANINGS = {
    "uncertainty": "Standard deviation of the error of the denoised image",
    "spread": "Half the difference of two samples, RMS over the pairs",
}
_NEEDED = ("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")  # of a classic image
_MAY_BE_EMPTY = (  # type 2 of patient and study
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)
_DATED = ("Content", "Study", "Series", "Acquisition", "InstanceCreation")  # dates and times, the best first
_CLASS = "1.2.840.10008.5.1.4.1.1.30"  # Parametric Map Storage


def is_possible(datasets: Sequence[Any]) -> bool:
    """Whether a map can be one: its sources lie in a patient's space, each place once, in parallel."""
    if any(dataset.SOPClassUID == _CLASS or not all(map(dataset.get, _NEEDED)) for dataset in datasets):
        return False
    places = _places(datasets[0]) if len(datasets) == 1 else None
    if places is None:
        if not all(
            dataset.get("NumberOfFrames", 1) in (None, 1) and all(map(dataset.get, _PLACE)) for dataset in datasets
        ):
            return False
        if any(dataset.ImageOrientationPatient != datasets[0].ImageOrientationPatient for dataset in datasets):
            return False
        places = [tuple(dataset.ImagePositionPatient) for dataset in datasets]
    return len(set(places)) == len(places)


def parametric_map(datasets: Sequence[Any], pixels: np.ndarray, provenance: Provenance) -> Any:
    """The dataset of a map (frames, rows, columns), a frame for each source image or frame.

    The same source, model and settings give the same bytes, if the source has a date and a time. Of the first dataset
    what highdicom refuses is mended. It raises almost any exception where a header breaks the standard in other ways.
    """
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    _mend(datasets[0])
    character_set = datasets[0].get("SpecificCharacterSet")
    datasets[0].pop("SpecificCharacterSet", None)  # highdicom knows some only; text is decoded and encoded by pydicom
    first, top = datasets[0], float(pixels.max()) or 1.0
    meaning = highdicom.pm.RealWorldValueMapping(
        provenance.quantity[:16], MEANINGS[provenance.quantity], _unit(first), (float(pixels.min()), top), 1.0, 0.0
    )
    image, series = dicom_derive.uids(first, provenance)
    number, description = dicom_derive.series_of(first, provenance.quantity)
    dataset = highdicom.pm.ParametricMap(
        datasets,
        pixels.astype(np.float32),
        series,
        number or 1,
        image,
        1,
        TOOL,
        TOOL,
        provenance.version[:64],
        "0",
        contains_recognizable_visual_features=True,  # a head may be known by the map of its edges
        real_world_value_mappings=[meaning],
        voi_lut_transformations=[highdicom.VOILUTTransformation(top / 2, top, voi_lut_function="LINEAR_EXACT")],
        content_description=MEANINGS[provenance.quantity][:64],
        content_label=provenance.quantity.upper()[:16],
        derivation=codes.SCT.StandardDeviation,
        series_description=description,
    )
    if character_set:
        dataset.SpecificCharacterSet = character_set
    dataset.DerivationDescription = dicom_derive.sentence(provenance)
    dataset.ContributingEquipmentSequence = [dicom_derive.equipment(provenance)]
    dataset.Laterality = first.get("Laterality") or ""
    for kind in ("Date", "Time"):
        setattr(dataset, f"Content{kind}", _when(first, kind) or dataset.get(f"Content{kind}"))
    dicom_derive.discard(dataset, ("InstanceCreationDate", "InstanceCreationTime"))
    organisation = generate_uid(entropy_srcs=["dimensions", str(image)])
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = organisation
    return dataset


def _when(dataset: Any, kind: str) -> Any:
    """The date or time of the source, or None: that of today would differ in a map that is made again.

    A map must have one, so where the source has none at all it keeps that of today.
    """
    return next((said for name in _DATED if (said := dataset.get(f"{name}{kind}"))), None)


def _mend(dataset: Any) -> None:
    """Blank or put right what archives are full of, but highdicom refuses; in the source it stands as it did."""
    from pydicom.valuerep import DA, TM

    for keyword in (*_MAY_BE_EMPTY, "SliceThickness"):  # left out, by anonymisers among others
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    allowed: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("PatientBirthDate", "StudyDate"), DA),
        **dict.fromkeys(("SliceThickness", "SpacingBetweenSlices"), float),
        "StudyTime": TM,
        "PatientSex": ("M", "F", "O").index,
    }
    for keyword, check in allowed.items():
        try:
            if dataset.get(keyword) not in (None, ""):
                check(dataset.get(keyword))
        except (TypeError, ValueError):
            setattr(dataset, keyword, None)
    if dataset.get("SpacingBetweenSlices", 0) is None:
        del dataset.SpacingBetweenSlices


def _places(dataset: Any) -> list[tuple[float, ...]] | None:
    """Of the frames of an enhanced image; None for a classic one, or where orientation or spacing differ or lack."""
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    if not all(name in shared for name in ("PlaneOrientationSequence", "PixelMeasuresSequence")):
        return None
    return dicom_frames.corners(dataset)


def _unit(dataset: Any) -> Any:
    from pydicom.sr.codedict import codes

    if in_hounsfield(dataset):
        return codes.UCUM.HounsfieldUnit
    if dataset.get("Units") == "BQML":
        return codes.UCUM.BecquerelsPerMilliliter
    return codes.UCUM.NoUnits
