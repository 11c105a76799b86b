"""What `diffdenoise evaluate` does: results against references, matched by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from diffdenoise.errors import ConfigError, LeftAlone, ScanError
from diffdenoise.quality.reference import Convention, foreground, noise_kept, scores
from diffdenoise.quality.reference import data_range as choose_range
from diffdenoise.run_folder import write_json
from diffdenoise.scans.files import Found, find, read_scan, result_path
from diffdenoise.scans.scan import Scan
from diffdenoise.text import plain

Row = dict[str, Any]
BEFORE = "noisy_"  # before the name of a figure of the noisy image


def evaluate_scans(
    results: Path, reference: Path, noisy: Path | None, convention: Convention
) -> tuple[list[Row], list[ScanError]]:
    """One row of figures per result that has a reference, and what went wrong with the others.

    Folders are matched by the relative names that the scans' results have, without the desc-denoised of BIDS; two
    single files, and two folders of one DICOM series each, are taken as a pair whatever their names.
    Raises ScanError if results or references are missing altogether.
    """
    found, errors = _found(results)
    references = _by_name(reference, results, found)
    inputs = _by_name(noisy, results, found, own_results=False) if noisy else {}
    rows = []
    for item in found:
        try:
            name = _matched(item, results)
            if name not in references:
                raise ScanError(item.paths[0], "has no reference of the same name", f"Put one into {reference}.")
            if noisy and name not in inputs:
                errors.append(ScanError(item.paths[0], "has no noisy input of the same name", f"Put one into {noisy}."))
            rows.append(_evaluate(item, references[name], inputs.get(name), convention))
        except ScanError as error:
            errors.append(error)
        except ConfigError as error:
            errors.append(ScanError(item.paths[0], str(error), "Leave it out."))
    return rows, errors


def _found(path: Path, own_results: bool = True) -> tuple[list[Found], list[ScanError]]:
    found, errors = find([path], own_results=own_results)
    if not found:
        raise next(error for error in errors if not isinstance(error, LeftAlone))
    return found, errors


def _by_name(path: Path, results: Path, wanted: list[Found], own_results: bool = True) -> dict[str, Found]:
    found, _ = _found(path, own_results)
    if len(found) == len(wanted) == 1:
        files = path.is_file() and results.is_file()
        if files or found[0].format == wanted[0].format == "dicom":
            return {_matched(wanted[0], results): found[0]}
    return {_matched(item, path): item for item in found}


def _matched(item: Found, base: Path) -> str:
    """The name of its result, for formats that are read alone have results of another; series lie below the base."""
    name = result_path(item, Path()).as_posix().replace("_desc-denoised", "")
    return name.removeprefix(f"{base.resolve().name}/") if item.format == "dicom" else name


def _evaluate(item: Found, reference: Found, noisy: Found | None, convention: Convention) -> Row:
    truth = read_scan(reference)
    result = _as_cut(item, truth)
    as_stored = truth.pixels.astype(np.uint8) if truth.units == "8-bit" else truth.pixels
    try:
        span = choose_range(as_stored, convention)
    except ConfigError as error:
        raise ScanError(item.paths[0], str(error), "Choose another --data-range.") from error
    mask = foreground(truth.pixels)
    row: Row = {"scan": item.name, **scores(result, truth.pixels, span, mask)}
    if noisy is not None:
        before = _as_cut(noisy, truth)
        if np.array_equal(before, truth.pixels):
            raise ScanError(noisy.paths[0], "is the reference itself", "Give the scan before denoising as --noisy.")
        row.update({BEFORE + key: value for key, value in scores(before, truth.pixels, span, mask).items()})
        row["noise_kept"] = noise_kept(result, truth.pixels, before)
    return row


def _as_cut(item: Found, truth: Scan) -> np.ndarray:
    """Its slices, which have to be those of the reference."""
    scan = read_scan(item)
    if None not in (scan.axis, truth.axis) and scan.axis != truth.axis:
        fault = "has its largest voxels along another axis than its reference, as their headers say, and other slices"
        raise ScanError(item.paths[0], fault, "Write the reference with the voxel sizes of the scan.")
    if scan.pixels.shape != truth.pixels.shape:
        fault = f"has shape {scan.pixels.shape}, its reference {truth.pixels.shape}"
        raise ScanError(item.paths[0], fault, "Compare equal shapes.")
    return scan.pixels


def figures_table(rows: list[Row], convention: Convention) -> Table:
    """The figures for the terminal, with their mean."""
    table = Table(title=f"PSNR in dB and SSIM, data range: {convention}", title_justify="left")
    keys = list(dict.fromkeys(key.removeprefix(BEFORE) for row in rows for key in row if key != "scan"))
    table.add_column("scan")
    for key in keys:
        table.add_column(key.replace("_", " "), justify="right")
    every = [key for key in rows[0] if key != "scan" and all(key in row for row in rows)]  # else of unlike scans
    means = {key: float(np.mean([row[key] for row in rows])) for key in every}
    for row in [*rows, {"scan": "mean", **means}] if len(rows) > 1 else rows:
        if row["scan"] == "mean":
            table.add_section()
        table.add_row(plain(row["scan"]), *(_figure(key, row.get(key)) for key in keys))
        if any(key.startswith(BEFORE) for key in row):
            table.add_row("  before", *(_figure(key, row.get(BEFORE + key)) for key in keys))
    return table


def finite(rows: list[Row]) -> list[Row]:
    """Rows as JSON can hold them: null where a figure is infinite, as the PSNR of equal images is."""
    plain_number = lambda value: None if isinstance(value, float) and not np.isfinite(value) else value  # noqa: E731
    return [{key: plain_number(value) for key, value in row.items()} for row in rows]


def write_figures(path: Path, rows: list[Row], convention: Convention) -> None:
    """The rows as JSON; earlier figures are replaced, nothing else. Raises ConfigError."""
    check_figures(path)
    write_json(path, {"data_range": convention, "scans": finite(rows)})


def check_figures(path: Path) -> None:
    """ConfigError where something lies that is no file of figures, or where there is no folder to put one into."""
    if not path.parent.is_dir():
        raise ConfigError(f"--json {path}: its folder is not there. Make it, or give another name.")
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        earlier = None
    if not (isinstance(earlier, dict) and earlier.keys() == {"data_range", "scans"}):
        raise ConfigError(f"--json {path}: is there already, and holds no figures. Give another name, or move it.")


def _figure(key: str, value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if "psnr" in key else f"{value:.4f}"
