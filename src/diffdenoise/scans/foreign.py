"""Volumes that are read alone, through nibabel: Philips PAR/REC, MINC, AFNI. Their results are NIfTI, float32.

Slices are taken as from NIfTI volumes; the affine is nibabel's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from diffdenoise.errors import OtherKind, ScanError
from diffdenoise.scans.planes import as_slices, from_slices, slice_axis
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import DEFLATE, check_numeric, check_size, reading, to_float32, to_physical

SUFFIXES: tuple[str, ...] = (".par", ".mnc", ".head")
RESULT_SUFFIX = ".nii.gz"
_AFNI_UNITS = {77001: "msec", 77003: "hz"}  # of TAXIS_NUMS; 77002 are seconds
PIXELS_BESIDE = {".par": ".rec", ".head": ".brik"}  # of AFNI's, the name may go on with .gz
# What stands near the beginning of a header: FSL calls tables of movement .par, too, and others anything .head.
MARKS = {".par": b"DATA DESCRIPTION FILE", ".head": b"type"}
START = 4096  # bytes
_PHASE = 3  # of PAR's image_type_mr


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file (and the one beside it that holds its pixels): scaled values, all time points in a row."""
    with reading(paths[0], "a volume"):
        scaled, _, zooms, _ = _volume(paths[0])
        axis = slice_axis(scaled.shape, zooms)
        pixels = to_physical(as_slices(scaled, axis))
    return Scan(pixels, name, "foreign", paths, "arbitrary", math.prod(scaled.shape[3:]), axis=axis)


def check_kind(path: Path) -> None:
    """OtherKind for files that share no more than the suffix with headers of PAR/REC and AFNI."""
    mark = MARKS.get(path.suffix.lower())
    with reading(path, "a volume"), path.open("rb") as file:
        start = file.read(START)
    if mark and mark not in start and not beside(path):
        raise OtherKind(path, f"is no header of an image, as {path.suffix} files can be", "Give the image.")
    if path.suffix.lower() == ".par" and MARKS[".par"] in start:
        _check_types(path)


def _check_types(path: Path) -> None:
    """OtherKind for a PAR file of which some images are phase images."""
    from nibabel.parrec import parse_PAR_header

    with reading(path, "PAR/REC"), path.open(encoding="utf-8", errors="replace") as file:
        _, images = parse_PAR_header(file)
        phase = bool(np.any(images["image_type_mr"] == _PHASE))
    if phase:
        raise OtherKind(path, "holds phase images, whose values wrap around", "Export the magnitude images alone.")


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """A NIfTI file with the same affine and voxel sizes."""
    import nibabel

    scaled, affine, zooms, unit = _volume(scan.paths[0])
    axis = slice_axis(scaled.shape, zooms)
    back = from_slices(to_float32(scan.pixels, as_slices(scaled, axis)), scaled.shape, axis)
    result = nibabel.Nifti1Image(back, affine)
    result.header.set_zooms([size or 1.0 for size in zooms[: back.ndim]])
    result.header.set_xyzt_units("mm", unit if back.ndim > 3 else None)
    nibabel.save(result, target)


def beside(path: Path) -> tuple[Path, ...]:
    """The files that hold the pixels of this one, where they lie beside it."""
    suffix = PIXELS_BESIDE.get(path.suffix.lower())
    start = f"{path.stem.lower()}{suffix}"
    return tuple(sorted(it for it in path.parent.iterdir() if it.name.lower().startswith(start))) if suffix else ()


def _volume(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, ...], str]:
    """(scaled values (x, y, z[, t[, c]]), affine, voxel sizes, unit of the fourth of these)."""
    image = _load(path)
    scaled, zooms = np.asarray(image.dataobj), [float(size) for size in image.header.get_zooms()]
    if path.suffix.lower() == ".mnc" and scaled.ndim == 4:  # nibabel leaves time where it is in the file: mostly first
        time = image.dataobj.minc_file._dim_names.index("time")
        scaled = np.moveaxis(scaled, time, -1)
        zooms.append(zooms.pop(time))
    return scaled, image.affine, tuple(zooms), _time_unit(image)


def _time_unit(image: Any) -> str:
    """Seconds, but AFNI says which: its time step may be in milliseconds, or be one of frequency."""
    codes: Any = getattr(image.header, "info", {}).get("TAXIS_NUMS") or ()
    return _AFNI_UNITS.get(codes[2], "sec") if len(codes) > 2 else "sec"


def _load(path: Path) -> Any:
    import nibabel

    # nibabel would take another file
    if path.suffix not in (path.suffix.lower(), path.suffix.upper()):
        raise ScanError(path, f"ends in {path.suffix}, in large and small letters", "Rename it.")
    if (suffix := PIXELS_BESIDE.get(path.suffix.lower())) and not beside(path):
        raise ScanError(path, f"has no {suffix.upper()} file beside it, which holds the pixels", "Copy both.")
    with reading(path, "a volume"):
        if path.suffix.lower() == ".mnc":
            _check_alone(path)
        if path.suffix.lower() == ".par":
            _check_types(path)
        image: Any = nibabel.load(path)
        dtype = np.dtype(image.get_data_dtype())
        check_numeric(path, dtype)
        check_size(path, image.shape, dtype.itemsize, DEFLATE, _held(path))
        most = 4 if path.suffix.lower() == ".mnc" else 5
        if not 2 <= len(image.shape) <= most:
            fault = f"has {len(image.shape)} dimensions, 2 to {most} are read"
            raise ScanError(path, fault, "Convert it to NIfTI (MINC: with mnc2nii).")
        if not _has_place(image.affine):
            fault = "does not say where its voxels lie (no affine, or none that NIfTI can hold)"
            raise ScanError(path, fault, "Convert it to NIfTI by hand.")
    return image


def _check_alone(path: Path) -> None:
    """ScanError if anything in a MINC file, where it is one of HDF5, leads to another file: nibabel would follow it."""
    import h5py

    if not h5py.is_hdf5(path):  # the first version of MINC is NetCDF, which has no links
        return

    def leads_away(name: str, link: Any) -> bool | None:
        item = file[name] if isinstance(link, h5py.HardLink) else None
        pixels = isinstance(item, h5py.Dataset) and (item.is_virtual or item.external)
        return bool(pixels) or isinstance(link, h5py.ExternalLink) or None  # None: go on to the next

    with h5py.File(path, "r") as file:
        if file.visititems_links(leads_away):
            raise ScanError(path, "keeps its pixels in another file", "Copy them into one file, as with h5repack.")


def _has_place(affine: np.ndarray) -> bool:
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    if not np.isfinite(affine).all():
        return False
    try:
        nibabel.Nifti1Header().set_qform(affine)
    except HeaderDataError:
        return False
    return True


def _held(path: Path) -> int:
    """Bytes of the file and of what lies beside it under its name; any of it may be packed."""
    own = path.stem.lower() + "."
    return sum(file.stat().st_size for file in path.parent.iterdir() if file.name.lower().startswith(own))
