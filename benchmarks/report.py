"""docs/benchmarks.md: words, tables and plots, made from the results alone. No figure is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.findings import findings
from benchmarks.glance import glance
from benchmarks.methods import METHODS
from benchmarks.plots import gain_plot, inference_plot, time_plot
from benchmarks.records import OLD, Record, Table, by_patient, keys_of
from benchmarks.tables import FEWEST, difference_table, gap_table, main_table, task_section
from benchmarks.tasks import CORE, FULL, PAPER
from benchmarks.words import HEAD, HOW

TRAINED = 5  # seconds; a method that takes less does not train, and is not slowed by what others do
FEW, WIDE = 3, 5  # rows; a task has a table of its own, and is in those of all tasks, if it has more


def write_report(results: Path, docs: Path) -> None:
    """The page and its plots, from what there is."""
    folders = sorted(results.glob("*-*s")) if results.exists() else []
    if not folders:
        return
    plots = docs / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    budgets = {folder.name: _read(folder) for folder in folders}
    parts = [HEAD, *glance(budgets), "## What it shows", findings(budgets), "## How it was measured", HOW]
    for name, table in budgets.items():
        complete = [task for task in table if len(table[task]) > FEW]
        if complete:
            parts += _budget(name, {task: table[task] for task in complete}, plots)
    parts += time_plot(budgets, plots)
    (docs / "benchmarks.md").write_text("\n\n".join(part.strip("\n") for part in parts) + "\n")


def _read(folder: Path) -> Table:
    order = [task.name for task in FULL]
    found: Table = {}
    device, seconds = folder.name.removesuffix("s").split("-")
    for file in sorted(folder.glob("*/*.json")):
        record = json.loads(file.read_text())
        record["outdated"] = _outdated(record, device, float(seconds))
        found.setdefault(record["task"], {})[file.stem] = record
    place = lambda task: order.index(task) if task in order else len(order)  # noqa: E731
    return {
        task: {name: found[task][name] for name in METHODS if name in found[task]} for task in sorted(found, key=place)
    }


def _outdated(record: Record, device: str, seconds: float) -> bool:
    """Whether the method has another revision by now than the one that was measured."""
    task = next((task for task in (*FULL, *PAPER) if task.name == record["task"]), None)
    if task is None:
        return False
    return record.get("key") not in keys_of(task, record["method"], seconds, device)


def _budget(name: str, table: Table, plots: Path) -> list[str]:
    device, seconds = name.removesuffix("s").split("-")
    every = [record for records in table.values() for record in records.values()]
    machines, commits = (", ".join(sorted({record[what] for record in every})) for what in ("machine", "commit"))
    core = [one for one in every if METHODS[one["method"]].core and one["task"] in {task.name for task in CORE}]
    minutes, of_core = (sum(map(_spent, records)) / 60 for records in (every, core))
    has_psnr = lambda records: any(by_patient(record, "psnr_foreground") for record in records.values())  # noqa: E731
    referred = {task: records for task, records in table.items() if len(records) > WIDE and has_psnr(records)}
    others = [record["others"] for record in every if "others" in record and record["train_seconds"] > TRAINED]
    parts = [
        f"## {seconds} seconds of training, {device}",
        f"On {machines}, at {commits}; {minutes:.0f} minutes of training and denoising in all, "
        f"of which {of_core:.0f} for the {len(core)} cells of `make bench`."
        + (
            f" Other\nprocesses took at most {max(others):.0%} of the machine while a method trained." if others else ""
        ),
        f"Tasks in which more than {WIDE} methods were measured; all have their own table below.",
        f"PSNR in dB, mean and half the width of its interval (fewer than {FEWEST} values have none). Bold: the\n"
        f"best of those that were told nothing.{_marks(every)}",
        main_table(referred, "psnr_foreground", ".2f", spread=True),
        "The same as a difference from this project's default, paired by patient:",
        difference_table(referred),
        gap_table(table),
        "SSIM:",
        main_table(referred, "ssim_foreground", ".3f"),
        "PSNR as fastMRI has it, of the whole image, empty background included:",
        main_table(referred, "psnr_fastmri", ".2f"),
        gain_plot(table, plots / f"gain-{name}.png"),
        inference_plot(table, plots / f"inference-{name}.png"),
    ]
    return [part for part in parts if part] + [task_section(task, records) for task, records in table.items()]


def _marks(records: list[Record]) -> str:
    old = any(record.get("outdated") and "images" in record for record in records)
    return (
        f" {OLD}: measured before the method's last change (for those\nthat train a network, of the network)."
        if old
        else ""
    )


def _spent(record: Record) -> float:
    pixels = record.get("megapixels", 0.0)
    return record.get("train_seconds", 0.0) + record.get("seconds_per_megapixel", 0.0) * pixels
