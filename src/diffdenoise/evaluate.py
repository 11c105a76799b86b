"""What `diffdenoise evaluate` does: results against references, matched by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.table import Table

from diffdenoise.errors import ConfigError, LeftAlone, ScanError
from diffdenoise.quality.reference import data_range as choose_range
from diffdenoise.quality.reference import foreground, noise_kept, scores
from diffdenoise.scans.files import Found, find, read_scan, result_path
from diffdenoise.text import plain

Row = dict[str, Any]


def evaluate_scans(
    results: Path, reference: Path, noisy: Path | None, convention: Literal["fastMRI", "unit"]
) -> tuple[list[Row], list[ScanError]]:
    """One row of figures per result that has a reference, and what went wrong with the others.

    Folders are matched by the relative names that the scans' results have; two single files are taken as a pair
    whatever their names.
    Raises ScanError if results or references are missing altogether.
    """
    found, errors = _found(results)
    references = _by_name(reference, found)
    inputs = _by_name(noisy, found) if noisy else {}
    rows = []
    for item in found:
        try:
            name = _matched(item)
            if name not in references:
                raise ScanError(item.paths[0], "has no reference of the same name", f"Put one into {reference}.")
            rows.append(_evaluate(item, references[name], inputs.get(name), convention))
        except ScanError as error:
            errors.append(error)
        except ConfigError as error:
            errors.append(ScanError(item.paths[0], str(error), "Choose another --data-range."))
    return rows, errors


def _found(path: Path) -> tuple[list[Found], list[ScanError]]:
    found, errors = find([path], own_results=True)
    if not found:
        raise next(error for error in errors if not isinstance(error, LeftAlone))
    return found, errors


def _by_name(path: Path, wanted: list[Found]) -> dict[str, Found]:
    found, _ = _found(path)
    if len(found) == len(wanted) == 1:
        return {_matched(wanted[0]): found[0]}
    return {_matched(item): item for item in found}


def _matched(item: Found) -> str:
    """Formats that are read alone have results of another."""
    return result_path(item, Path()).as_posix()


def _evaluate(item: Found, reference: Found, noisy: Found | None, convention: Literal["fastMRI", "unit"]) -> Row:
    truth = read_scan(reference)
    result = _same_shape(item, truth.pixels)
    as_stored = truth.pixels.astype(np.uint8) if truth.units == "absolute" and truth.format == "png" else truth.pixels
    span = choose_range(as_stored, convention)
    mask = foreground(truth.pixels)
    row: Row = {"scan": item.name, **scores(result, truth.pixels, span, mask)}
    if noisy is not None:
        before = _same_shape(noisy, truth.pixels)
        row.update({f"noisy_{key}": value for key, value in scores(before, truth.pixels, span, mask).items()})
        row["noise_kept"] = noise_kept(result, truth.pixels, before)
    return row


def _same_shape(item: Found, truth: np.ndarray) -> np.ndarray:
    pixels = read_scan(item).pixels
    if pixels.shape != truth.shape:
        raise ScanError(
            item.paths[0], f"has shape {pixels.shape}, its reference {truth.shape}", "Compare equal shapes."
        )
    return pixels


def figures_table(rows: list[Row], convention: str) -> Table:
    """The figures for the terminal, with their mean."""
    table = Table(title=f"PSNR in dB and SSIM, data range: {convention}", title_justify="left")
    keys = [key for key in rows[0] if key != "scan"]
    table.add_column("scan")
    for key in keys:
        table.add_column(key.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(plain(row["scan"]), *(_figure(key, row.get(key)) for key in keys))
    if len(rows) > 1:
        means = {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}
        table.add_section()
        table.add_row("mean", *(_figure(key, means[key]) for key in keys))
    return table


def _figure(key: str, value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if "psnr" in key else f"{value:.4f}"
