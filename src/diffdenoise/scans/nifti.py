"""NIfTI-1 and NIfTI-2 volumes (.nii, .nii.gz).

Slices are taken across the spatial axis with the largest voxels, so that each slice shows the finest plane. Header,
extensions and byte order of a result are the source's own bytes, so nothing in them can be lost.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from diffdenoise.errors import OtherKind, ScanError
from diffdenoise.scans.planes import as_parts, as_slices, from_parts, from_slices, slice_axis
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import (
    DEFLATE,
    check_numeric,
    check_size,
    reading,
    step_of,
    to_float32,
    to_physical,
    to_stored,
)

SUFFIXES: tuple[str, ...] = (".nii.gz", ".nii")
REST = 1 << 20  # bytes after the voxels that are looked through for the end of the file
HEADERS = 540  # bytes; of NIfTI-2, of which that of NIfTI-1 has 348
COLOUR = (128, 2304)  # data types RGB24, RGBA32
# what an intent code says that voxels are, where they are no intensities
INTENTS = {
    1002: "a label map",
    1004: "matrices, one a voxel",
    1005: "matrices, one a voxel",
    1006: "a displacement field",
    1007: "vectors, one a voxel",
    1008: "points of a surface",
    1009: "triangles of a surface",
    1010: "quaternions, one a voxel",
}
CIFTI = range(3000, 3100)  # intent codes of values on a surface, and of what connects them


@dataclass(frozen=True)
class _Volume:
    stored: np.ndarray  # shape (x, y[, z[, t[, c]]]), as in the file; complex ones as two volumes
    shape: tuple[int, ...]  # in the file
    dtype: np.dtype  # in the file
    slope: float
    intercept: float
    axis: int  # across which the slices are taken
    offset: int  # bytes before the first voxel
    header_type: Any


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one NIfTI file: scaled values, slices of all time points one after the other."""
    volume = _load(paths[0])
    with reading(paths[0], "NIfTI"):
        pixels = to_physical(as_slices(volume.stored, volume.axis), volume.slope, volume.intercept)
    frames = math.prod(volume.stored.shape[3:])
    step = step_of(volume.stored.dtype, volume.slope)
    return Scan(pixels, name, "nifti", paths, "arbitrary", frames, axis=volume.axis, step=step)


def check_kind(path: Path) -> None:
    """OtherKind for colours, and for what the header calls no intensities: labels, vectors, values on surfaces."""
    with reading(path, "NIfTI"):
        start, image_type = _start(path)
    if image_type is None:
        return  # no NIfTI, or cut off: reading it will say so
    header_type = image_type.header_class
    header = header_type(start[: header_type.sizeof_hdr], check=False)
    intent = int(header["intent_code"])
    fault = "values on a surface (CIFTI)" if intent in CIFTI else INTENTS.get(intent)
    if fault:
        raise OtherKind(path, f"holds {fault}", "Give the image that it belongs to.")
    if int(header["datatype"]) in COLOUR:
        raise OtherKind(path, "is in colour", "Give the image that it was made from.")


def _start(path: Path) -> tuple[bytes, Any]:
    """The file's first bytes, and nibabel's type of image for such a header; None where that is none, or cut off."""
    import nibabel

    with _open(path, "rb") as file:
        start = file.read(HEADERS)
    types = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
    sizes = (int.from_bytes(start[:4], order) for order in ("little", "big"))  # type: ignore[arg-type]
    size = next((size for size in sizes if size in types and len(start) >= size), 0)
    return start, types.get(size)


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same header, dtype and scaling; float32 without scaling (complex64) for quantities other than "denoised"."""
    path = scan.paths[0]
    volume = _load(path)
    with _open(path, "rb") as file:
        head = file.read(volume.offset)
    original = as_slices(volume.stored, volume.axis)
    if provenance.quantity == "denoised":
        result = to_stored(scan.pixels, original, volume.slope, volume.intercept)
    else:
        result = to_float32(scan.pixels, original)
        head = _float32_head(head, volume.header_type, volume.dtype.kind == "c")
    back = from_slices(result, volume.stored.shape, volume.axis)
    if volume.dtype.kind == "c":
        back = from_parts(back).reshape(volume.shape)
    dtype = volume.header_type(head[: volume.header_type.sizeof_hdr], check=False).get_data_dtype()
    with _open(target, "wb") as file:
        file.write(head)
        file.write(np.ascontiguousarray(back.T, dtype).data)  # no copy where nothing changes: volumes are large


def _load(path: Path) -> _Volume:
    import nibabel

    with reading(path, "NIfTI"):
        _, image_type = _start(path)
        if image_type is None:
            raise ValueError("it does not begin with a header of NIfTI")
        file = nibabel.FileHolder(str(path))  # given a name, nibabel takes x.Nii for x.nii, which may be another image
        image = image_type.from_file_map({"header": file, "image": file})
        dtype = image.header.get_data_dtype()
        most = 4 if dtype.kind == "c" else 5
        check_numeric(path, dtype, complex_too=True)
        check_size(path, image.shape, dtype.itemsize, DEFLATE if _packed(path) else 1)
        if not 2 <= image.ndim <= most:
            raise ScanError(path, f"has {image.ndim} dimensions", f"Give an image of 2 to {most} dimensions.")
        proxy: Any = image.dataobj
        if not np.isfinite([proxy.slope, proxy.inter]).all() or proxy.slope == 0:
            raise ScanError(path, f"has an unusable scale (slope {proxy.slope})", "Mend scl_slope in its header.")
        axis = slice_axis(image.shape, image.header.get_zooms())
        stored = _unpacked(path, proxy) if _packed(path) else proxy.get_unscaled()
        if dtype.kind == "c":  # a third axis first, so that the parts are volumes and no slices
            stored = as_parts(stored[..., None] if stored.ndim == 2 else stored)
        scale = float(proxy.slope), float(proxy.inter)
        return _Volume(stored, image.shape, dtype, *scale, axis, int(proxy.offset), type(image.header))


def _unpacked(path: Path, proxy: Any) -> np.ndarray:
    """The voxels of a packed file, as stored. Raises ValueError if they are cut off, gzip's own errors if damaged."""
    voxels = np.empty(proxy.shape, proxy.dtype, order="F")
    with _open(path, "rb") as file:
        file.seek(int(proxy.offset))
        held = file.readinto(voxels.T.view(np.uint8))  # type: ignore[attr-defined]
        if held != voxels.nbytes:
            raise ValueError(f"{held} bytes of voxels, {voxels.nbytes} announced")
        file.read(REST)  # gzip compares its checksum at the end
    return voxels


def _packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _float32_head(head: bytes, header_type: Any, complex_: bool) -> bytes:
    """The same leading bytes but for dtype, scaling and display range."""
    size = header_type.sizeof_hdr
    header = header_type(head[:size], check=False)
    header.set_data_dtype(np.complex64 if complex_ else np.float32)
    for field, value in {"scl_slope": 1, "scl_inter": 0, "cal_min": 0, "cal_max": 0}.items():
        header[field] = value
    return header.binaryblock + head[size:]


def _open(path: Path, mode: str) -> BinaryIO:
    if not _packed(path):
        return cast(BinaryIO, path.open(mode))
    # a fixed time and no name in the gzip header: equal volumes give equal files
    return cast(BinaryIO, _PlainGzip(path, mode)) if mode == "wb" else cast(BinaryIO, gzip.open(path, mode))


class _PlainGzip(gzip.GzipFile):
    def __init__(self, path: Path, mode: str) -> None:
        self._file = path.open(mode)
        super().__init__(filename="", mode=mode, compresslevel=6, fileobj=self._file, mtime=0)

    def close(self) -> None:
        super().close()
        self._file.close()
