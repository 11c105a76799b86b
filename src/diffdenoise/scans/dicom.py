"""DICOM: one file (of one or more frames), or a series of files; reading pixels and writing derived ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffdenoise.errors import DISC_LIST, DiscList, ScanError, reason_of
from diffdenoise.scans import dicom_derive, dicom_frames, dicom_map, dicom_pixels
from diffdenoise.scans.dicom_kind import check_kind, has_phase_frames, is_list, other_kind
from diffdenoise.scans.dicom_scale import SignedScale, in_hounsfield
from diffdenoise.scans.dicom_series import DEFLATED, check_inflated, has_mark, in_slice_order, quiet
from diffdenoise.scans.planes import stacked
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import check_memory, check_size, reading

__all__ = ["SUFFIXES", "check_kind", "has_mark", "read", "write"]

SUFFIXES: tuple[str, ...] = (".dcm", ".ima")
MAP_NAME = "map.dcm"  # in a series' folder


@dataclass(frozen=True)
class Stored:
    """How the slices lie in the files: so many in each; of a single file, which frame each is, if not as they lie."""

    counts: tuple[int, ...]
    order: tuple[int, ...] = ()


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one file or in the files of a series, in slice order, in physical units.

    CT is in "HU", unless it says otherwise. Raises ScanError with the reason for what is no plain greyscale image.
    """
    if len(paths) > 1:
        return _read_series(paths, name)
    with reading(paths[0], "DICOM"), quiet():
        dataset = _load(paths[0])
        pixels, about = dicom_pixels.physical(dataset), _about(dataset)
        order, volumes = dicom_frames.in_order(dataset)
    if order == sorted(order):  # most files; a copy may fill the memory
        return Scan(pixels, name, "dicom_file", paths, frames=volumes, source=Stored((len(order),)), **about)
    stored = Stored((len(order),), tuple(order))
    return Scan(pixels[order], name, "dicom_file", paths, frames=volumes, source=stored, **about)


def _read_series(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in the files of a series, read into one array: a list and that beside it would take twice the memory."""
    ordered, volumes = in_slice_order(paths)
    pixels: np.ndarray | None = None
    for number, path in enumerate(ordered):
        with reading(path, "DICOM"), quiet():
            dataset = _load(path)
            if pixels is None:
                pixels = _room_for(len(ordered), dataset, name)
            found, about = dicom_pixels.physical(dataset), _about(dataset)
        if found.shape != pixels.shape[1:]:
            fault = f"has {found.shape} pixels (frames, rows, columns) where its series has {pixels.shape[1:]}"
            raise ScanError(path, fault, "Put images of different sizes in folders of their own.")
        pixels[number] = found
    assert pixels is not None
    count = pixels.shape[1]
    source, frames = Stored((count,) * len(ordered)), volumes if count == 1 else 1
    return Scan(stacked(pixels), name, "dicom", ordered, frames=frames, source=source, **about)


def _room_for(files: int, dataset: Any, name: str) -> np.ndarray:
    """(files, frames, rows, columns), for files like this one. ScanError if memory cannot hold them."""
    shape = files, *dicom_pixels.shape_of(dataset)
    check_memory(name, math.prod(shape), int(dataset.get("BitsAllocated") or 0) / 8)
    return np.empty(shape, np.float32)


def _about(dataset: Any) -> dict[str, Any]:
    """What a scan says of itself besides its pixels."""
    units = "HU" if in_hounsfield(dataset) else "arbitrary"
    return {"units": units, "modality": str(dataset.get("Modality") or ""), "step": dicom_pixels.step_of(dataset)}


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """A derived image (PS3.3 C.7.6.1.1.2) for each source file: to `target`, or into it where it is a folder.

    "denoised" keeps stored type and scaling. "uncertainty" and "spread" are one Parametric Map where the sources lie in
    a patient's space and their headers allow one. All else is stored as signed 16 bits with a scale of its own (where
    the source's pixels are floats, as floats).
    """
    stored: Stored = scan.source
    pixels = scan.pixels[np.argsort(stored.order)] if stored.order else scan.pixels
    if provenance.quantity in dicom_map.MEANINGS and _write_map(scan.paths, pixels, target, provenance):
        return
    scale = None if provenance.quantity == "denoised" else SignedScale.covering(scan.pixels)
    names = output_names(scan.paths)
    start = 0
    for path, name, count in zip(scan.paths, names, stored.counts, strict=True):
        with quiet(), _writing(path):
            dataset = _load(path)
            dicom_pixels.replace(dataset, pixels[start : start + count], scale)
            dicom_derive.derive(dataset, provenance)
            _save(dataset, target / name if target.is_dir() else target)
        start += count


@contextmanager
def _writing(source: Path) -> Iterator[None]:
    """Name the one source of a series of which no derived image can be written, unless it is the disk's fault."""
    try:
        yield
    except (ScanError, OSError, MemoryError):
        raise
    except Exception as error:  # of an element that breaks the standard, which reading the pixels does not notice
        fault = f"has elements that cannot be written again ({reason_of(error)})"
        raise ScanError(source, fault, "Mend it, or leave it out.") from error


def _write_map(paths: tuple[Path, ...], pixels: np.ndarray, target: Path, provenance: Provenance) -> bool:
    """Write a Parametric Map, if there can be one: highdicom may refuse headers that we can do without."""
    with quiet():
        datasets = []
        for path in paths:
            datasets.append(_load(path))
            dicom_derive.discard(datasets[-1], dicom_pixels.PIXEL_KEYWORDS)  # a series' may fill the memory
        try:
            if not dicom_map.is_possible(datasets):
                return False
            dataset = dicom_map.parametric_map(datasets, pixels, provenance)
        except MemoryError:
            raise
        except Exception:  # it has almost any for what breaks the standard
            return False
        _save(dataset, target / MAP_NAME if target.is_dir() else target)
    return True


def output_names(paths: tuple[Path, ...]) -> list[str]:
    """File names for the results of `paths`: their own, or with their folders where two share a name."""
    names = [path.name for path in paths]
    if len({name.lower() for name in names}) == len(names):
        return names
    depth = max(len(path.parts) for path in paths)
    for parts in range(2, depth + 1):
        names = ["_".join(path.parts[-parts:]).replace(path.anchor or "\0", "") for path in paths]
        if len({name.lower() for name in names}) == len(names):
            break
    return names


def _load(path: Path) -> Any:
    """The dataset with its (still encoded) pixels, checked to be an image we can denoise."""
    import pydicom

    with reading(path, "DICOM"):
        marked = has_mark(path)
        check_inflated(path)
        dataset = pydicom.dcmread(path, force=not marked)
        _complete(dataset)
        _check_claim(path, dataset)
        reason = _refusal(dataset)
    if reason and not marked and not dataset.get("SOPClassUID"):
        raise ScanError(path, "is not DICOM, whatever its name says", "Rename it or export it again.")
    if is_list(dataset):
        raise DiscList(path, *DISC_LIST)
    if reason:
        raise ScanError(path, reason, "Leave it out, or denoise the original image it belongs to.")
    return dataset


def _complete(dataset: Any) -> None:
    """Fill what the rest relies on from where the file says it a second time, and drop what no file may hold."""
    for tag in [tag for tag in dataset.keys() if tag.group == 0]:  # noqa: SIM118 - of a message, as it was recorded
        del dataset[tag]
    meta = dataset.file_meta
    for keyword in ("SOPClassUID", "SOPInstanceUID"):  # anonymisers blank them, but forget the file's head
        if not dataset.get(keyword) and meta.get(f"MediaStorage{keyword}"):
            setattr(dataset, keyword, meta.get(f"MediaStorage{keyword}"))
    if not meta.get("TransferSyntaxUID"):
        meta.TransferSyntaxUID = _guess_syntax(dataset)


def _check_claim(path: Path, dataset: Any) -> None:
    """ScanError if the pixel data there are cannot be, or are more than, the image that the header announces."""
    data = dataset.get("PixelData")
    bits = dataset.get("BitsAllocated")
    if data is None or not bits or dataset.get("SamplesPerPixel", 1) != 1:
        return  # `_refusal` finds words for it
    shape = dicom_pixels.shape_of(dataset)
    packed = dataset.file_meta.TransferSyntaxUID.is_compressed and not _is_deflated(dataset)
    if packed:  # how much a code unpacks to is not bounded, but each frame is an item of its own
        check_size(path, shape[:1], 8, held=len(data))
        check_size(path, shape, bits / 8, math.inf)
        return
    check_size(path, shape, bits / 8, held=len(data))
    if len(data) - math.prod(shape) * bits / 8 >= math.prod(shape[1:]) * bits / 8:
        fault = f"holds more pixel data than the {shape[0]} frame(s) of {shape[1]} x {shape[2]} pixels it announces"
        raise ScanError(path, fault, "Its header is wrong: export it again.")


def _is_deflated(dataset: Any) -> bool:
    return bool(dataset.file_meta.TransferSyntaxUID == DEFLATED)


def _refusal(dataset: Any) -> str | None:
    """Why this object cannot be denoised, or None."""
    if reason := other_kind(dataset):
        return reason
    if not any(keyword in dataset for keyword in dicom_pixels.PIXEL_KEYWORDS):
        return f"holds no pixel data (modality {dataset.get('Modality') or 'unknown'})"
    if not dataset.get("SOPInstanceUID") or not dataset.get("SOPClassUID"):
        return "has no SOP Instance UID, or no SOP Class UID, so a derived image cannot refer to it"
    if has_phase_frames(dataset):
        return "holds phase images, whose values wrap around, among its frames"
    return dicom_pixels.refusal(dataset)


def _guess_syntax(dataset: Any) -> Any:
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _save(dataset: Any, path: Path) -> None:
    import pydicom

    # `force_encoding` allows a change of byte order: numbers are converted by pydicom, words by `derive`
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
