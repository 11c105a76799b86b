"""BIDS data sets: the names, sidecars and companions of derivatives (bids-specification.readthedocs.io).

A NIfTI file with a BIDS name, somewhere below a dataset_description.json, gives a result with a BIDS name:
sub-01/anat/sub-01_T1w.nii.gz becomes sub-01/anat/sub-01_desc-denoised_T1w.nii.gz.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffdenoise.errors import OtherKind, ScanError
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.scans.scan import MAPS

DESCRIPTION = "dataset_description.json"
COMPANIONS = (".bval", ".bvec")  # of a diffusion series: they are about its volumes, which stay

BESIDE = "belongs to the data set, but is no part of it (BIDS)"

_VERSION = "1.10.0"  # of the specification
_NAME = re.compile(
    r"(?P<entities>sub-[a-zA-Z0-9+]+(?:_[a-z]+-[a-zA-Z0-9+]+)*)_(?P<suffix>[a-zA-Z0-9]+)(?P<ending>\.nii(?:\.gz)?)"
)
_OURS = re.compile(
    rf"^sub-.*_desc-[a-zA-Z0-9+]*({'|'.join(['denoised', *MAPS])})_[a-zA-Z0-9]+\.nii(\.gz)?$", re.IGNORECASE
)

_OTHERS = dict.fromkeys(("mask", "defacemask", "dseg", "probseg"), "a mask or a segmentation")
_OTHERS |= dict.fromkeys(("phase", "phase1", "phase2", "phasediff"), "a phase image, whose values wrap around")
_OTHERS |= {"fieldmap": "a map of the field, not an image"}


def place_of(source: Path) -> str | None:
    """The path of a file with a BIDS name relative to its data set, or None where it is no part of one."""
    root = root_of(source) if _NAME.fullmatch(source.name) else None
    return None if root is None else source.absolute().relative_to(root).as_posix()


def suffix_of(source: Path) -> str:
    """What a file of a data set is by its BIDS name, such as T1w or bold; empty where it does not say."""
    match = _NAME.fullmatch(source.name)
    return match["suffix"] if match and root_of(source) else ""


def check_kind(source: Path) -> None:
    """OtherKind for what its BIDS name calls a mask or a phase, or the JSON file that dcm2niix puts beside it."""
    if _says_phase(source):
        raise OtherKind(source, "is a phase image, as its JSON file says", "Denoise the magnitude it belongs to.")
    match = _NAME.fullmatch(source.name)
    if match is None or root_of(source) is None:
        return
    kind = _OTHERS.get(match["suffix"]) or ("a phase image" if "_part-phase" in match["entities"] else None)
    if kind:
        raise OtherKind(source, f"is {kind}, as its BIDS name says", "Denoise the image it belongs to.")


def modality_of(source: Path) -> str:
    """That of DICOM, as the JSON file says that dcm2niix puts beside a NIfTI file; empty where none says so."""
    return str(_beside(source).get("Modality", ""))


def _says_phase(source: Path) -> bool:
    about = _beside(source)
    said = about.get("ImageType")
    words = {str(word).upper() for word in said} if isinstance(said, list) else set()
    return about.get("Modality", "MR") == "MR" and not words.isdisjoint({"P", "PHASE"})


def _beside(source: Path) -> dict[str, Any]:
    """What a JSON file of the same name says about a NIfTI file; empty without one."""
    beside = source.with_name(f"{stem_of(source.name)}.json")
    if beside.name == source.name or not source.name.endswith((".nii", ".nii.gz")) or not beside.is_file():
        return {}
    try:
        return _load(beside)
    except ScanError:  # it may be about anything
        return {}


def beside_the_data(folder: Path, names: Sequence[str]) -> list[str]:
    """Of a data set's folders those that hold what was made of it, or what it was made of: the same images again."""
    return [name for name in names if name in ("derivatives", "sourcedata") and (folder / DESCRIPTION).is_file()]


def root_of(source: Path) -> Path | None:
    """The nearest folder above that says it is a data set; links are not followed, as data sets may consist of them."""
    return next((folder for folder in source.absolute().parents if (folder / DESCRIPTION).is_file()), None)


def derived_name(source: Path, name: str, quantity: str) -> str | None:
    """``sub-01_desc-denoised_T1w.nii.gz`` for ``sub-01_T1w.nii.gz``; a description that is there stays in front.

    None where the source is no part of a data set, or the name is no BIDS name.
    """
    match = _NAME.fullmatch(name)
    if match is None or place_of(source) is None:
        return None
    entities, _, before = match["entities"].partition("_desc-")
    if before.lower().endswith("denoised") and quantity == "denoised":
        return name
    description = before + quantity.capitalize() if before else quantity
    return f"{entities}_desc-{description}_{match['suffix']}{match['ending']}"


def ours(name: str) -> bool:
    """Whether a file of this name may be a derivative of ours."""
    return bool(_OURS.search(name))


def stem_of(name: str) -> str:
    """Without the ending that sidecars and companions replace by their own."""
    return re.sub(r"\.nii(\.gz)?$", "", name)


def is_derivative(source: Path, result: Path) -> bool:
    """Whether a result gets what a BIDS derivative needs."""
    return ours(result.name) and place_of(source) is not None


def metadata_of(source: Path) -> dict[str, Any]:
    """What JSON files of the data set say about a file: the nearer ones count more (the inheritance principle).

    Raises ScanError where one of them cannot be read.
    """
    merged: dict[str, Any] = {}
    for path in _applying(source, ".json"):
        merged |= _load(path)
    return merged


def check_readable(folder: Path, source: Path) -> None:
    """ScanError where something cannot be read that a derivative in this folder takes from its data set."""
    metadata_of(source)
    for ending in COMPANIONS:
        for path in _applying(source, ending)[-1:]:
            if not path.exists():
                raise ScanError(path, "is not there: a link leads to nowhere", "Fetch it, or delete the link.")
    if not (folder / DESCRIPTION).exists():
        _description_of(source)


def companions(source: Path, result: Path, quantity: str) -> dict[Path, Path]:
    """Files to copy beside a denoised derivative, under its name: {where to: where from}."""
    if quantity != "denoised" or not is_derivative(source, result):
        return {}
    applying = {ending: _applying(source, ending) for ending in COMPANIONS}
    stem = stem_of(result.name)
    return {result.with_name(stem + ending): paths[-1] for ending, paths in applying.items() if paths}


def describe(folder: Path, source: Path, version: str) -> None:
    """Make the folder a derivative data set; one that has a description already keeps it."""
    if (folder / DESCRIPTION).exists():
        return
    of_source = _description_of(source)
    title = of_source.get("Name")
    description = {
        "Name": f"{title}, denoised" if title else "Denoised images",
        "BIDSVersion": of_source.get("BIDSVersion", _VERSION),
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "diffdenoise", "Version": version}],
    }
    with atomic_file(folder / DESCRIPTION) as temporary:
        temporary.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _description_of(source: Path) -> dict[str, Any]:
    """What the data set of a file says of itself."""
    root = root_of(source)
    return _load(root / DESCRIPTION) if root else {}


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
    except (OSError, ValueError, RecursionError) as error:
        remedy = "Mend it (JSON, in UTF-8): it describes the images."
        raise ScanError(path, f"cannot be read as JSON ({error})", remedy) from error
    if not isinstance(content, dict):
        raise ScanError(path, "holds no JSON object", "Mend it: it describes the images.")
    return content


def _applying(source: Path, ending: str) -> list[Path]:
    """Files of this ending that are about a source, from the data set's root down to the file's folder."""
    root = root_of(source)
    if root is None:
        return []
    folders = [folder for folder in reversed(source.absolute().parents) if folder == root or root in folder.parents]
    wanted = _parts(stem_of(source.name))
    found = [path for folder in folders for path in sorted(folder.glob(f"*{ending}"))]
    applying = [path for path in found if _applies(_parts(path.name.removesuffix(ending)), wanted)]
    return sorted(applying, key=lambda path: (len(path.parts), len(_parts(path.name.removesuffix(ending))[0])))


def _parts(stem: str) -> tuple[set[str], str]:
    *entities, suffix = stem.split("_")
    return set(entities), suffix


def _applies(of_file: tuple[set[str], str], wanted: tuple[set[str], str]) -> bool:
    return of_file[1] == wanted[1] and of_file[0] <= wanted[0]
