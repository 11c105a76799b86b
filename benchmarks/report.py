"""docs/benchmarks.md: words, tables and plots, made from the results alone. No figure is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.findings import OLD, findings
from benchmarks.methods import METHODS
from benchmarks.records import Record, Table, by_patient, keys_of
from benchmarks.tasks import CORE, FULL, PAPER
from benchmarks.writing import markdown, panels

RESAMPLINGS = 2000
FEWEST = 5  # values; the bootstrap of fewer (3 of 2 values) says nothing of how far off their mean may be
TRAINED = 5  # seconds; a method that takes less does not train, and is not slowed by what others do
LEVELS = ("gaussian-6", "gaussian-15", "gaussian-25", "gaussian-50")
PLOTTED = "colin27 gaussian-25"  # the task of the plots over time
COLOURS = {"classical": "0.5", "self-supervised": "C0", "ours": "C3", "bound": "C2"}
MOST_HFEN = 1e6  # above: stored when a reference without edges still gave a figure, of its rounding

HEAD = """# Benchmark

Every method on the same noisy scans, with the same noise seeds, the same time to train in on the same machine, and the
same measures. No method sees a reference. The commands themselves write this page:

```
make bench                                             # eight core tasks, on a CPU; goes on where it was stopped
python -m benchmarks.run n2v ours --task gaussian-25   # some methods, some tasks
python -m benchmarks.run --device cuda --full --minutes 9
python -m benchmarks.run --own SCANS --noise gaussian-15   # your own clean scans, a sub-folder a patient
```

(In the environment of the peers: `make bench-env`, then `.venv-bench/bin/python`. The images are not part of the
project: `--data FOLDER` says where they lie, `benchmarks/datasets.py` which files are looked for, and
[the results side by side](benchmarks/pictures.md) whose they are. Cells that have figures in `benchmarks/results` are
not computed again; `--results NEW` begins anew.)

**What is the same for all.** A method gets a folder of noisy scans to train on, a time budget, and scans to denoise;
it runs alone, in a process of its own. Train and test come from different patients (*inductive*); where one subject is
all there is, from blocks of slices 10 mm apart, and no claim about patients is made. In tasks marked *seen* the noisy
test scans themselves are trained on (*transductive*), as `diffdenoise run` does. A level that a method needs is
estimated by this project's estimator from the noisy scan (from two, where they show the same object, as in b0);
*noise told* marks the rows that are given the truth. *diffdenoise* is the default preset, `fast`; *three stages* the
preset `cpu` (on a GPU `gpu`): blind-spot network, diffusion and student.

Methods that are a loss (Neighbor2Neighbor, R2R, SURE, UNSURE, Noise2Self) and the supervised bound all train
this project's student network, with its crops and its optimiser, so that only the loss differs; Noise2Void is
CAREamics as it comes, and once more with a learning rate that has fallen when the time is up. The bound is trained on
clean images of the other patients. They all denoise by the mean over eight turns of a slice, or over four or two where
eight take long beside the training, as this project's default does (docs/method.md, section 12): two on radiographs
after three minutes (the default and the bound by L2; the others' rows there are older, by one pass), four after ten.
The default's second opinion, by collaborative filtering, is its own: none of them is given one.

**What is measured.** PSNR and SSIM inside the head or body (Otsu's mask of the reference), data range 1, SSIM with a
uniform 7x7 window; *fastMRI* has the whole image and the maximum of the reference scan as range. *Noise kept* is the
slope of the error on the noise, to be read beside MSE/s2, which is what an ideal non-blind estimate keeps. *Lesions* is
the contrast kept of inserted dots, lines and disks of 1 to 9 pixels that no training image has (1: all). *Bias* is the
largest mean error in eight bins of brightness, in units of 1/255. Intervals are
95 %, bootstrapped over patients (or, where one subject is all there is, over slices or repetitions); of fewer than five
there is none: a mean without ± says nothing of chance.

**What was tuned on what is tested.** No figure here is of data that nobody had looked at. The estimators of the noise,
which the default and all methods that need a level use, were tuned on axial slices of Colin27, on the pairs of phantom
scans and on one radiograph (study j in [ablations.md](ablations.md)): of those the slices 110, 114 and 118 of Colin27
and all of *phantoms* (not in the tables yet) are tested; the radiograph's patient is among the 35 that are trained on,
none of the 12 that are tested. How the default trains, and which patches its second opinion counts as alike, was tried
by hand on the same data sets (docs/method.md, section 12), without keeping from it all that is tested here: the same
slices of Colin27 were looked at. That two turns of a slice may take longer beside the training than four or eight was
decided after the radiographs here had just missed them, and that a second opinion may take two thirds of the training's
time when they were the worst of all; what both bring was measured on patients of the training part. That a start for
noise of one kind is better than one for all was tried by hand on MNI152, other slices of Colin27 and patients of the
training part; how strong the noise is that each of the eight is for was set down before. That brightness is read off 3
x 3 pixels, not 5 x 5, was decided on the very slices that colin27 gamma-30 tests; by them, and by noisy slices of the
training parts whose clean ones were looked up, which places count as flat when a level is held down. How finely shares
of white noise beside correlated noise are told apart, and what such a share has to gain, was decided on the noisy
radiographs of the training part of xray correlated-1.2 and on the images of study j.

**Days and machines.** Three minutes have room for more steps on one machine than on another: the same cell differed
from day to day by as much as the default is ahead or behind. In the tasks of single slices with simulated noise the
default (*diffdenoise*) and *supervised, from our start, L2* were measured on one machine, on one day or on two that
follow each other; rows of others may be of a slower or a faster day. The rows marked ° are older. The default's others
(and gamma-30 on colin27 and xray, though marked: the mark was raised an hour later) are of 2026-11-30: since then its
level is held down, before the training, to what flat places bear out (docs/noise.md), as is the level by which the
share of its second opinion is found, and the start for white noise of 5 % has learned for longer. Later that day shares
of white noise beside correlated noise came to be told apart more finely: *diffdenoise* and *grain kept* on xray
correlated-1.2, which that concerns, are of after it, and so are the default and the bound by L2 on xray gaussian-25 and
poisson-200 and on colin27 gaussian-50, which it does not concern. What is found of the correlated noise that is trained
on at colin27 and mr3t is as before. On xray and colin27 (and mr3t rician-15, gamma-30) all rows that begin there are of
starts that had, for noise of 12 %, learned for ten times as long as at first (docs/start.md). On mr3t gaussian-25 they
had learned for three times as long, and all other rows that begin there are of when one start had to do for all noise.
Of other methods rows marked ° are by one pass over each slice, not the mean over eight turns. *Noise2Void, falling
rate* is older, too: the epoch that it times was timed together with imports and setting up, so that its rate falls too
steeply.

Measured at 25/255 alone so far, and to be had on the other tasks by name (`python -m benchmarks.run unsure n2self zsn2n
puca laine scratch`), are rows that would make of a few hours of `make bench` most of a day. So is the bound by L2
(`python -m benchmarks.run supervised-l2`), measured where single slices have simulated noise. Still to come:
`ensemble paper-srds`, `supervised-long` (the bound after ten budgets), longer budgets for all, a GPU.

*As published, small networks* (`paper-small`) is what the preset `paper` decides (PUCA, a diffusion model of the noisy
image that is shown the whole condition, one symmetric pair, a student by L1 and from random weights) with networks and
steps of the preset `cpu`, measured in two tasks. Three minutes are no budget for it: to sample one slice takes most of
a minute, and the four that a student is taught at least are all that the time has room for, and more. What is left are
26 steps for the diffusion model and ten for the student, which ends below the noisy image. That says nothing of where
this road ends.
"""


def write_report(results: Path, docs: Path) -> None:
    """The page and its plots, from what there is."""
    folders = sorted(results.glob("*-*s")) if results.exists() else []
    if not folders:
        return
    plots = docs / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    budgets = {folder.name: _read(folder) for folder in folders}
    parts = [HEAD, "## What it shows", findings(budgets)]
    for name, table in budgets.items():
        complete = [task for task in table if len(table[task]) > 3]
        if complete:
            parts += _budget(name, {task: table[task] for task in complete}, plots)
    parts += _time_plot(budgets, plots)
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
    referred = {task: records for task, records in table.items() if has_psnr(records)}
    others = [record["others"] for record in every if "others" in record and record["train_seconds"] > TRAINED]
    parts = [
        f"## {seconds} seconds of training, {device}",
        f"On {machines}, at {commits}; {minutes:.0f} minutes of training and denoising in all, "
        f"of which {of_core:.0f} for the {len(core)} cells of `make bench`."
        + (
            f" Other\nprocesses took at most {max(others):.0%} of the machine while a method trained." if others else ""
        ),
        f"PSNR in dB, mean and half the width of its interval (fewer than {FEWEST} values have none). Bold: the\n"
        f"best of those that were told nothing.{_marks(every)}",
        _main_table(referred, "psnr_foreground", ".2f", spread=True),
        "The same as a difference from this project's default, paired by patient:",
        _difference_table(referred),
        _gap_table(table),
        "SSIM:",
        _main_table(referred, "ssim_foreground", ".3f"),
        "PSNR as fastMRI has it, of the whole image, empty background included:",
        _main_table(referred, "psnr_fastmri", ".2f"),
        _gain_plot(table, plots / f"gain-{name}.png"),
        _inference_plot(table, plots / f"inference-{name}.png"),
    ]
    return [part for part in parts if part] + [_task_section(task, records) for task, records in table.items()]


def _spent(record: Record) -> float:
    pixels = record.get("megapixels", 0.0)
    return record.get("train_seconds", 0.0) + record.get("seconds_per_megapixel", 0.0) * pixels


def _interval(values: list[float]) -> tuple[float, float] | None:
    """95 %, by bootstrap; None where there are too few values for one."""
    if len(values) < FEWEST:
        return None
    drawn = np.random.default_rng(0).choice(values, (RESAMPLINGS, len(values))).mean(1)
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _main_table(table: Table, measure: str, form: str, spread: bool = False) -> str:
    best = {task: _best(records, measure) for task, records in table.items()}

    def cell(task: str, method: str) -> str:
        values = list(by_patient(table[task].get(method, {}), measure).values())
        if not values:
            return _absent(table[task].get(method))
        interval = _interval(values)
        text = f"{np.mean(values):{form}}"
        if interval and spread:
            text += f" ± {(interval[1] - interval[0]) / 2:{form}}"
        text = f"**{text}**" if best[task] == method else text
        return text + OLD * bool(table[task][method].get("outdated"))

    return _by_method(table, cell)


def _marks(records: list[Record]) -> str:
    old = any(record.get("outdated") and "images" in record for record in records)
    return (
        f" {OLD}: measured before the method's last change (for those\nthat train a network, of the network)."
        if old
        else ""
    )


def _best(records: dict[str, Record], measure: str) -> str | None:
    means = {
        method: float(np.mean(list(values.values())))
        for method, record in records.items()
        if not METHODS[method].told and (values := by_patient(record, measure))
    }
    return max(means, key=lambda method: means[method]) if means else None


def _difference_table(table: Table) -> str:
    cell = lambda task, method: _difference(table[task], method, "ours")  # noqa: E731
    return _by_method(table, cell, without=("ours", "noisy"))


def _difference(records: dict[str, Record], method: str, other: str) -> str:
    """How far a method is above another one, with its interval over the patients of both."""
    mine, theirs = (by_patient(records.get(name, {}), "psnr_foreground") for name in (method, other))
    if not mine or not theirs:
        return _absent(records.get(method))
    differences = [mine[patient] - theirs[patient] for patient in theirs]
    interval = _interval(differences)
    text = f"{np.mean(differences):+.2f}" + (" ({:+.2f}, {:+.2f})".format(*interval) if interval else "")
    return text + OLD * any(records[name].get("outdated", False) for name in (method, other))


def _gap_table(table: Table) -> str:
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
        gaps = [_difference(records, name, best) for name in ours]
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


def _task_section(task: str, records: dict[str, Record]) -> str:
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


def _mean(record: Record, measure: str) -> float | None:
    values = list(by_patient(record, measure).values())
    return float(np.mean(values)) if values else None


def _hfen(record: Record) -> float | None:
    """Of the images whose reference has edges."""
    return _mean({"images": [image for image in record["images"] if image.get("hfen", 0) <= MOST_HFEN]}, "hfen")


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
    "PSNR": lambda r: _mean(r, "psnr_foreground"),
    "SSIM": lambda r: _mean(r, "ssim_foreground"),
    "PSNR fastMRI": lambda r: _mean(r, "psnr_fastmri"),
    "SSIM fastMRI": lambda r: _mean(r, "ssim_fastmri"),
    "GMSD": lambda r: _mean(r, "gmsd"),
    "HFEN": _hfen,
    "noise kept": lambda r: _band(r, "all", "kept"),
    "MSE/s2": lambda r: _mean(r, "mse_over_s2"),
    **{f"MSE/s2 {band}": (lambda r, band=band: _band(r, band, "mse")) for band in ("low", "middle", "high")},
    "lesions": lambda r: float(np.mean([one["kept"] for one in r["lesions"]])) if r.get("lesions") else None,
    "bias": _bias,
    "PSNR unbiased": _unbiased,
    "residual level": lambda r: _residual(r, "level"),
    "residual neighbours": lambda r: _residual(r, "neighbours"),
    "train s": lambda r: r.get("train_seconds"),
    "s/MP": lambda r: r.get("seconds_per_megapixel"),
    "GiB": lambda r: r["memory_mib"] / 1024 if "memory_mib" in r else None,
}


def _gain_plot(table: Table, path: Path) -> str:
    """PSNR over that of the noisy image, over the noise level."""
    levels = [level for level in LEVELS if f"colin27 {level}" in table]
    if len(levels) < 2:
        return ""
    with panels(path, width=7.0) as axis:
        for method in METHODS:
            points = [(float(level.split("-")[1]), _gain(table[f"colin27 {level}"], method)) for level in levels]
            points = [(level, gain) for level, gain in points if gain is not None]
            if method != "noisy" and points:
                axis.plot(*zip(*points, strict=True), marker="o", label=METHODS[method].title, **_style(method))
        axis.set(xlabel="noise, /255", ylabel="gain, dB", title="Colin27, white Gaussian noise")
        axis.legend(fontsize=6, ncols=2)
    return f"![Gain over noise level](benchmarks/{path.name})"


def _gain(records: dict[str, Record], method: str) -> float | None:
    noisy, value = (_mean(records.get(name, {}), "psnr_foreground") for name in ("noisy", method))
    return None if noisy is None or value is None else value - noisy


def _inference_plot(table: Table, path: Path) -> str:
    if PLOTTED not in table:
        return ""
    with panels(path, width=7.0) as axis:
        for method, record in table[PLOTTED].items():
            value = _mean(record, "psnr_foreground")
            if value is not None and method != "noisy":
                _point(axis, record["seconds_per_megapixel"], value, method)
        axis.set(xscale="log", xlabel="seconds per megapixel", ylabel="PSNR, dB", title=PLOTTED)
    return f"![Quality over inference time](benchmarks/{path.name})"


def _time_plot(budgets: dict[str, Table], plots: Path) -> list[str]:
    """PSNR over the seconds of training, from all budgets."""
    found: dict[str, list[tuple[float, float]]] = {}
    for table in budgets.values():
        for method, record in table.get(PLOTTED, {}).items():
            value = _mean(record, "psnr_foreground")
            if value is not None and METHODS[method].sees == "set":
                found.setdefault(method, []).append((record["train_seconds"], value))
    if not any(len(points) > 1 for points in found.values()):
        return []
    with panels(plots / "training.png", width=7.0) as axis:
        for method, points in found.items():
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=METHODS[method].title, **_style(method))
        axis.set(xscale="log", xlabel="seconds of training", ylabel="PSNR, dB", title=PLOTTED)
        axis.legend(fontsize=6)
    return ["## Quality over training time", "![Quality over training time](benchmarks/training.png)"]


def _point(axis: Any, x: float, y: float, method: str) -> None:
    axis.plot(x, y, "o", color=COLOURS[METHODS[method].family])
    axis.annotate(METHODS[method].title, (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")


def _style(method: str) -> dict[str, Any]:
    """Line style by family; the project's own stand out."""
    family = METHODS[method].family
    return {
        "linestyle": {"classical": ":", "bound": "--"}.get(family, "-"),
        "linewidth": 2.5 if family == "ours" else 1,
    }
