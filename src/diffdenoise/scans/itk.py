"""MetaImage (.mha) and NRRD (.nrrd) volumes, each in one file.

Slices are taken as from NIfTI volumes. Geometry and most of the header's further fields are carried over by ITK, which
knows both formats; a compressed file gets a compressed result.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from diffdenoise.errors import ScanError
from diffdenoise.scans.planes import as_slices, from_slices, slice_axis
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import (
    DEFLATE,
    as_quantity,
    check_numeric,
    check_size,
    reading,
    step_of,
    to_physical,
)

READERS = {".mha": "MetaImageIO", ".nrrd": "NrrdImageIO"}
SUFFIXES: tuple[str, ...] = tuple(READERS)
LINES, LONGEST_LINE = 10_000, 100_000  # of a header
COMPRESSED = re.compile(rb"(?im)^\s*(CompressedData\s*=\s*T|encoding:\s*(gz|bz))")
TEXT = re.compile(rb"(?im)^\s*(BinaryData\s*=\s*F|encoding:\s*(?!raw|gz|bz))")  # numbers written out
LAST = re.compile(rb"(?i)\s*ElementDataFile\s*=")
MOST_DIMENSIONS = 10  # that MetaIO has room for
COUNTED = {b"dimsize": 1, b"elementspacing": 1, b"elementsize": 1, b"offset": 1, b"position": 1, b"origin": 1}
COUNTED |= {b"centerofrotation": 1, b"transformmatrix": 2, b"rotation": 2, b"orientation": 2}
WRITERS_OWN = ("ITK_", "NRRD_")  # fields that ITK makes of what it writes
DETACHED = re.compile(rb"(?im)^\s*(data ?file:|ElementDataFile\s*=(?!\s*LOCAL\s*$))")


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file, slices of all time points one after the other."""
    with reading(paths[0], "MetaImage or NRRD"):
        image, stored = _load(paths[0])
        axis = slice_axis(stored.shape, image.GetSpacing())
        pixels = to_physical(as_slices(stored, axis))
    frames = math.prod(stored.shape[3:])
    return Scan(pixels, name, "itk", paths, "arbitrary", frames, axis=axis, step=step_of(stored.dtype))


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same geometry, fields and dtype; float32 for quantities other than "denoised"."""
    import SimpleITK as sitk

    path = scan.paths[0]
    image, stored = _load(path)
    axis = slice_axis(stored.shape, image.GetSpacing())
    numbers = as_quantity(scan.pixels, as_slices(stored, axis), provenance.quantity)
    back = from_slices(numbers, stored.shape, axis)
    result = sitk.GetImageFromArray(np.ascontiguousarray(back.T), isVector=False)
    result.CopyInformation(image)
    for key in image.GetMetaDataKeys():
        if not key.startswith(WRITERS_OWN) and _is_text(value := image.GetMetaData(key)):
            result.SetMetaData(key, value)
    writer, small = sitk.ImageFileWriter(), target.with_suffix(target.suffix.lower())  # by capitals it goes elsewhere
    _aim(writer, small)
    writer.SetUseCompression(bool(COMPRESSED.search(_head(path))))
    writer.Execute(result)
    small.rename(target)


def _aim(tool: Any, path: Path) -> None:
    """Tell ITK's reader or writer the file: it takes capitals for another suffix, and ends Python at bytes not text."""
    if not _is_text(str(path)):
        raise ScanError(path, "has a name, or lies in a folder, whose bytes are no text", "Rename it.")
    tool.SetFileName(str(path))
    tool.SetImageIO(READERS[path.suffix.lower()])


def _is_text(value: str) -> bool:
    """Whether it can be encoded: Python keeps bytes that are no UTF-8 as lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _load(path: Path) -> tuple[Any, np.ndarray]:
    """ITK's image, and its pixels (x, y[, z[, t]]) as stored."""
    import SimpleITK as sitk

    head = _head(path)
    if DETACHED.search(head):
        raise ScanError(path, "keeps its pixels in another file", "Convert it to a single file (.mha, .nrrd).")
    _check_header(head)
    reader = sitk.ImageFileReader()
    _aim(reader, path)
    reader.ReadImageInformation()
    if reader.GetNumberOfComponents() > 1:
        check_numeric(path, np.dtype("V4"))
    growth = DEFLATE if COMPRESSED.search(head) or TEXT.search(head) else 1
    held = path.stat().st_size - len(head)
    check_size(path, reader.GetSize(), _itemsize(reader.GetPixelID()), growth, held)
    image = reader.Execute()
    stored = sitk.GetArrayViewFromImage(image).T
    check_numeric(path, stored.dtype)
    return image, stored


def _check_header(head: bytes) -> None:
    """ValueError for a MetaImage's header that ITK may read in another way than we do, or read beyond its places.

    It takes ":" for "=", has fixed places for a field's numbers, and of a field that is there twice one of the two.
    """
    if head.startswith(b"NRRD"):
        return
    lines = [line for line in re.split(rb"\r?\n", head) if line.strip()]
    keys = [line.partition(b"=")[0].strip().lower() for line in lines]
    odd = [line for line, key in zip(lines, keys, strict=True) if b"=" not in line or b":" in key or b"\r" in line]
    if odd or any(keys.count(name) > 1 for name in (b"ndims", b"elementdatafile", *COUNTED)):
        raise ValueError(
            f"a header that is not 'Name = value' in every line, each name once: {(odd or keys)[0][:40]!r}"
        )
    fields = {key: line.partition(b"=")[2].split() for key, line in zip(keys, lines, strict=True)}
    dimensions = int(b"".join(fields.get(b"ndims", [])))
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise ValueError(f"{dimensions} dimensions")
    for name, power in COUNTED.items():
        if name in fields and len(fields[name]) != dimensions**power:
            raise ValueError(f"{len(fields[name])} numbers of {name.decode()} in {dimensions} dimensions")


def _itemsize(pixel_id: int) -> int:
    """Bytes of a pixel of one number, 1 for other kinds of pixels."""
    import SimpleITK as sitk

    return int(sitk.GetArrayViewFromImage(sitk.Image([1, 1], pixel_id)).itemsize)


def _head(path: Path) -> bytes:
    """The lines before the pixels: up to an empty one (NRRD), or the one that says where they are (MetaImage)."""
    lines = []
    with path.open("rb") as file:
        for _ in range(LINES):
            line = file.readline(LONGEST_LINE)
            lines.append(line)
            if LAST.match(line) or (not line.strip() and lines[0].startswith(b"NRRD")):
                return b"".join(lines)
    raise ValueError("its header has no end")
