"""Greyscale TIFF pictures and stacks, ImageJ's and OME's among them.

Uncompressed files are copied and only their pixel bytes replaced, so every tag stays. Compressed ones are written
anew, page by page, with the tags that describe picture and stack.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

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
from diffdenoise.scans.tiff_chain import broken_chain

SUFFIXES: tuple[str, ...] = (".tif", ".tiff")

_NONE, _LZMA, _PACKBITS, _DEFLATES, _ZSTD = 1, 34925, 32773, (8, 32946, 50013), 50000
_GROWTH = {_NONE: 1, _PACKBITS: 64} | dict.fromkeys(_DEFLATES, DEFLATE)  # the others have no bound
_REMEDY = "It is damaged or cut off: copy or export it again."
_COPIED_TAGS = ("software", "datetime", "description")


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one TIFF, pages as slices; ScanError for colour, several image sizes, or fewer than 8 bits."""
    with _opened(paths[0]) as (_, series):
        stored = _slices(series, paths[0])
    return Scan(to_physical(stored), name, "tiff", paths, units_of(stored.dtype))


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same dtype, pages and tags; a float32 stack for quantities other than "denoised"."""
    with _opened(scan.paths[0]) as (file, series):
        original = _slices(series, scan.paths[0])
        if provenance.quantity != "denoised":
            _write_float32(target, to_float32(scan.pixels, original), series)
            return
        result = to_stored(scan.pixels, original)
        if series.keyframe.compression == _NONE and not series.keyframe.is_tiled:
            shutil.copyfile(scan.paths[0], target)
            _patch(target, result, series, file.byteorder)
        else:
            _rewrite(target, result, file, series)


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
            _check_page(path, series)
            _check_whole(path, file, series)
        yield file, series


def _check_page(path: Path, series: Any) -> None:
    page = series.keyframe
    if page.photometric not in (0, 1) or page.samplesperpixel != 1:  # white or black is zero
        fault = f"is not plain greyscale ({page.photometric.name}, {page.samplesperpixel} value(s) a pixel)"
        raise ScanError(path, fault, "Only greyscale is supported: convert it to grey first.")
    if page.bitspersample not in (8, 16, 32, 64):
        raise ScanError(path, f"has {page.bitspersample} bit(s) a pixel", "Save it with 8, 16 or 32 bits.")
    if not series.axes.endswith("YX"):
        raise ScanError(path, f"has axes {series.axes}, not ending in rows and columns", "Save it as a plain stack.")
    if page.compression not in (_NONE, _LZMA, _PACKBITS, _ZSTD, *_DEFLATES) and not _has_codecs():
        fault = f"is compressed with {page.compression.name}, which needs another package"
        raise ScanError(path, fault, "Run `pip install imagecodecs`, or save it uncompressed.")
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


def _has_codecs() -> bool:
    from importlib.util import find_spec

    return find_spec("imagecodecs") is not None


def _slices(series: Any, path: Path) -> np.ndarray:
    with reading(path, "TIFF"):
        return series.asarray().reshape(-1, *series.shape[-2:])


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

    if len(file.pages) != len(result):
        fault = "is a compressed stack whose pages are not its slices"
        raise ScanError(file.filehandle.path, fault, "Save it uncompressed.")
    with tifffile.TiffWriter(target, bigtiff=file.is_bigtiff, byteorder=file.byteorder) as writer:
        for page, plane in zip(series.pages, result, strict=True):
            full = page.aspage()
            writer.write(plane, contiguous=False, metadata=None, **_layout(full), **_tags(full))


def _layout(page: Any) -> dict[str, Any]:
    """How a page lies in the file. A compression that is lossy or cannot be written becomes deflate."""
    kept = {_NONE: None, _LZMA: "lzma", _ZSTD: "zstd"} | ({5: "lzw", _PACKBITS: "packbits"} if _has_codecs() else {})
    layout = {
        "photometric": page.photometric,
        "compression": kept.get(int(page.compression), "adobe_deflate"),
        "predictor": int(page.predictor) == 2,  # of whole numbers; that of floats needs another package
    }
    if page.is_tiled:
        return layout | {"tile": (page.tilelength, page.tilewidth)}
    return layout | {"rowsperstrip": page.rowsperstrip}


def _tags(page: Any) -> dict[str, Any]:
    values = {name: getattr(page, name, None) or None for name in _COPIED_TAGS}
    values["software"] = values["software"] or False  # else tifffile signs with its own name
    return values | _resolution(page)


def _resolution(page: Any) -> dict[str, Any]:
    if "XResolution" not in page.tags or "YResolution" not in page.tags:
        return {}
    return {
        "resolution": (page.tags["XResolution"].value, page.tags["YResolution"].value),
        "resolutionunit": page.tags.valueof("ResolutionUnit", 2),
    }


def _write_float32(target: Path, result: np.ndarray, series: Any) -> None:
    import tifffile

    shaped = result.reshape(series.shape)
    axes = {"axes": series.axes} if result.shape[0] > 1 else None
    tifffile.imwrite(
        target, shaped, photometric="minisblack", metadata=axes, software=False, **_resolution(series.keyframe)
    )
