"""Greyscale TIFF pictures and stacks, ImageJ's hyperstacks and OME's among them.

Uncompressed files are copied and only their pixel bytes replaced, so every tag stays. Compressed ones are written
anew, page by page, with the tags that describe picture and stack.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diffdenoise.errors import OtherKind, ScanError
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import (
    DEFLATE,
    check_numeric,
    check_size,
    doubt_of_axes,
    reading,
    step_of,
    to_float32,
    to_physical,
    to_stored,
    units_of,
)
from diffdenoise.scans.tiff_chain import broken_chain

SUFFIXES: tuple[str, ...] = (".tif", ".tiff")

MOST_CLASSIC = 2**32 - 2**25  # bytes of pixels; a TIFF that is no BigTIFF cannot point further
_NONE = 1
_LOSSLESS = {_NONE: None, 5: "lzw", 32773: "packbits", 34925: "lzma", 50000: "zstd"}
_GROWTH = {_NONE: 1, 32773: 64} | dict.fromkeys((8, 32946, 50013), DEFLATE)  # packbits, deflate; others have no bound
_OF_SLICES = "ZIQ"  # axes along which slices lie; all others (time, channels) are of volumes
_KEPT = {
    *(269, 271, 272, 274, 285, 286, 287, 297),  # document, make, model, orientation, page's name, place and number
    *(315, 316, 33432, 700, 34675),  # artist, host, copyright, XMP, colour profile
}
_REMEDY = "It is damaged or cut off: copy or export it again."


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one TIFF, pages as slices; ScanError for colour, several image sizes, or fewer than 8 bits."""
    with _opened(paths[0]) as (file, series):
        doubt = "" if file.is_imagej or file.is_ome else doubt_of_axes(series.shape)  # these say what their axes are
        stored = _slices(series, paths[0])
        volumes = math.prod(series.shape[axis] for axis in _order(series)[0])
    with reading(paths[0], "TIFF"):
        pixels = to_physical(stored)
    return Scan(pixels, name, "tiff", paths, units_of(stored.dtype), volumes, step=step_of(stored.dtype), doubt=doubt)


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same dtype, pages and tags; a float32 stack for quantities other than "denoised"."""
    with _opened(scan.paths[0]) as (file, series):
        original = _slices(series, scan.paths[0])
        if provenance.quantity != "denoised":
            _rewrite(target, _pages(to_float32(scan.pixels, original), series), file, series)
            return
        result = _pages(to_stored(scan.pixels, original), series)
        if series.keyframe.compression == _NONE and not series.keyframe.is_tiled:
            shutil.copyfile(scan.paths[0], target)
            _patch(target, result, series, file.byteorder)
        else:
            _rewrite(target, result, file, series)


def check_kind(path: Path) -> None:
    """OtherKind for colour pictures and masks."""
    with _opened(path):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The open file and its one series of equal pages."""
    import tifffile

    with ExitStack() as stack:
        with reading(path, "TIFF"):
            if broken := broken_chain(path):
                raise ScanError(path, f"{broken}, so its pages cannot be told", _REMEDY)
            file = stack.enter_context(tifffile.TiffFile(path))
            if len(file.series) != 1:
                fault = f"holds {len(file.series)} images of different kinds"
                raise ScanError(path, fault, "Save the one to denoise as its own file.")
            series = file.series[0]
            _check(path, file, series)
            _check_whole(path, file, series)
        yield file, series


def _check(path: Path, file: Any, series: Any) -> None:
    page = series.keyframe
    if page.photometric not in (0, 1) or page.samplesperpixel != 1:  # white or black is zero
        fault = f"is not plain greyscale ({page.photometric.name}, {page.samplesperpixel} value(s) a pixel)"
        raise OtherKind(path, fault, "Only greyscale is supported: convert it to grey first.")
    if page.bitspersample == 1:
        raise OtherKind(path, "has 1 bit a pixel: a mask", "Give the image it belongs to.")
    if page.bitspersample not in (8, 16, 32, 64):
        raise ScanError(path, f"has {page.bitspersample} bits a pixel", "Save it with 8, 16 or 32 bits.")
    if not series.axes.endswith("YX"):
        raise ScanError(path, f"has axes {series.axes}, not ending in rows and columns", "Save it as a plain stack.")
    if len(series.levels) > 1:
        raise ScanError(path, "holds the image in several sizes (a pyramid)", "Save the largest as a file of its own.")
    if any(each is None or each.parent is not file for each in series.pages):
        raise ScanError(path, "is an OME image that lies in several files, or lacks planes", "Save it as one file.")
    check_numeric(path, series.dtype)
    check_size(path, series.shape, series.dtype.itemsize, _GROWTH.get(int(page.compression), math.inf))


def _check_whole(path: Path, file: Any, series: Any) -> None:
    """ScanError if pixels are missing, or lie elsewhere: tifffile would give zeros for them, or fewer pages."""
    if series.is_multifile:
        raise ScanError(path, "is one of several files that belong together", "Save it as one file.")
    pages = [series.keyframe] if series.dataoffset is not None else list(series.pages)
    first = series.keyframe
    raw = first.compression == _NONE
    if any(page is None or 0 in page.databytecounts for page in pages) or (
        raw and sum(first.databytecounts) < first.nbytes
    ):
        raise ScanError(path, "lacks some of its pixel data", _REMEDY)
    announced = int((file.imagej_metadata or {}).get("images", 1))
    if announced > math.prod(series.shape[:-2]):
        fault = f"announces {announced} images, of which {math.prod(series.shape[:-2])} are there"
        raise ScanError(path, fault, _REMEDY)


def _order(series: Any) -> tuple[list[int], list[int]]:
    """The axes before rows and columns: (those of volumes, those of slices)."""
    leading = range(len(series.axes) - 2)
    slices = [axis for axis in leading if series.axes[axis] in _OF_SLICES]
    return [axis for axis in leading if axis not in slices], slices


def _slices(series: Any, path: Path) -> np.ndarray:
    """Stored numbers (slices, rows, columns), volume by volume."""
    volumes, slices = _order(series)
    with reading(path, "TIFF"):
        stored = series.asarray().reshape(series.shape)
        return stored.transpose(*volumes, *slices, -2, -1).reshape(-1, *series.shape[-2:])


def _pages(slices: np.ndarray, series: Any) -> np.ndarray:
    """Slices in the order in which they lie in the file."""
    order = [axis for axes in _order(series) for axis in axes]
    spread = slices.reshape(*(series.shape[axis] for axis in order), *series.shape[-2:])
    return spread.transpose(*np.argsort(order), -2, -1).reshape(slices.shape)


def _patch(target: Path, result: np.ndarray, series: Any, byteorder: Literal["<", ">"]) -> None:
    """Put pixels in the place of the old ones."""
    data = result.astype(result.dtype.newbyteorder(byteorder))
    with target.open("rb+") as file:
        if series.dataoffset is not None:  # one block; ImageJ lists only its first page
            file.seek(series.dataoffset)
            file.write(data.tobytes())
            return
        for page, plane in zip(series.pages, data, strict=True):
            rest = plane.tobytes()
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                file.seek(offset)
                file.write(rest[:count])
                rest = rest[count:]


def _rewrite(target: Path, result: np.ndarray, file: Any, series: Any) -> None:
    import tifffile

    bigtiff = file.is_bigtiff or result.nbytes > MOST_CLASSIC  # floats may be four times as large as what was there
    with tifffile.TiffWriter(target, bigtiff=bigtiff, byteorder=file.byteorder) as writer:
        if file.is_imagej or file.is_shaped:  # the first page says all; readers take the others to follow it
            pages = [(series.keyframe, result)]
        elif len(file.pages) != len(result):
            fault = "is a stack whose pages are not its slices"
            raise ScanError(file.filehandle.path, fault, "Save it uncompressed and page by page.")
        else:
            pages = [(page.aspage(), plane) for page, plane in zip(series.pages, result, strict=True)]
        for page, planes in pages:
            writer.write(planes, contiguous=False, metadata=None, **_layout(page), **_tags(page, planes.dtype))


def _layout(page: Any) -> dict[str, Any]:
    """How a page lies in the file. A compression that is lossy or cannot be written becomes deflate."""
    layout = {
        "photometric": page.photometric,
        "compression": _LOSSLESS.get(int(page.compression), "adobe_deflate"),
        "predictor": int(page.predictor) > 1,
    }
    if page.is_tiled:
        return layout | {"tile": (page.tilelength, page.tilewidth)}
    return layout | {"rowsperstrip": page.rowsperstrip}


def _tags(page: Any, dtype: np.dtype) -> dict[str, Any]:
    description = page.description
    if dtype != page.dtype:  # in OME's description the type of the pixels is named
        description = re.sub(r'(<Pixels\b[^>]*\bType=")\w+', r"\1float", description)
    return {
        "description": description.encode() or None,  # in bytes, for OME's holds signs such as that of micrometres
        "software": page.software.encode() or False,  # False: else tifffile signs with its own name
        "datetime": page.datetime,
        "extratags": [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in page.tags if tag.code in _KEPT],
        **_resolution(page),
    }


def _resolution(page: Any) -> dict[str, Any]:
    if "XResolution" not in page.tags or "YResolution" not in page.tags:
        return {}
    return {
        "resolution": (page.tags["XResolution"].value, page.tags["YResolution"].value),
        "resolutionunit": page.tags.valueof("ResolutionUnit", 2),
    }
