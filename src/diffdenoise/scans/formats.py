"""The table of file formats: which module reads and writes each, and by which suffixes it is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from diffdenoise.scans import dicom, foreign, hdf5, itk, nifti, npy, png, tiff
from diffdenoise.scans.scan import MAPS, Provenance, Scan


class Format(Protocol):
    """What a format's module offers (the modules import their libraries only when called)."""

    SUFFIXES: tuple[str, ...]

    def read(self, paths: tuple[Path, ...], name: str) -> Scan:
        """The scan in these files; ScanError where it cannot be read."""
        ...

    def write(self, scan: Scan, target: Path, provenance: Provenance) -> None:
        """Write to `target`, a path that does not exist yet (for a DICOM series: an empty folder)."""
        ...


FORMATS: dict[str, Format] = {
    "nifti": nifti,
    "dicom": dicom,  # a series of files; its result is a folder
    "dicom_file": dicom,  # one file; its result is a file
    "itk": itk,
    "hdf5": hdf5,
    "png": png,
    "tiff": tiff,
    "npy": npy,
    "foreign": foreign,
}

# what raises OtherKind for files that are known, from little of them, to be no images to denoise
KINDS: dict[str, Callable[[Path], None]] = {
    "nifti": nifti.check_kind,
    "dicom_file": dicom.check_kind,
    "hdf5": hdf5.check_kind,
    "png": png.check_kind,
    "tiff": tiff.check_kind,
    "npy": npy.check_kind,
    "foreign": foreign.check_kind,
}

# PNG cannot hold signed or fractional numbers; formats that are read alone give NIfTI
OTHER_SUFFIX = {("png", name): ".tiff" for name in MAPS}
OTHER_SUFFIX |= {("foreign", name): foreign.RESULT_SUFFIX for name in ("denoised", *MAPS)}
FOLDERS = frozenset({"dicom"})  # formats whose result is a folder

# archives; pictures for people; headers with their pixels in another file; FreeSurfer, MATLAB, microscopes
_READ_ELSEWHERE = frozenset({
    ".zip", ".tar", ".tgz", ".7z", ".rar", ".jpg", ".jpeg", ".jp2", ".bmp", ".gif", ".webp", ".hdr", ".img", ".mhd",
    ".nhdr", ".mgh", ".mgz", ".mat", ".czi", ".nd2", ".lif",
})  # fmt: skip


def suffix_of(name: str) -> str:
    """The known suffix that the file name ends with, as it is spelled there, or "" ("a.nii.gz" -> ".nii.gz")."""
    known = [s for form in FORMATS.values() for s in form.SUFFIXES if name.lower().endswith(s)]
    return name[len(name) - len(max(known, key=len)) :] if known else ""


def format_of(path: Path) -> str | None:
    """The format of one file, by its suffix or by DICOM's mark in its content; None where it is no known image."""
    suffix = suffix_of(path.name).lower()
    for name, form in FORMATS.items():
        if suffix in form.SUFFIXES and name not in FOLDERS:
            return name
    return "dicom_file" if dicom.has_mark(path) else None


def is_read_elsewhere(path: Path) -> bool:
    """Whether its suffix promises images, but of a kind that is not read here."""
    return path.suffix.lower() in _READ_ELSEWHERE


def describe_formats() -> str:
    """The supported formats in words, for error messages."""
    return (
        "NIfTI (.nii, .nii.gz), DICOM (any name), MetaImage (.mha), NRRD (.nrrd), PNG (.png), TIFF (.tif, .tiff), "
        "NumPy (.npy, .npz), HDF5 (.h5, .hdf5), and to read alone Philips PAR/REC, MINC (.mnc), AFNI (.HEAD)"
    )
