"""What `diffdenoise info` says about a scan or a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from diffdenoise.config import Config
from diffdenoise.diagnosis import Choice, Diagnosis, choose, diagnose_alone, told
from diffdenoise.errors import DiffdenoiseError, RunError, ScanError
from diffdenoise.json_file import write_checked
from diffdenoise.machine import machine_of
from diffdenoise.model_file import read_header
from diffdenoise.presets import PRESETS
from diffdenoise.run_folder import MODEL, find_model, find_run
from diffdenoise.scans import sidecar
from diffdenoise.scans.files import Found, find, read_scan
from diffdenoise.scans.scan import Scan
from diffdenoise.second_opinion import Shares
from diffdenoise.text import plain

OF_ANY = ("stabilise", "noise_floor")  # what a fit decides, with or without a teacher
Facts = dict[str, Any]  # by name, in words


@dataclass(frozen=True)
class Description:
    """What is said of a scan or a model: facts in words, by name; data: the same as JSON holds it."""

    title: str
    facts: Facts
    data: dict[str, Any]
    is_model: bool = False

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title=plain(self.title), title_justify="left", show_header=False, box=None)
        for key, value in self.facts.items():
            table.add_row(key, plain(str(value)))
        return table


def describe(paths: Sequence[Path]) -> tuple[list[Description], list[ScanError | str]]:
    """Model files, run folders, and each scan under the paths; and what could not be read."""
    each = [_describe(path) for path in paths]
    return [one for found, _ in each for one in found], [error for _, errors in each for error in errors]


def write_descriptions(path: Path | None, described: Sequence[Description], errors: Sequence[ScanError | str]) -> None:
    """All of it as JSON, if a path is given; see `write_checked`."""
    scans, models = ([one.data for one in described if one.is_model is model] for model in (False, True))
    write_checked(path, "descriptions", {"scans": scans, "models": models}, errors)


def _describe(path: Path) -> tuple[list[Description], list[ScanError | str]]:
    try:
        return _described(path)
    except DiffdenoiseError as error:
        return [], [error if isinstance(error, ScanError) else str(error)]


def _described(path: Path) -> tuple[list[Description], list[ScanError | str]]:
    if path.suffix == ".safetensors" or _is_run(path):
        header = read_header(file := find_model(path))
        return [Description(str(path), _model_facts(header), {"path": str(file), **header}, is_model=True)], []
    found, errors = find([path], own_results=path.is_file() or _is_result(path))  # what is named may be one
    described = []
    told: list[ScanError | str] = [*errors]
    for item in found:
        try:
            described.append(_describe_scan(item))
        except ScanError as error:
            told.append(error)
    return described, told


def _is_run(path: Path) -> bool:
    try:
        return path.is_dir() and (find_run(path) / MODEL).exists()
    except RunError:
        return False


def _is_result(folder: Path) -> bool:
    """Whether it is a DICOM series that we wrote; "." has a name, too, the root has none."""
    whole = folder.resolve()
    return bool(whole.name) and sidecar.load(whole) is not None


def _describe_scan(item: Found) -> Description:
    scan = read_scan(item)
    slices, rows, columns = scan.pixels.shape
    low, high = float(scan.pixels.min()), float(scan.pixels.max())
    facts = {
        "format": scan.format.replace("_", " "),
        "files": len(scan.paths),
        "slices x rows x columns": f"{slices} x {rows} x {columns}"
        + (f", {scan.frames} volumes of {slices // scan.frames}" if scan.frames > 1 else ""),
        "range": f"{low:g} to {high:g}",
        "units": scan.units + (" (equal numbers mean the same in every scan)" if scan.units != "arbitrary" else ""),
    }
    data = {
        "path": str(item.paths[0]),
        "scan": item.name,
        "format": scan.format,
        "files": len(scan.paths),
        "modality": scan.modality,
        "shape": [slices, rows, columns],
        "frames": scan.frames,
        "range": [low, high],
        "units": scan.units,
    }
    more_facts, more_data = _flat(low) if low == high else _noise(scan)
    warnings = ([{"fault": "axes", "message": scan.doubt}] if scan.doubt else []) + more_data["warnings"]
    warned = {"warning": "\n".join(warning["message"] for warning in warnings)} if warnings else {}
    return Description(item.name, facts | more_facts | warned, data | more_data | {"warnings": warnings})


def _flat(value: float) -> tuple[Facts, dict[str, Any]]:
    """Of a scan with a single value; what is no number is read as 0."""
    all_are = f"all pixels are {value:g}" if value else "all pixels are 0 (or NaN or infinite, which are read as 0)"
    message = f"There is nothing to denoise: {all_are}. Look whether the file was written as it should be."
    return {"range": f"none: {all_are}"}, {"warnings": [{"fault": "flat", "message": message}]}


def _noise(scan: Scan) -> tuple[Facts, dict[str, Any]]:
    found = diagnose_alone(scan.pixels, scan.frames, machine_of(scan))
    choice = choose([found])
    there = np.sqrt(found.level.variance(np.array(found.alone.knots)))  # at brightnesses that the scan has
    ends = float(there.min()), float(there.max())
    return _noise_facts(found, choice, ends, scan.frames), _noise_data(found, choice, ends)


def _noise_data(found: Diagnosis, choice: Choice, ends: tuple[float, float]) -> dict[str, Any]:
    level = found.level
    noise = {
        "kind": found.trend.kind,
        "level": level.typical,
        "over_brightness": ends,
        "over_image": (level.variation.low, level.variation.high),  # times as strong
        "texture": str(level.texture),
        "reach": level.reach,
        "grain": float(level.texture.grain),
    }
    return {
        "noise": noise,
        "neighbours_help": bool(found.neighbours),
        "frames_help": bool(found.series),
        "told": [choice.noise, *choice.why.values()],
        "warnings": [asdict(fault) for fault in found.faults],
    }


def _noise_facts(found: Diagnosis, choice: Choice, ends: tuple[float, float], frames: int) -> Facts:
    level, why = found.level, dict(choice.why)
    grain = why.pop("grain", "")  # of any fit
    of_any = {name: why.pop(name) for name in OF_ANY if name in why}
    said, *reasons = told(PRESETS["cpu"], replace(choice, why=why))
    _, *of_any_fit = told(PRESETS["fast"], replace(choice, why=of_any))
    return {
        "noise level": f"{level.typical:.3g} ({ends[0]:.3g} to {ends[1]:.3g} over brightness)",
        "noise kind": found.trend.kind,
        "noise texture": f"{level.texture}. {grain[:-1]} (setting grain)" if grain else str(level.texture),
        "noise over the image": str(level.variation),
        "noise": said,
        "neighbouring slices": _neighbours(found),
        **({"frames": _frames(found)} if frames > 1 else {}),
        **({"with any fit": "\n".join(of_any_fit)} if of_any_fit else {}),
        "with three stages": "\n".join(reasons),
    }


def _neighbours(found: Diagnosis) -> str:
    if not found.neighbours:
        return "do not help"
    instead = "; the frames help more, and are seen instead" if found.series else ""
    return f"help: alike, and each with noise of its own{instead}"


def _frames(found: Diagnosis) -> str:
    return "help one another: alike, and each with noise of its own" if found.series else "do not help one another"


def _model_facts(header: dict[str, Any]) -> Facts:
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
