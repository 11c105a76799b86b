"""Reading and writing scans of any format, without ever touching an original or a file that is not ours."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from diffdenoise.errors import ConfigError, ScanError, reason_of
from diffdenoise.scans import bids, sidecar
from diffdenoise.scans.atomic import atomic_file, atomic_folder
from diffdenoise.scans.find import Found, find
from diffdenoise.scans.formats import FOLDERS, FORMATS, OTHER_SUFFIX, suffix_of
from diffdenoise.scans.hounsfield import looks_like_hounsfield
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import too_large

__all__ = [
    "FORMATS", "Found", "check_folder", "check_target", "find", "is_done", "read_scan", "result_path", "write_scan",
]  # fmt: skip

_ELSEWHERE = "Choose another output folder with -o, or move it."


def read_scan(found: Found) -> Scan:
    """The scan: float32 pixels (slices, rows, columns) in the file's units. Raises ScanError, and nothing else."""
    stamps = _stamps(found.paths)
    try:
        scan = FORMATS[found.format].read(found.paths, found.name)
    except MemoryError as error:
        raise too_large(found.paths[0]) from error
    unsaid = scan.units == "arbitrary" and not scan.modality
    return replace(scan, stamps=stamps, units="HU" if unsaid and looks_like_hounsfield(scan.pixels) else scan.units)


def _stamps(paths: tuple[Path, ...]) -> dict[Path, tuple[int, int]]:
    """Those of a `Scan`; none where a file is not there, which reading it will say."""
    try:
        found = [(path, path.stat()) for path in paths]
    except OSError:
        return {}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def result_path(scan: Scan | Found, folder: Path, quantity: str = "denoised") -> Path:
    """Where the result goes: ``folder/name``; for maps with their name before the suffix, such as ``_removed``.

    In BIDS data sets a result has a BIDS name, with ``desc-denoised``, ``desc-removed`` and so on.
    """
    pure = PurePosixPath(scan.name)
    if scan.paths and (derived := bids.derived_name(scan.paths[0], pure.name, quantity)):
        return folder / pure.with_name(derived)
    suffix = "" if scan.format in FOLDERS else suffix_of(pure.name)
    stem, marked = pure.name.removesuffix(suffix), "" if quantity == "denoised" else f"_{quantity}"
    return folder / pure.with_name(f"{stem}{marked}{OTHER_SUFFIX.get((scan.format, quantity), suffix)}")


def is_done(scan: Scan | Found, folder: Path, provenance: Provenance) -> bool:
    """Whether the result is there, whole and unchanged, made from the same sources in the same way."""
    target = result_path(scan, folder, provenance.quantity)
    record = sidecar.load(target)
    if record is None or not target.exists() or not all(path.exists() for path in scan.paths):
        return False
    wanted = sidecar.origin(scan.paths, provenance)
    follows = dict.fromkeys(("result", "replaced", "found", "metadata"))
    if record | follows != wanted | follows or not sidecar.untouched(target, record):
        return False
    if (known := record.get("metadata")) and known != sidecar.metadata_in(bids.metadata_of(scan.paths[0])):
        return False
    beside = bids.companions(scan.paths[0], target, provenance.quantity)
    return all(record["result"].get(place.name) == sidecar.sha256(path) for place, path in beside.items())


def write_scan(scan: Scan, folder: Path, provenance: Provenance) -> Path:
    """Write the result in the source's format, with its JSON sidecar; returns the file's (or series folder's) path.

    The result appears whole or not at all. An earlier result of the same scan is replaced. Raises ScanError where the
    target is a source, or something that is not our result of this scan, or where the disk refuses.
    """
    target = result_path(scan, folder, provenance.quantity)
    if not np.isfinite(scan.pixels).all():
        raise ScanError(scan.name, "the result holds NaN or infinite pixels", "Nothing was written: report this.")
    check_target(scan, folder, provenance.quantity)
    try:
        _write(scan, folder, target, provenance)
    except OSError as error:
        fault = f"cannot be written ({reason_of(error)})"
        raise ScanError(
            target, fault, "Check free space and rights, or choose another output folder with -o."
        ) from error
    except ScanError:
        raise
    except MemoryError as error:
        raise too_large(target) from error
    except Exception as error:  # a format's library met something unforeseen: it must not stop the other scans
        raise ScanError(
            target, f"cannot be written ({reason_of(error)})", "Check that its source files did not change."
        ) from error
    return target


def _write(scan: Scan, folder: Path, target: Path, provenance: Provenance) -> None:
    source = scan.paths[0]
    record, earlier = sidecar.origin(scan.paths, provenance), sidecar.load(target)
    if scan.stamps and scan.stamps != _stamps(scan.paths):  # its hash would vouch for a result that is not of it
        raise ScanError(source, "changed while it was denoised", "Run again when it is complete.")
    about = bids.metadata_of(source) if (in_bids := bids.is_derivative(source, target)) else None
    beside = bids.companions(source, target, provenance.quantity)
    record |= {"metadata": sidecar.metadata_in(about)} if about is not None else {}
    replaced = sidecar.present(target, earlier) if earlier else {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with (atomic_folder if scan.format in FOLDERS else atomic_file)(target) as temporary:
        FORMATS[scan.format].write(scan, temporary, provenance)
        # The record goes first: cut off between the two, the next run finds an outdated result of ours, not an
        # unknown file; the hashes tell it that the result is not the one recorded, but the one that was to be replaced.
        hashes = {place.name: sidecar.sha256(path) for place, path in beside.items()}
        hashes |= sidecar.result_hashes(target, temporary)
        record |= ({"found": provenance.found} if provenance.found else {}) | {"result": hashes}
        sidecar.save(target, record | ({"replaced": replaced} if replaced else {}), about)
    for place, path in beside.items():
        with atomic_file(place) as temporary:
            shutil.copyfile(path, temporary)
    if replaced:
        sidecar.save(target, record, about)
    if in_bids:
        bids.describe(folder, source, provenance.version)


def check_target(scan: Scan | Found, folder: Path, quantity: str = "denoised") -> None:
    """ScanError where the result may not be written: onto an original, onto something that is not ours, or not there.

    Asked before the work begins, so that nobody waits for a result that cannot be put down.
    """
    target = result_path(scan, folder, quantity)
    _refuse_closed(target)
    _refuse_source(scan, target)
    _refuse_foreign(scan, target, list(bids.companions(scan.paths[0], target, quantity)))
    if bids.is_derivative(scan.paths[0], target):
        bids.check_readable(folder, scan.paths[0])


def check_folder(output: Path) -> None:
    """ConfigError where what is to be the folder of the results is a file, or named like one."""
    if output.is_file():
        raise ConfigError(f"{output}: is a file; -o names a folder.")
    if not output.exists() and (suffix_of(output.name) or output.suffix.lower() == ".safetensors"):
        raise ConfigError(f"{output}: is named like a file; -o names a folder. Leave out the ending.")


def _refuse_closed(target: Path) -> None:
    """ScanError where the nearest folder that there is already is none, or may not be written to."""
    place = next(parent for parent in target.absolute().parents if os.path.lexists(parent))
    if not place.is_dir():
        raise ScanError(place, "is no folder, so that no result can be written below it", _ELSEWHERE)
    if not os.access(place, os.W_OK | os.X_OK):
        raise ScanError(place, "cannot be written to: its rights forbid it", _ELSEWHERE)


def _refuse_source(scan: Scan | Found, target: Path) -> None:
    place = Path(os.path.realpath(target))
    for path in scan.paths:
        source = Path(os.path.realpath(path))
        if place == source or place in source.parents or (target.is_file() and target.samefile(path)):
            raise ScanError(target, "is the original, which is never overwritten", "Choose another folder with -o.")


def _refuse_foreign(scan: Scan | Found, target: Path, companions: list[Path]) -> None:
    """ScanError where the place of the target, its sidecar or a companion is taken by what is not our result of it."""
    record = sidecar.load(target)
    own = (target, sidecar.sidecar_path(target)) if record is None else ()
    listed = {} if record is None else record.get("result", {})
    for path in (*own, *(path for path in companions if path.name not in listed)):
        if path.exists() or path.is_symlink():
            raise ScanError(path, "exists already and is not a result of diffdenoise", _ELSEWHERE)
    if record is None:
        return
    if not sidecar.is_of(record, scan.paths):
        raise ScanError(target, "exists already as the result of another scan, or of what was in it before", _ELSEWHERE)
    if target.is_dir() != (scan.format in FOLDERS) and target.exists():
        raise ScanError(target, "exists already and is of another kind (file or folder)", _ELSEWHERE)
    if target.is_dir():
        inside = {path.relative_to(target).as_posix() for path in sidecar.files_in(target)}
        if not inside <= {*record.get("result", {}), *record.get("replaced", {})}:
            raise ScanError(target, "holds files that diffdenoise did not write", _ELSEWHERE)
    if not sidecar.is_own(target, record):
        raise ScanError(target, "was changed after diffdenoise wrote it", f"{_ELSEWHERE[:-1]}; delete it if damaged.")
