"""MetaImage (.mha) and NRRD (.nrrd) volumes, each in one file.

Slices are taken as from NIfTI volumes. Geometry and the header's further fields are carried over by ITK, which knows
both formats; a compressed file gets a compressed result.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from diffdenoise.errors import ScanError
from diffdenoise.scans.planes import as_slices, from_slices, slice_axis
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import check_numeric, check_size, reading, to_float32, to_physical, to_stored

SUFFIXES: tuple[str, ...] = (".mha", ".nrrd")
HEADER = 4096  # bytes that say in which way the pixels are stored
COMPRESSED = (b"CompressedData = True", b"encoding: gz", b"encoding: bz")
WRITERS_OWN = ("ITK_", "NRRD_")  # fields that ITK makes of what it writes
DETACHED = (b"data file:", b"datafile:")


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file, slices of all time points one after the other."""
    with reading(paths[0], "MetaImage or NRRD"):
        image, stored = _load(paths[0])
        pixels = to_physical(as_slices(stored, slice_axis(stored.shape, image.GetSpacing())))
    return Scan(pixels, name, "itk", paths, "arbitrary", math.prod(stored.shape[3:]))


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same geometry, fields and dtype; float32 for quantities other than "denoised"."""
    import SimpleITK as sitk

    path = scan.paths[0]
    image, stored = _load(path)
    axis = slice_axis(stored.shape, image.GetSpacing())
    convert = to_stored if provenance.quantity == "denoised" else to_float32
    back = from_slices(convert(scan.pixels, as_slices(stored, axis)), stored.shape, axis)
    result = sitk.GetImageFromArray(np.ascontiguousarray(back.T), isVector=False)
    result.CopyInformation(image)
    for key in image.GetMetaDataKeys():
        if not key.startswith(WRITERS_OWN):
            result.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(result, str(target), useCompression=any(mark in _head(path) for mark in COMPRESSED))


def _load(path: Path) -> tuple[Any, np.ndarray]:
    """ITK's image, and its pixels (x, y[, z[, t]]) as stored."""
    import SimpleITK as sitk

    head = _head(path)
    if any(mark in head for mark in DETACHED) or (b"ElementDataFile = " in head and b"= LOCAL" not in head):
        raise ScanError(path, "keeps its pixels in another file", "Convert it to a single file (.mha, .nrrd).")
    image = sitk.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() > 1:
        check_numeric(path, np.dtype("V4"))
    stored = sitk.GetArrayViewFromImage(image).T
    check_numeric(path, stored.dtype)
    check_size(path, stored.shape)
    return image, stored


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER)
