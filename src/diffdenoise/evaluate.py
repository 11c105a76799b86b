"""What `diffdenoise evaluate` does: results against references, matched by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from diffdenoise.errors import ConfigError, LeftAlone, ScanError
from diffdenoise.json_file import write_checked
from diffdenoise.quality.reference import Convention, foreground, noise_kept, scores
from diffdenoise.quality.reference import data_range as choose_range
from diffdenoise.scans.files import Found, find, read_scan, result_path
from diffdenoise.scans.scan import Scan
from diffdenoise.text import plain, some_of

Row = dict[str, Any]
BEFORE = "noisy_"  # before the name of a figure of the noisy image
NO_FIGURES = ("scan", "reference", "data_range")  # in a row


def evaluate_scans(
    results: Path, reference: Path, noisy: Path | None, convention: Convention
) -> tuple[list[Row], list[ScanError]]:
    """One row of figures per result that has a reference, and what went wrong with the others.

    Folders are matched by the relative names that the scans' results have, without the desc-denoised of BIDS. A single
    reference (or noisy input) is that of all results, whatever their names; two folders of one DICOM series each are a
    pair, too. Raises ScanError if results or references are missing altogether.
    """
    found, errors = _found(results)
    references = _by_name(reference, results, found, errors)
    if reference.is_file():  # it may lie among the results
        found = [item for item in found if not _is_same(item.paths[0], reference)] or found
    inputs = _by_name(noisy, results, found, errors, own_results=False) if noisy else {}
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


def _by_name(
    path: Path, results: Path, wanted: list[Found], errors: list[ScanError], own_results: bool = True
) -> dict[str, Found]:
    """What belongs to each result that is wanted; what could not be searched goes to `errors`."""
    found, wrong = _found(path, own_results)
    errors += [error for error in wrong if not isinstance(error, LeftAlone)]
    two_series = len(found) == len(wanted) == 1 and found[0].format == wanted[0].format == "dicom"
    if path.is_file() or two_series:
        return {_matched(item, results): found[0] for item in wanted}
    return {_matched(item, path): item for item in found}


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


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
    row: Row = {"scan": item.name, "reference": str(reference.paths[0]), "data_range": span}
    row |= scores(result, truth.pixels, span, mask)
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


def grouped(errors: Sequence[ScanError]) -> list[ScanError]:
    """One error for all files with the same fault, for a thousand lines nobody reads."""
    alike: dict[tuple[type[ScanError], str, str], list[object]] = {}
    for error in errors:
        alike.setdefault((type(error), error.fault, error.remedy), []).append(error.path)
    return [kind(some_of(list(dict.fromkeys(paths))), *said) for (kind, *said), paths in alike.items()]


def figures_table(rows: list[Row], convention: Convention) -> Table:
    """The figures for the terminal, with their mean."""
    references = {row["reference"] for row in rows}
    all_against = f", all against {plain(*references)}" if len(references) == 1 < len(rows) else ""
    table = Table(title=f"PSNR in dB and SSIM, data range: {convention}{all_against}", title_justify="left")
    keys = list(dict.fromkeys(key.removeprefix(BEFORE) for row in rows for key in row if key not in NO_FIGURES))
    table.add_column("scan", overflow="fold")  # a name that is cut off tells nothing
    for key in keys:
        table.add_column(key.replace("_", " "), justify="right")
    for row in [*rows, {"scan": "mean", **mean_of(rows)}] if len(rows) > 1 else rows:
        if row["scan"] == "mean":
            table.add_section()
        table.add_row(plain(row["scan"]), *(_figure(key, row.get(key)) for key in keys))
        if any(key.startswith(BEFORE) for key in row):
            table.add_row("  before", *(_figure(key, row.get(BEFORE + key)) for key in keys))
    return table


def mean_of(rows: list[Row]) -> Row:
    """The mean of each figure that all rows have: one of some would be that of unlike scans."""
    keys = [key for key in rows[0] if key not in NO_FIGURES and all(key in row for row in rows)] if rows else []
    return {key: float(np.mean([row[key] for row in rows])) for key in keys}


def finite(row: Row) -> Row:
    """A row as JSON can hold it: null where a figure is infinite, as the PSNR of equal images is."""
    return {key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()}


def write_figures(path: Path | None, rows: list[Row], errors: Sequence[ScanError], convention: Convention) -> None:
    """Rows, their mean and what went wrong, as JSON, if a path is given; see `write_checked`."""
    content = {"data_range": convention, "scans": [finite(row) for row in rows], "mean": finite(mean_of(rows))}
    write_checked(path, "figures", content, errors)


def _figure(key: str, value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if "psnr" in key else f"{value:.4f}"
