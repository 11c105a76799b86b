"""Which DICOM objects are no greyscale images to denoise, though they lie among them: told from the header alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffdenoise.errors import DISC_LIST, OWN_RESULT, DiscList, OtherKind, OwnResult
from diffdenoise.scans.dicom_derive import is_ours
from diffdenoise.scans.dicom_series import DICOMDIR, header_of, parts_of, quiet, words_of
from diffdenoise.scans.stored import reading

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_STANDARD = "1.2.840.10008."
_UNUSUAL = ("Parametric Map Storage", "Enhanced US Volume Storage")  # images by other names
_OF_TEXT = {"SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "DOSE INFO", "DOSE_INFO", "CT_SOM5 PROT"}  # words of ImageType
_REMEDY = "Leave it out, or denoise the original image it belongs to."


def check_kind(path: Path) -> None:
    """OtherKind for what its header calls no image, or ours already; ScanError for what cannot be parsed."""
    with reading(path, "DICOM"), quiet():
        header = header_of(path)
        listing, fault, ours = is_list(header), other_kind(header), is_ours(header)
    if listing:
        raise DiscList(path, *DISC_LIST)
    if fault:
        raise OtherKind(path, fault, _REMEDY)
    if ours:
        raise OwnResult(path, *OWN_RESULT)


def is_list(header: Any) -> bool:
    """Whether it is the list of what lies on a disc."""
    return class_of(header) == DICOMDIR


def other_kind(header: Any) -> str | None:
    """What this object is instead of a greyscale image, as a fault to tell, or None."""
    return _of_class(header) or _of_picture(header)


def has_phase_frames(dataset: Any) -> bool:
    """Whether some frames of several are phase images, as where the whole is called MIXED."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    kinds = [kind for group in groups for kind in group.get("MRImageFrameTypeSequence") or []]
    return any(kind.get("ComplexImageComponent") == "PHASE" or "P" in words_of(kind.get("FrameType")) for kind in kinds)


def class_of(header: Any) -> str:
    """Its SOP class; anonymisers blank it, but forget the file's head."""
    meta = getattr(header, "file_meta", None) or {}
    return str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def _of_class(header: Any) -> str | None:
    """The standard calls all classes of images so, but for a few."""
    from pydicom.uid import UID

    class_ = UID(class_of(header))
    if not class_.startswith(_STANDARD):
        return "is a private object without pixels" if class_.is_valid and header.get("Rows") is None else None
    name = class_.name
    if name == class_ or "Image Storage" in name or name in _UNUSUAL:
        return None
    return f"is no image, but a DICOM object of another kind ({name.removesuffix(' Storage')})"


def _of_picture(header: Any) -> str | None:
    photometric = header.get("PhotometricInterpretation") or "MONOCHROME2"
    words = {str(word).upper() for word in words_of(header.get("ImageType"))}
    wrapped = header.get("Modality") == "MR" and "P" in parts_of(header)
    secondary = class_of(header).startswith(_SECONDARY_CAPTURE)
    reasons = {
        f"is a colour image ({photometric})": photometric not in ("MONOCHROME1", "MONOCHROME2"),
        "is a mask of one bit a pixel, not an image": header.get("BitsAllocated") == 1,
        "is a localizer (scout) image": "LOCALIZER" in words,
        "is a phase image, whose values wrap around": wrapped or header.get("ComplexImageComponent") == "PHASE",
        "is a secondary capture with text burned into its pixels": (
            secondary and (header.get("BurnedInAnnotation") == "YES" or bool(words & _OF_TEXT))
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
