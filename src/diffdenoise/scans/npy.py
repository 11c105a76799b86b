"""NumPy arrays (.npy): the last two axes are rows and columns, the one before them slices, all further ones volumes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from diffdenoise.errors import ScanError
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import check_numeric, check_size, reading, to_float32, to_physical, to_stored, units_of

SUFFIXES: tuple[str, ...] = (".npy",)


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one .npy file; ScanError unless it holds integers or floats of two or more dimensions."""
    stored = _load(paths[0])
    with reading(paths[0], "a NumPy array"):
        pixels = to_physical(_as_slices(stored))
    return Scan(pixels, name, "npy", paths, units_of(stored.dtype), math.prod(stored.shape[:-3]))


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same dtype, shape and memory order; float32 for quantities other than "denoised"."""
    original = _load(scan.paths[0])
    convert = to_stored if provenance.quantity == "denoised" else to_float32
    result = convert(scan.pixels, _as_slices(original)).reshape(original.shape)
    fortran = original.flags.f_contiguous and not original.flags.c_contiguous
    np.save(target, np.asarray(result, order="F" if fortran else "C"), allow_pickle=False)


def _load(path: Path) -> np.ndarray:
    with reading(path, "a NumPy array"):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "Object arrays" not in str(error) and "Array can't be memory-mapped" not in str(error):
                raise
            remedy = "Save a plain array of numbers."
            raise ScanError(path, "holds Python objects, which could run code when loaded", remedy) from error
        if not isinstance(array, np.ndarray):
            raise ScanError(path, "is an archive of several arrays (.npz)", "Save each array as its own .npy file.")
    check_numeric(path, array.dtype)
    if array.ndim < 2:
        raise ScanError(path, f"has {array.ndim} dimension(s), not an image", "Save an array (slices, rows, columns).")
    check_size(path, array.shape, array.itemsize)
    return array


def _as_slices(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, *array.shape[-2:])
