"""The tables of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.methods import METHODS
from benchmarks.records import OLD, Record, Table, by_patient, mean
from benchmarks.writing import markdown

RESAMPLINGS = 2000
FEWEST = 5  # values; the bootstrap of fewer (3 of 2 values) says nothing of how far off their mean may be
DISTURBED = 0.1  # of the machine, that others took: from there on the time a method takes is not told
MOST_HFEN = 1e6  # above: stored when a reference without edges still gave a figure, of its rounding


def interval_of(values: list[float]) -> tuple[float, float] | None:
    """95 %, by bootstrap; None where there are too few values for one."""
    if len(values) < FEWEST:
        return None
    drawn = np.random.default_rng(0).choice(values, (RESAMPLINGS, len(values))).mean(1)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def main_table(table: Table, measure: str, form: str, spread: bool = False) -> str:
    best = {task: _best(records, measure) for task, records in table.items()}

    def cell(task: str, method: str) -> str:
        values = list(by_patient(table[task].get(method, {}), measure).values())
        if not values:
            return _absent(table[task].get(method))
        interval = interval_of(values)
        text = f"{np.mean(values):{form}}"
        if interval and spread:
            text += f" ± {(interval[1] - interval[0]) / 2:{form}}"
        text = f"**{text}**" if best[task] == method else text
        return text + OLD * bool(table[task][method].get("outdated"))

    return _by_method(table, cell)


def _best(records: dict[str, Record], measure: str) -> str | None:
    means = {
        method: float(np.mean(list(values.values())))
        for method, record in records.items()
        if not METHODS[method].told and (values := by_patient(record, measure))
    }
    return max(means, key=lambda method: means[method]) if means else None


def difference_table(table: Table) -> str:
    cell = lambda task, method: difference(table[task], method, "ours")  # noqa: E731
    return _by_method(table, cell, without=("ours", "noisy"))


def difference(records: dict[str, Record], method: str, other: str) -> str:
    """How far a method is above another one, with its interval over the patients of both."""
    mine, theirs = (by_patient(records.get(name, {}), "psnr_foreground") for name in (method, other))
    if not mine or not theirs:
        return _absent(records.get(method))
    differences = [mine[patient] - theirs[patient] for patient in theirs]
    interval = interval_of(differences)
    text = f"{np.mean(differences):+.2f}" + (" ({:+.2f}, {:+.2f})".format(*interval) if interval else "")
    return text + OLD * any(records[name].get("outdated", False) for name in (method, other))


def gap_table(table: Table) -> str:
    """How far this project's own are above the best of the supervised rows; tasks that have one."""
    scored = lambda records, name: by_patient(records.get(name, {}), "psnr_foreground")  # noqa: E731
    bounds = {
        task: {name: scored(records, name) for name, method in METHODS.items() if method.family == "bound"}
        for task, records in table.items()
    }
    bounded = {task: records for task, records in table.items() if any(bounds[task].values())}
    ours = [name for name, method in METHODS.items() if method.family == "ours"]
    ours = [name for name in ours if any(scored(records, name) for records in bounded.values())]
    rows = []
    for task, records in bounded.items():
        means = {name: float(np.mean(list(found.values()))) for name, found in bounds[task].items() if found}
        best = max(means, key=means.__getitem__)
        gaps = [difference(records, name, best) for name in ours]
        rows.append([task, f"{means[best]:.2f}, {METHODS[best].title}", *gaps])
    head = ["task", "the best bound", *(METHODS[name].title for name in ours)]
    said = "And from the best of the supervised networks that were measured:"
    return f"{said}\n\n{markdown(head, rows)}" if rows else ""


def _by_method(table: Table, cell: Callable[[str, str], str], without: tuple[str, ...] = ()) -> str:
    methods = [name for name in METHODS if name not in without and any(name in records for records in table.values())]
    rows = [[METHODS[method].title, *(cell(task, method) for task in table)] for method in methods]
    return markdown(["method", *table], rows)


def _absent(record: Record | None) -> str:
    return "" if record is None else "failed" if "failed" in record else "–"


def task_section(task: str, records: dict[str, Record]) -> str:
    done = {method: record for method, record in records.items() if "images" in record}
    columns = {name: [read(record) for record in done.values()] for name, read in MEASURES.items()}
    columns = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    rows = [
        [METHODS[method].title, *(_figure(values[number]) for values in columns.values())]
        for number, method in enumerate(done)
    ]
    parts = [f"### {task}", markdown(["method", *columns], rows), _observer_table(done)]
    return "\n\n".join(part for part in parts if part)


def _observer_table(records: dict[str, Record]) -> str:
    seen = {method: record["observer"] for method, record in records.items() if "observer" in record}
    if not seen:
        return ""
    inserts = list(next(iter(seen.values())))

    def cell(one: dict[str, Any]) -> str:
        low, high = one["interval"]
        return f"{one['auc']:.2f} ({low:.2f}, {high:.2f}); {one['contrast']:.2f}; {one['false']:.2f}"

    rows = [[METHODS[method].title, *(cell(found[name]) for name in inserts)] for method, found in seen.items()]
    text = "AUC of a channelised Hotelling observer (interval); contrast kept; contrast read where there is no insert:"
    return f"{text}\n\n{markdown(['method', *inserts], rows)}"


def _hfen(record: Record) -> float | None:
    """Of the images whose reference has edges."""
    return mean({"images": [image for image in record["images"] if image.get("hfen", 0) <= MOST_HFEN]}, "hfen")


def _band(record: Record, band: str, what: str) -> float | None:
    values = [image["bands"][band][what] for image in record["images"] if "bands" in image]
    return float(np.mean(values)) if values else None


def _bias(record: Record) -> float | None:
    """The largest of the bins, each a mean over the images that have pixels in it."""
    shifts = np.array([image["bias"] for image in record["images"] if "bias" in image], dtype=float)  # null: NaN
    filled = shifts[:, ~np.isnan(shifts).all(0)] if shifts.size else shifts
    return 255 * float(np.abs(np.nanmean(filled, 0)).max()) if filled.size else None


def _unbiased(record: Record) -> float | None:
    """PSNR from the pooled unbiased MSE, which may be negative for one image."""
    values = [image["mse_unbiased"] for image in record["images"] if "mse_unbiased" in image]
    return float(-10 * np.log10(max(np.mean(values), 1e-12))) if values else None


def _residual(record: Record, what: str) -> float | None:
    return float(np.mean([image["residual"][what] for image in record["images"]]))


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 2 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


MEASURES: dict[str, Callable[[Record], float | None]] = {
    "PSNR": lambda r: mean(r, "psnr_foreground"),
    "SSIM": lambda r: mean(r, "ssim_foreground"),
    "PSNR fastMRI": lambda r: mean(r, "psnr_fastmri"),
    "SSIM fastMRI": lambda r: mean(r, "ssim_fastmri"),
    "GMSD": lambda r: mean(r, "gmsd"),
    "HFEN": _hfen,
    "noise kept": lambda r: _band(r, "all", "kept"),
    "MSE/s2": lambda r: mean(r, "mse_over_s2"),
    **{f"MSE/s2 {band}": (lambda r, band=band: _band(r, band, "mse")) for band in ("low", "middle", "high")},
    "lesions": lambda r: float(np.mean([one["kept"] for one in r["lesions"]])) if r.get("lesions") else None,
    "bias": _bias,
    "PSNR unbiased": _unbiased,
    "residual level": lambda r: _residual(r, "level"),
    "residual neighbours": lambda r: _residual(r, "neighbours"),
    "train s": lambda r: r.get("train_seconds"),
    "s/MP": lambda r: r.get("seconds_per_megapixel") if r.get("others", 0) < DISTURBED else None,
    "GiB": lambda r: r["memory_mib"] / 1024 if "memory_mib" in r else None,
}
