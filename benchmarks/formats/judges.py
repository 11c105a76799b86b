"""Others' programs, asked about derived DICOM images: is each as sound as its original, and in the same place?

A judge says of an original and its result: None where it cannot read the original, else what it objects to ("" for
nothing).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

Verdict = str | None


@dataclass(frozen=True)
class Judge:
    """question: what it is asked; version: its own, or None where it is not installed; ask: (original, result)."""

    question: str
    version: Callable[[], str | None]
    ask: Callable[[Path, Path], Verdict]


_UNREADABLE = ("Information Object Not found", "Dicom dataset read failed")
_REFERENCE = "SourceImageSequence(0008,2112)[1]/ReferencedSOPInstanceUID(0008,1155)"


def _dciodvfy(original: Path, result: Path) -> Verdict:
    before, after = (_said("dciodvfy", "-new", str(path)) for path in (original, result))
    if any(words in before for words in _UNREADABLE):
        return None
    # a fault of the original's identifier is the original's, also where the result refers to it
    return "; ".join(sorted(_errors(after.replace(_REFERENCE, "SOPInstanceUID(0008,0018)")) - _errors(before)))


def _errors(said: str) -> set[str]:
    return {line.strip() for line in said.splitlines() if line.startswith("Error")}


def _dcmdump(original: Path, result: Path) -> Verdict:
    before, after = (set(_complaints(_said("dcmdump", "+E", str(path)))) for path in (original, result))
    return "; ".join(sorted(after - before))


def _complaints(said: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if line.startswith(("E:", "F:"))]


def _dcm2niix(original: Path, result: Path) -> Verdict:
    before, after = _converted(original), _converted(result)
    if not before:
        return None
    same = len(before) == len(after) and all(
        one[0] == two[0] and np.allclose(one[1], two[1], atol=1e-3) for one, two in zip(before, after, strict=True)
    )
    return "" if same else f"shapes {[one[0] for one in before]} become {[one[0] for one in after]}, or affines differ"


def _converted(path: Path) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Shape and affine of each volume that dcm2niix makes of a file, or of a folder's files."""
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in").mkdir()
        (Path(folder) / "out").mkdir()
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            shutil.copy(file, Path(folder) / "in")
        _said("dcm2niix", "-b", "n", "-z", "n", "-f", "%s", "-o", f"{folder}/out", f"{folder}/in")
        volumes: list[Any] = [nibabel.load(file) for file in sorted((Path(folder) / "out").glob("*.nii"))]
        return [(volume.shape, volume.affine) for volume in volumes]


def _simpleitk(original: Path, result: Path) -> Verdict:
    import SimpleITK as sitk

    try:
        before = sitk.ReadImage(str(original))
    except RuntimeError:
        return None
    try:
        after = sitk.ReadImage(str(result))
    except RuntimeError as error:
        return f"cannot read it: {' '.join(str(error).split())[-80:]}"
    place = lambda image: (image.GetSize(), *np.round([*image.GetSpacing(), *image.GetOrigin()], 4))  # noqa: E731
    same = place(before) == place(after) and np.allclose(before.GetDirection(), after.GetDirection())
    return "" if same else "size, spacing, origin or direction differ"


def _highdicom(original: Path, result: Path) -> Verdict:
    before, after = _place_of(original), _place_of(result)
    if before is None:
        return None
    return "" if after is not None and before == after else f"geometry differs: {before}, {after}"


def _place_of(path: Path) -> Any:
    import highdicom

    try:
        image = highdicom.imread(path)
        place = image.get_volume_geometry()
        frames = image.get_frames(apply_real_world_transform=False).shape
    except Exception:  # any library's refusal is one
        return None
    return frames, None if place is None else np.round(place.affine, 4).tolist()


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    return (done.stdout + done.stderr).decode(errors="replace")


def _program(name: str, *arguments: str) -> Callable[[], str | None]:
    def version() -> str | None:
        if shutil.which(name) is None:
            return None
        found = re.search(r"v?\d+[.:]\d[\w.:~-]*", _said(name, *arguments))
        return found[0].rstrip(".:") if found else "version unknown"

    return version


def _package(name: str) -> Callable[[], str | None]:
    def version() -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return version


JUDGES = {
    "dciodvfy (dicom3tools)": Judge(
        "no errors that its original has not?", _program("dciodvfy", "-version"), _dciodvfy
    ),
    "dcmdump (DCMTK)": Judge("no errors that its original has not?", _program("dcmdump", "--version"), _dcmdump),
    "dcm2niix": Judge("the same shape and affine, converted to NIfTI?", _program("dcm2niix", "--version"), _dcm2niix),
    "SimpleITK": Judge("the same size, spacing, origin and direction?", _package("SimpleITK"), _simpleitk),
    "highdicom": Judge("the same frames and volume geometry?", _package("highdicom"), _highdicom),
}
SERIES = {"dcm2niix"}  # asked about a series as a whole


def ask(name: str, pairs: list[tuple[Path, Path]]) -> dict[str, Any]:
    """The verdict of a judge on pairs of (original, result); one that is not installed is not asked."""
    judge = JUDGES[name]
    version = judge.version()
    if version is None:
        return {"question": judge.question, "asked": False}
    said = {(original, result): judge.ask(original, result) for original, result in pairs}
    heard = {pair: text for pair, text in said.items() if text is not None}
    return {
        "question": judge.question,
        "asked": True,
        "version": version,
        "files": len(heard),
        "agree": sum(text == "" for text in heard.values()),
        "objections": {result.name: text for (_, result), text in heard.items() if text},
        "unable": sorted({original.name for (original, _), text in said.items() if text is None}),
    }
