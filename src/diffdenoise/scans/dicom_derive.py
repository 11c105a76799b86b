"""The tags of a derived DICOM image (PS3.3 C.7.6.1.1.2-4, C.12.1.1.5): new identity, its source, how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from diffdenoise.scans.dicom_scale import groups
from diffdenoise.scans.scan import Provenance
from diffdenoise.scans.sidecar import TOOL
from diffdenoise.text import NOTICE

# quantity: (ImageType value 3 or None to keep the source's, what is added to the series number)
_QUANTITIES: dict[str, tuple[str | None, int]] = {
    "denoised": (None, 1000),
    "spread": ("SPREAD", 2000),
    "removed": ("REMOVED", 3000),
    "uncertainty": ("UNCERTAINTY", 4000),
}

# Codes of CID 7203 "Image Derivation". It has none for noise reduction by a network; "Smoothing" is the closest true
# statement (noise is lowered, detail may be), and DerivationDescription says the rest. Spread and removed parts are
# differences of two images. The list may be extended, as for uncertainty.
_DERIVATIONS = {
    "denoised": ("113087", "DCM", "Smoothing"),
    "uncertainty": ("386136009", "SCT", "Standard deviation"),
}
_DIFFERENCE = ("113062", "DCM", "Pixel by pixel subtraction")

_ALWAYS_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")

# signatures and thumbnails of other pixels, padding, and the moment the source file was made
_STALE = ("DigitalSignaturesSequence", "MACParametersSequence", "IconImageSequence", "DataSetTrailingPadding")
_SOURCE_MOMENT = ("InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID")

# of an image that was cut into several files: which part of which it is. The derived ones are images by themselves
_CONCATENATION = (
    "ConcatenationUID",
    "SOPInstanceUIDOfConcatenationSource",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
)

# how an enhanced MR image was acquired: only ORIGINAL ones may say so (type 1C in PS3.3 C.8.13.4 and C.7.6.18.2), the
# source still does
_ENHANCED_MR = ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.3")
_OF_ORIGINALS = (
    "ArterialSpinLabelingContrast",
    "BulkMotionCompensationTechnique",
    "BulkMotionSignalSource",
    "CoverageOfKSpace",
    "EchoPlanarPulseSequence",
    "EchoPulseSequence",
    "GeometryOfKSpaceTraversal",
    "MRAcquisitionType",
    "MultiPlanarExcitation",
    "MultipleSpinEcho",
    "NumberOfKSpaceTrajectories",
    "OversamplingPhase",
    "PhaseContrast",
    "PulseSequenceName",
    "RectilinearPhaseEncodeReordering",
    "SaturationRecovery",
    "SegmentedKSpaceTraversal",
    "SpectrallySelectedSuppression",
    "SteadyStatePulseSequence",
    "TimeOfFlightContrast",
)


def derive(dataset: Any, provenance: Provenance) -> None:
    """Turn the dataset of a source image, its pixels already replaced, into that of a derived image, in place.

    Patient, study, frame of reference and geometry stay. The same source, model and settings give the same UIDs.
    """
    source_class, source_series = dataset.SOPClassUID, dataset.get("SeriesInstanceUID")
    source = _source(source_class, dataset.SOPInstanceUID)
    if dataset.file_meta.TransferSyntaxUID in _ALWAYS_LOSSY:
        dataset.LossyImageCompression = "01"  # once lossy, always lossy
    _swap_words(dataset)
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = uids(dataset, provenance)
    dataset.file_meta = _file_meta(dataset)
    dataset.preamble = b"\0" * 128  # a source's may hold another file's header
    of_originals = _OF_ORIGINALS if source_class in _ENHANCED_MR else ()
    discard(dataset, (*_STALE, *_SOURCE_MOMENT, *_CONCATENATION, *of_originals))
    _describe(dataset, provenance)
    _refer(dataset, source, source_series)


def is_ours(dataset: Any) -> bool:
    """Whether the image was made by diffdenoise; only ContributingEquipmentSequence needs to be read."""
    equipment = dataset.get("ContributingEquipmentSequence") or []
    return any(item.get("Manufacturer") == TOOL for item in equipment)


def uids(source: Any, provenance: Provenance) -> tuple[str, str]:
    """Of the derived image and its series."""
    series = source.get("SeriesInstanceUID") or source.SOPInstanceUID
    # careless tools copy an image into a second series under its old UID, and give all slices of one the same
    which = f"{source.get('InstanceNumber')} {source.get('ImagePositionPatient')}"
    image = f"{series} {source.SOPInstanceUID} {which}"
    return _uid("image", image, provenance), _uid("series", series, provenance)


def series_of(source: Any, quantity: str) -> tuple[int | None, str]:
    """Number (None where the source has none, or none can be found) and description of the derived series."""
    number, offset = _series_number(source), _QUANTITIES[quantity][1]
    fits = number is not None and 0 <= number < 2**31 - 1 - offset
    ending = f" {quantity}"
    description = str(source.get("SeriesDescription") or "")[: 64 - len(ending)].rstrip()
    return number + offset if number is not None and fits else None, (description + ending).strip()


def _series_number(source: Any) -> int | None:
    try:
        return int(source.get("SeriesNumber"))
    except (TypeError, ValueError):  # there is none, or something that is no number
        return None


def sentence(provenance: Provenance) -> str:
    """For DerivationDescription."""
    strength = f", strength {provenance.settings['strength']:g}" if "strength" in provenance.settings else ""
    text = f"{provenance.quantity} by diffdenoise {provenance.version}, model {provenance.model}{strength}. {NOTICE}."
    return text[:1024]


def equipment(provenance: Provenance) -> Any:
    """An item of ContributingEquipmentSequence: this software."""
    from pydicom import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code("109103", "DCM", "Modifying Equipment")]
    item.Manufacturer = item.ManufacturerModelName = TOOL
    item.SoftwareVersions = provenance.version[:64]
    item.ContributionDescription = NOTICE
    return item


def _uid(of: str, source: str, provenance: Provenance) -> str:
    from pydicom.uid import generate_uid

    settings = json.dumps(provenance.settings, sort_keys=True, default=str)
    sources = [of, str(source), provenance.version, provenance.model, settings, provenance.quantity]
    return generate_uid(entropy_srcs=sources)


def _file_meta(dataset: Any) -> Any:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # counted on writing
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    return meta


def _swap_words(dataset: Any) -> None:
    # pydicom rewrites numbers in the new byte order, but takes words in bulk (overlays, tables) as plain bytes
    _, little = dataset.original_encoding
    if little is not False:
        return

    def swap(_: Any, element: Any) -> None:
        if element.VR == "OW" and element.tag != 0x7FE00010 and element.value:
            words = bytes(element.value)
            element.value = b"".join(words[i : i + 2][::-1] for i in range(0, len(words), 2))

    dataset.walk(swap)


def _describe(dataset: Any, provenance: Provenance) -> None:
    word, _ = _QUANTITIES[provenance.quantity]
    dataset.ImageType = _image_type(dataset.get("ImageType"), word, _is_enhanced(dataset))
    for group in _frame_types(dataset):
        group.FrameType = _image_type(group.FrameType, word, True)
    number, dataset.SeriesDescription = series_of(dataset, provenance.quantity)
    if number is not None:
        dataset.SeriesNumber = number
    dataset.DerivationDescription = sentence(provenance)
    dataset.DerivationCodeSequence = [_code(*_DERIVATIONS.get(provenance.quantity, _DIFFERENCE))]
    dataset.ContributingEquipmentSequence = [
        *(dataset.get("ContributingEquipmentSequence") or []),
        equipment(provenance),
    ]


def _image_type(values: Any, word: str | None, enhanced: bool) -> list[str]:
    # value 2 stays: a denoised PRIMARY image still stands for the patient's examination; a map of what was removed
    # is made from images, so SECONDARY, which enhanced images may not be called
    kept = [] if not values else [values] if isinstance(values, str) else [str(value) for value in values]
    if word is None:
        return ["DERIVED", *(kept[1:] or ["SECONDARY"])]
    return ["DERIVED", kept[1] if enhanced and len(kept) > 1 else "SECONDARY", word, *kept[3:]]


def _is_enhanced(dataset: Any) -> bool:
    """Whether it has functional groups, which repeat ImageType for each frame: the two must say the same."""
    return bool(groups(dataset))


def _frame_types(dataset: Any) -> list[Any]:
    """The items of an enhanced image that repeat ImageType for each frame (such as MRImageFrameTypeSequence)."""
    sequences = [element.value for group in groups(dataset) for element in group if element.VR == "SQ"]
    return [item for items in sequences for item in items if item.get("FrameType")]


def _refer(dataset: Any, source: Any, series: str | None) -> None:
    """To the source image; of an enhanced one in each frame to the frame that it comes from (PS3.3 C.7.6.16.2.6)."""
    dataset.SourceImageSequence = [source]
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for number, group in enumerate(frames, start=1):
        group.DerivationImageSequence = [_derivation(dataset, _frame_of(source, number))]
    for group in dataset.get("SharedFunctionalGroupsSequence") or []:
        discard(group, ["DerivationImageSequence"])  # not in both
    if frames and series:
        dataset.SourceImageEvidenceSequence = [_evidence(dataset.get("StudyInstanceUID"), series, source)]


def _source(source_class: str, source_instance: str) -> Any:
    from pydicom import Dataset

    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = source_class, source_instance
    source.PurposeOfReferenceCodeSequence = [_code("121322", "DCM", "Source image for image processing operation")]
    return source


def _frame_of(source: Any, number: int) -> Any:
    frame = deepcopy(source)
    frame.ReferencedFrameNumber = number
    return frame


def _evidence(study: str | None, series: str, source: Any) -> Any:
    """An item of SourceImageEvidenceSequence: where among the patient's images the source is."""
    from pydicom import Dataset

    item, of_series, image = Dataset(), Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = (
        source.ReferencedSOPClassUID,
        source.ReferencedSOPInstanceUID,
    )
    of_series.SeriesInstanceUID, of_series.ReferencedSOPSequence = series, [image]
    item.StudyInstanceUID, item.ReferencedSeriesSequence = study, [of_series]
    return item


def _derivation(dataset: Any, source: Any) -> Any:
    """An item of DerivationImageSequence: what the image says as a whole, for a frame."""
    from pydicom import Dataset

    item = Dataset()
    item.DerivationDescription = dataset.DerivationDescription
    item.DerivationCodeSequence = dataset.DerivationCodeSequence
    item.SourceImageSequence = [source]
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    from pydicom import Dataset

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def discard(item: Any, keywords: Iterable[str]) -> None:
    """Delete those of these elements that a data set has."""
    for keyword in keywords:
        if keyword in item:
            delattr(item, keyword)
