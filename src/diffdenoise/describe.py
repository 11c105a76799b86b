"""What `diffdenoise info` says about a scan or a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from diffdenoise.config import Config
from diffdenoise.diagnosis import Diagnosis, choose, diagnose_alone, told
from diffdenoise.errors import DiffdenoiseError, RunError, ScanError
from diffdenoise.machine import machine_of
from diffdenoise.model_file import read_header
from diffdenoise.presets import PRESETS
from diffdenoise.run_folder import MODEL, find_model, find_run
from diffdenoise.scans import sidecar
from diffdenoise.scans.files import find, read_scan
from diffdenoise.scans.scan import Scan
from diffdenoise.second_opinion import Shares
from diffdenoise.text import plain

OF_ANY = ("stabilise", "noise_floor")  # what a fit decides, with or without a teacher


def describe(paths: Sequence[Path]) -> tuple[list[Table], list[ScanError | str]]:
    """Tables for model files, run folders, and each scan under the paths; and what could not be read."""
    each = [_describe(path) for path in paths]
    return [table for tables, _ in each for table in tables], [error for _, errors in each for error in errors]


def _describe(path: Path) -> tuple[list[Table], list[ScanError | str]]:
    try:
        return _tables(path)
    except DiffdenoiseError as error:
        return [], [error if isinstance(error, ScanError) else str(error)]


def _tables(path: Path) -> tuple[list[Table], list[ScanError | str]]:
    if path.suffix == ".safetensors" or _is_run(path):
        return [_table(str(path), _model_facts(read_header(find_model(path))))], []
    found, errors = find([path], own_results=path.is_file() or _is_result(path))  # what is named may be one
    tables = []
    told: list[ScanError | str] = [*errors]
    for item in found:
        try:
            tables.append(_table(item.name, _scan_facts(read_scan(item))))
        except ScanError as error:
            told.append(error)
    return tables, told


def _is_run(path: Path) -> bool:
    try:
        return path.is_dir() and (find_run(path) / MODEL).exists()
    except RunError:
        return False


def _is_result(folder: Path) -> bool:
    """Whether it is a DICOM series that we wrote; "." has a name, too, the root has none."""
    whole = folder.resolve()
    return bool(whole.name) and sidecar.load(whole) is not None


def _scan_facts(scan: Scan) -> dict[str, Any]:
    found = diagnose_alone(scan.pixels, scan.frames, machine_of(scan))
    level, trend = found.level, found.trend
    slices, rows, columns = scan.pixels.shape
    there = np.sqrt(level.variance(np.array(found.alone.knots)))  # at brightnesses that the scan has
    choice = choose([found])
    grain = choice.why.pop("grain", "")  # of any fit
    of_any = {name: choice.why.pop(name) for name in OF_ANY if name in choice.why}
    said, *reasons = told(PRESETS["cpu"], choice)
    _, *of_any_fit = told(PRESETS["fast"], replace(choice, why=of_any))
    facts = {
        "format": scan.format.replace("_", " "),
        "files": len(scan.paths),
        "slices x rows x columns": f"{slices} x {rows} x {columns}"
        + (f", {scan.frames} volumes of {slices // scan.frames}" if scan.frames > 1 else ""),
        "range": f"{scan.pixels.min():g} to {scan.pixels.max():g}",
        "units": scan.units + (" (equal numbers mean the same in every scan)" if scan.units != "arbitrary" else ""),
        "noise level": f"{level.typical:.3g} ({there.min():.3g} to {there.max():.3g} over brightness)",
        "noise kind": trend.kind,
        "noise texture": f"{level.texture}. {grain[:-1]} (setting grain)" if grain else str(level.texture),
        "noise over the image": str(level.variation),
        "noise": said,
        "neighbouring slices": _neighbours(found),
        **({"frames": _frames(found)} if scan.frames > 1 else {}),
        **({"with any fit": "\n".join(of_any_fit)} if of_any_fit else {}),
        "with three stages": "\n".join(reasons),
    }
    warnings = [*filter(None, [scan.doubt]), *(fault.message for fault in found.faults)]
    return {**facts, "warning": "\n".join(warnings)} if warnings else facts


def _neighbours(found: Diagnosis) -> str:
    if not found.neighbours:
        return "do not help"
    instead = "; the frames help more, and are seen instead" if found.series else ""
    return f"help: alike, and each with noise of its own{instead}"


def _frames(found: Diagnosis) -> str:
    return "help one another: alike, and each with noise of its own" if found.series else "do not help one another"


def _model_facts(header: dict[str, Any]) -> dict[str, Any]:
    config = Config.model_validate(header["config"]).model_dump()
    taught, second = config["student"]["learns_from"] == "teacher", header.get("second_opinion")
    turns = config["student"]["turns"]
    stages = {stage: config[stage]["steps"] for stage in ("blind_spot", "diffusion", "student")[0 if taught else 2 :]}
    of_teacher = {
        "hidden patch": f"{config['blind_spot']['patch']} ({config['blind_spot']['network']})",
        "rounds": config["rounds"],
        "sampler": f"{config['teacher']['steps']} steps, {config['teacher']['pairs']} pair(s), "
        + ("fused" if config["teacher"]["fuse"] else "not fused"),
    }
    return {
        "fingerprint": header["fingerprint"],
        "written by": f"diffdenoise {header['version']}, torch {header['torch']}",
        "preset": f"{config['preset']}, seed {config['seed']}",
        "training steps": ", ".join(f"{stage} {steps}" for stage, steps in stages.items()),
        "trained on": _trained_on(header["history"]),
        "device": f"{header['history'].get('device')}, {header['history'].get('precision')}",
        "normalisation": header["normalisation"]["mode"],
        "noise": ", ".join(f"{name} {config[name]:g}, given" for name in ("sigma", "counts") if config[name])
        or "estimated from each scan",
        "student": "of a teacher" if taught else f"from the noisy images alone, recorrupted{_alpha(config)}",
        "started from": {"synthetic": "weights that learned from synthetic images"}.get(
            config["student"]["start"], "random weights"
        ),
        "sees": "each slice, and those above and below it" if config["student"]["neighbours"] else "each slice alone",
        **({"of a series": "its principal components"} if config["student"]["series"] else {}),
        "passes": {None: "one", 1: "one"}.get(turns, f"{turns}, over turns of a slice; their mean"),
        **({"second opinion": Shares(*second["shares"])} if second else {}),
        "makes": f"{header.get('strength', 1.0):.0%} of the student's correction",
        "floor of the noise": {"remove": "taken off"}.get(config["noise_floor"], "left as it is"),
        **(of_teacher if taught else {}),
        "notice": header["notice"],
    }


def _trained_on(history: dict[str, Any]) -> str:
    counts = ", ".join(f"{history[key]} {key}" for key in ("scans", "slices") if key in history)
    return f"{counts} of {history['modality']}" if "modality" in history else counts


def _alpha(config: dict[str, Any]) -> str:
    alpha = config["student"]["recorruption"]
    return f" with alpha {alpha:g}" if alpha else ""


def _table(title: str, facts: dict[str, Any]) -> Table:
    table = Table(title=plain(title), title_justify="left", show_header=False, box=None)
    for key, value in facts.items():
        table.add_row(key, plain(str(value)))
    return table
