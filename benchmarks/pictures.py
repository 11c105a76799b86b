"""docs/benchmarks/pictures.md: where each method's result and its error stand side by side.

Made when cells are computed, from the cache; a task without new results keeps the picture it has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.methods import METHODS

ACROSS = 5  # results in a row
SIDE = 96  # pixels of the part that is shown
HEAD = """# Results side by side

A part of the first test image of each task: what a method made of it and, below, its error against the reference
(blue: too dark, red: too bright; the same scale for all methods of a task). What each figure is worth is told in
[benchmarks.md](../benchmarks.md). Images: Colin27 (MNI, Holmes et al. 1998), chest X-rays (Hannover, CC BY 3.0, DOI
10.25835/0090041), 3 T MR (Liu et al. 2021, CC0), diffusion MR (P. S. Morgan, Nottingham; BSD-2-Clause), functional
MR (studyforrest, Hanke et al. 2014, PDDL), a CT phantom (US FDA, CC0). Research use only, not a medical device.
"""


def write_pictures(cache: Path, docs: Path) -> None:
    """The pictures of the tasks whose results are in the cache, and the page over all there are."""
    to = docs / "benchmarks"
    to.mkdir(parents=True, exist_ok=True)
    for folder in sorted((cache / "outputs").glob("*/*")):
        results = {name: folder / name / "000.npy" for name in METHODS if (folder / name / "000.npy").exists()}
        task = cache / "tasks" / folder.name
        if len(results) > 1 and "noisy" in results and (task / "truth.npz").exists():
            _draw(to / f"{folder.name}-{folder.parent.name}.png", task, results)
    pictures = sorted(file for file in to.glob("*s.png") if not file.name.startswith(("gain", "inference")))
    parts = [f"## {file.stem.replace('-', ' ')}\n\n![{file.stem}]({file.name})" for file in pictures]
    (to / "pictures.md").write_text("\n\n".join([HEAD.strip(), *parts]) + "\n")


def _draw(path: Path, task: Path, results: dict[str, Path]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with np.load(task / "truth.npz") as truth:
        if "reference0" not in truth:
            return
        reference = truth["reference0"]
    middle = len(reference) // 2
    part = _part(reference[middle])
    wanted = reference[middle][part]
    shown = {METHODS[name].title: np.load(file)[middle][part] for name, file in results.items()}
    largest = [np.percentile(np.abs(image - wanted), 99.5) for image in list(shown.values())[1:]]
    half = float(np.median(largest))  # of the methods: one that fails must not set the scale
    window = tuple(np.percentile(wanted, [0.1, 99.9]))
    rows = -(-(len(shown) + 1) // ACROSS)
    figure, axes = plt.subplots(2 * rows, ACROSS, figsize=(2 * ACROSS, 4.2 * rows), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (title, image) in enumerate({"reference": wanted, **shown}.items()):
        row, column = divmod(number, ACROSS)
        _image(axes[2 * row, column], image, title, {"cmap": "gray", "vmin": window[0], "vmax": window[1]})
        if number:
            options = {"cmap": "RdBu_r", "vmin": -half, "vmax": half}
            _image(axes[2 * row + 1, column], image - wanted, f"error, ±{half:.2g}" if number == 1 else "", options)
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    plt.close(figure)


def _image(axis: Any, image: np.ndarray, title: str, options: dict[str, Any]) -> None:
    axis.imshow(image, interpolation="nearest", **options)
    axis.set_title(title, fontsize=7)


def _part(reference: np.ndarray) -> tuple[slice, slice]:
    """The square that holds most fine structure."""
    from scipy.ndimage import gaussian_filter, uniform_filter

    side = min(SIDE, *reference.shape)
    fine = uniform_filter(np.abs(reference - gaussian_filter(reference, 2)), side, mode="constant")
    half = side // 2
    inner = fine[half : fine.shape[0] - half + 1, half : fine.shape[1] - half + 1]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return slice(row, row + side), slice(column, column + side)
