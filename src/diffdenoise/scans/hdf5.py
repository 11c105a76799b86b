"""HDF5 files that hold one image (.h5, .hdf5), as fastMRI and M4Raw do: (slices, rows, columns) in a data set.

The result has the same data sets and attributes, but for k-space: it is large, and was not denoised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from diffdenoise.errors import ScanError
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import (
    DEFLATE,
    check_numeric,
    check_size,
    reading,
    to_float32,
    to_physical,
    to_stored,
    units_of,
)

SUFFIXES: tuple[str, ...] = (".h5", ".hdf5")
IMAGES = ("reconstruction_rss", "reconstruction_esc")  # fastMRI's names; without either the only image there is
RAW = "kspace"


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file; ScanError unless it is clear which data set is the image."""
    with _opened(paths[0]) as (_, image), reading(paths[0], "HDF5"):
        stored = image[()]
        pixels = to_physical(_as_slices(stored))
    return Scan(pixels, name, "hdf5", paths, units_of(stored.dtype), math.prod(stored.shape[:-3]))


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """The image in its data set, with its dtype, and all else but k-space; float32 unless it is "denoised"."""
    import h5py

    with _opened(scan.paths[0]) as (file, image), h5py.File(target, "w") as result:
        original = image[()]
        convert = to_stored if provenance.quantity == "denoised" else to_float32
        pixels = convert(scan.pixels, _as_slices(original)).reshape(original.shape)
        _copy(file, result, image)
        stored = result.create_dataset(image.name, data=pixels, compression=image.compression)
        for place, other in ((stored, image), (result, file)):
            for key, value in other.attrs.items():
                place.attrs[key] = value


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(file, the data set that is the image)."""
    import h5py

    with reading(path, "HDF5"):
        file = h5py.File(path, "r")
    with file:
        with reading(path, "HDF5"):
            image = _image(path, file)
        yield file, image  # what goes wrong with a result is not this file's fault


def _image(path: Path, file: Any) -> Any:
    import h5py

    # links are not followed: they may lead to other files
    hard = [name for name in IMAGES if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    named = [file[name] for name in hard if isinstance(file[name], h5py.Dataset)]
    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) and item.ndim >= 2 else None)
    images = named[:1] or [item for item in found if item.dtype.kind in "iuf" and RAW not in item.name]
    if len(images) != 1:
        held = ", ".join(f"{item.name} {item.shape}" for item in found) or "none"
        kspace = " K-space has to be reconstructed first." if any(RAW in item.name for item in found) else ""
        raise ScanError(
            path,
            f"holds {len(images) or 'no'} images (data sets: {held})",
            f"Save one image a file, or name it {IMAGES[0]}.{kspace}",
        )
    image = images[0]
    if image.is_virtual or image.external:
        raise ScanError(path, "keeps its pixels in another file", "Copy them into one file, as with h5repack.")
    check_numeric(path, image.dtype)
    growth = DEFLATE if image.chunks else 1
    check_size(path, image.shape, image.dtype.itemsize, growth)
    if image.chunks:  # may be larger than the image, and are unpacked whole
        check_size(path, image.chunks, image.dtype.itemsize, growth)
    return image


def _copy(file: Any, result: Any, image: Any) -> None:
    """All data sets and groups but the image and k-space."""
    import h5py

    def one(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            group = result.require_group(name)
            group.attrs.update(item.attrs)
        elif item.name != image.name and RAW not in name:
            result.require_group(item.parent.name)
            file.copy(item, result, name=name)

    file.visititems(one)


def _as_slices(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, *array.shape[-2:])
