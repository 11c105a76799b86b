"""NumPy arrays (.npy), and archives that hold one image among other arrays (.npz).

The last two axes are rows and columns, the one before them slices, all further ones volumes. Real and imaginary parts
of complex arrays (of images, not of k-space) are volumes, too.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from diffdenoise.errors import OtherKind, ScanError
from diffdenoise.scans.planes import as_parts, from_parts, stacked
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import (
    DEFLATE,
    as_quantity,
    check_numeric,
    check_size,
    doubt_of_axes,
    looks_coloured,
    reading,
    step_of,
    to_physical,
    units_of,
)

SUFFIXES: tuple[str, ...] = (".npy", ".npz")

_MATRIX = 4  # rows and columns of an affine matrix, which is no image


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file; ScanError unless it is clear which array of two or more dimensions is the image."""
    stored, _ = _load(paths[0])
    with reading(paths[0], "a NumPy array"):
        parts = as_parts(stored, axis=0)
        pixels = to_physical(stacked(parts))
    frames = math.prod(stored.shape[:-3]) * (2 if stored.dtype.kind == "c" else 1)
    about = units_of(stored.dtype), frames
    return Scan(pixels, name, "npy", paths, *about, step=step_of(stored.dtype), doubt=doubt_of_axes(stored.shape))


def check_kind(path: Path) -> None:
    """OtherKind for colours, and for masks, lists and tables of times: numbers without any of rows and columns."""
    with reading(path, "a NumPy array"):
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                held = [_header(archive.open(name)) for name in archive.namelist() if name.endswith(".npy")]
        else:
            with path.open("rb") as file:
                held = [_header(file)]
    if len(held) == 1 and looks_coloured(held[0][0]):
        raise OtherKind(path, "looks like a colour picture", "Give one channel of it.")
    plain = all(dtype.kind in "biufc" for _, dtype in held)  # of anything else reading it will say what is wrong
    if plain and not any(len(shape) >= 2 and dtype.kind != "b" for shape, dtype in held):
        raise OtherKind(path, "holds no array of rows and columns, or a mask", "Save an array (slices, rows, columns).")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """(shape, dtype) of the array that a file holds; its pixels are not read."""
    first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same dtype, shape and memory order, other arrays as they are; float32 for quantities other than "denoised"."""
    path = scan.paths[0]
    original, key = _load(path)
    parts = as_parts(original, axis=0)
    result = as_quantity(scan.pixels, stacked(parts), provenance.quantity).reshape(parts.shape)
    if original.dtype.kind == "c":
        result = from_parts(result, axis=0, like=original.dtype)
    fortran = original.flags.f_contiguous and not original.flags.c_contiguous
    result = np.asarray(result, order="F" if fortran else "C")
    if key is None:
        with target.open("wb") as file:  # by its name NumPy would add a suffix to one that ends in .NPY
            np.save(file, result, allow_pickle=False)
    else:
        _write_archive(target, path, {key: result})


def _load(path: Path) -> tuple[np.ndarray, str | None]:
    """(the image, its key in an archive)."""
    with reading(path, "a NumPy array"):
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            array, key = _image(path, loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else (loaded, None)
        except ValueError as error:
            if "Object arrays" not in str(error) and "Array can't be memory-mapped" not in str(error):
                raise
            remedy = "Save a plain array of numbers."
            raise ScanError(path, "holds Python objects, which could run code when loaded", remedy) from error
    check_numeric(path, array.dtype, complex_too=True)
    if array.ndim < 2:
        raise ScanError(path, f"has {array.ndim} dimension(s), not an image", "Save an array (slices, rows, columns).")
    if looks_coloured(array.shape):
        raise ScanError(path, "looks like a colour picture", "Give one channel of it.")
    check_size(path, array.shape, array.itemsize, 1 if key is None else math.inf)
    return array, key


def _image(path: Path, archive: Any) -> tuple[np.ndarray, str]:
    """The only array of two or more axes that is of numbers and no matrix; what else there is goes along."""
    with archive:
        check_size(path, (sum(item.file_size for item in archive.zip.infolist()),), 1, DEFLATE)
        arrays = {key: archive[key] for key in archive.files}
    images = {key: array for key, array in arrays.items() if array.ndim >= 2 and array.dtype.kind in "iufc"}
    if len(images) > 1:
        images = {key: array for key, array in images.items() if max(array.shape[-2:]) > _MATRIX}
    if len(images) != 1:
        held = ", ".join(f"{key} {array.shape}" for key, array in arrays.items()) or "none"
        fault = f"holds {len(images) or 'no'} images (arrays: {held})"
        raise ScanError(path, fault, "Save each image as a file of its own.")
    key, array = images.popitem()
    return array, key


def _write_archive(target: Path, source: Path, new: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(source) as archive:
        compression = max(item.compress_type for item in archive.infolist())
    with np.load(source, allow_pickle=False) as old, zipfile.ZipFile(target, "w", compression) as archive:
        for key in old.files:
            with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, new.get(key, old[key]), allow_pickle=False)
