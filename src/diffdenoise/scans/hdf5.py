"""HDF5 files that hold one image (.h5, .hdf5): fastMRI's and M4Raw's (slices, rows, columns), ISMRMRD's, plain ones.

The result has the same data sets and attributes, but for k-space: it is large, and was not denoised. Real and
imaginary parts of complex images are denoised as two volumes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

SUFFIXES: tuple[str, ...] = (".h5", ".hdf5")
IMAGES = ("reconstruction_rss", "reconstruction_esc")  # fastMRI's names; without either the only image there is
RAW = "kspace"
TRANSFORMS = "TransformGroup"  # at the top of what ITK writes transforms to

# complex numbers are mostly k-space: they count as an image where a name on their path says so, as ISMRMRD's does
_NAMED_IMAGE = re.compile(r"image|img|recon", re.IGNORECASE)
_RECONSTRUCT = (
    " K-space has to be reconstructed first: an inverse Fourier transform of each coil, then the root sum of their "
    f"squares, saved as {IMAGES[0]}."
)


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file; ScanError unless it is clear which data set is the image."""
    with _opened(paths[0]) as (_, image), reading(paths[0], "HDF5"):
        parts = as_parts(_numbers(image), axis=0)
        pixels = to_physical(stacked(parts))
        frames = (2 if _is_complex(image) else 1) * _volumes(image)
        doubt = "" if image.name.lstrip("/") in IMAGES else doubt_of_axes(image.shape)
    return Scan(pixels, name, "hdf5", paths, units_of(parts.dtype), frames, step=step_of(parts.dtype), doubt=doubt)


def check_kind(path: Path) -> None:
    """OtherKind for colours, and for what ITK and ANTs keep in HDF5 besides images: transforms."""
    import h5py

    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        if TRANSFORMS in file:
            raise OtherKind(path, "holds a transform", "Give the image that it belongs to.")
        _image(path, file)


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """The image in its data set, with its dtype, and all else but k-space; float32 unless it is "denoised"."""
    import h5py

    with _opened(scan.paths[0]) as (file, image), h5py.File(target, "w") as result:
        parts = as_parts(_numbers(image), axis=0)
        pixels = as_quantity(scan.pixels, stacked(parts), provenance.quantity).reshape(parts.shape)
        if _is_complex(image):
            pixels = _as_in_file(from_parts(pixels, axis=0, like=_real_type(image)), image)
        _copy(file, result, image)
        stored = result.create_dataset(image.name, data=pixels, compression=image.compression)
        for place, other in ((stored, image), (result, file)):
            _describe(place, other)


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
    images = named[:1] or [item for item in found if _may_be_image(item)]
    if len(images) != 1:
        held = ", ".join(f"{item.name} {item.shape}" for item in found) or "none"
        raw = any(RAW in item.name or (_is_complex(item) and item not in images) for item in found)
        raise ScanError(
            path,
            f"holds {len(images) or 'no'} images (data sets: {held})",
            f"Save one image a file, or name it {IMAGES[0]}.{_RECONSTRUCT if raw else ''}",
        )
    image = images[0]
    if image.is_virtual or image.external:
        raise ScanError(path, "keeps its pixels in another file", "Copy them into one file, as with h5repack.")
    if not _is_complex(image):  # colours are never complex
        check_numeric(path, image.dtype)
        if looks_coloured(image.shape):
            raise OtherKind(path, "looks like a colour picture", "Give one channel of it.")
    growth = DEFLATE if image.chunks else 1
    check_size(path, image.shape, image.dtype.itemsize, growth)
    if image.chunks:  # may be larger than the image, and are unpacked whole
        check_size(path, image.chunks, image.dtype.itemsize, growth)
    return image


def _may_be_image(item: Any) -> bool:
    if RAW in item.name:
        return False
    return item.dtype.kind in "iuf" or (_is_complex(item) and bool(_NAMED_IMAGE.search(item.name)))


def _is_complex(item: Any) -> bool:
    """Also pairs of floats called real and imag, as ISMRMRD writes them."""
    return item.dtype.kind == "c" or item.dtype.names == ("real", "imag")


def _real_type(image: Any) -> np.dtype:
    return image.dtype["real"] if image.dtype.names else image.dtype


def _numbers(image: Any) -> np.ndarray:
    stored, real = image[()], _real_type(image)
    return stored.view(np.result_type(real, np.complex64).newbyteorder(real.byteorder)) if image.dtype.names else stored


def _as_in_file(numbers: np.ndarray, image: Any) -> np.ndarray:
    """Complex numbers as pairs, where the file has such."""
    return numbers.view([(name, numbers.real.dtype) for name in image.dtype.names]) if image.dtype.names else numbers


def _volumes(image: Any) -> int:
    """How many volumes of the same places: the product of the axes before slices; 1 if these are slices after all."""
    import h5py

    header = image.parent.get("header")
    if isinstance(header, h5py.Dataset) and "position" in (header.dtype.names or ()):  # ISMRMRD: one of each image
        positions = np.asarray(header["position"]).reshape(-1, 3)
        if len(np.unique(positions, axis=0)) > 1:
            return 1
    return math.prod(image.shape[:-3])


def _copy(file: Any, result: Any, image: Any) -> None:
    """All data sets and groups but the image and k-space."""
    import h5py

    def one(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            _describe(result.require_group(name), item)
        elif item.name != image.name and RAW not in name:
            result.require_group(item.parent.name)
            file.copy(item, result, name=name, without_attrs=True)
            _describe(result[name], item)

    file.visititems(one)


def _describe(place: Any, item: Any) -> None:
    """The attributes of an item, but for references: those hold addresses in its file, where other things lie here."""
    for key, value in item.attrs.items():
        if not _refers(item.attrs.get_id(key).dtype):
            place.attrs[key] = value


def _refers(dtype: Any) -> bool:
    """Whether it holds references to objects, in lists or in records too, as dimension scales do."""
    import h5py

    inner = [h5py.check_vlen_dtype(dtype), *(dtype[name] for name in dtype.names or ())]
    return h5py.check_ref_dtype(dtype) is not None or any(_refers(it) for it in inner if isinstance(it, np.dtype))
