"""The plots of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.methods import METHODS
from benchmarks.records import Record, Table, mean
from benchmarks.writing import panels

LEVELS = ("gaussian-6", "gaussian-15", "gaussian-25", "gaussian-50")
PLOTTED = "colin27 gaussian-25"  # the task of the plots over time
COLOURS = {"classical": "0.5", "self-supervised": "C0", "ours": "C3", "bound": "C2"}


def gain_plot(table: Table, path: Path) -> str:
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
    noisy, value = (mean(records.get(name, {}), "psnr_foreground") for name in ("noisy", method))
    return None if noisy is None or value is None else value - noisy


def inference_plot(table: Table, path: Path) -> str:
    if PLOTTED not in table:
        return ""
    with panels(path, width=7.0) as axis:
        for method, record in table[PLOTTED].items():
            value = mean(record, "psnr_foreground")
            if value is not None and method != "noisy":
                _point(axis, record["seconds_per_megapixel"], value, method)
        axis.set(xscale="log", xlabel="seconds per megapixel", ylabel="PSNR, dB", title=PLOTTED)
    return f"![Quality over inference time](benchmarks/{path.name})"


def time_plot(budgets: dict[str, Table], plots: Path) -> list[str]:
    """PSNR over the seconds of training, from all budgets."""
    found: dict[str, list[tuple[float, float]]] = {}
    for table in budgets.values():
        for method, record in table.get(PLOTTED, {}).items():
            value = mean(record, "psnr_foreground")
            if value is not None and METHODS[method].sees == "set":
                found.setdefault(method, []).append((record["train_seconds"], value))
    if not any(len(points) > 1 for points in found.values()):
        return []
    from matplotlib import colormaps

    with panels(plots / "training.png", width=8.5) as axis:
        axis.set_prop_cycle(color=colormaps["tab20"].colors)
        for method, points in found.items():
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=METHODS[method].title, **_style(method))
        axis.set(xscale="log", xlabel="seconds of training", ylabel="PSNR, dB", title=PLOTTED)
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))  # beside, not over, the points
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
