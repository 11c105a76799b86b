"""The page and the picture that show what a denoiser did.

Both take the same plain data: `images`, a dictionary of arrays (slices, rows, cols) in one scale. Two names are
special: "noisy" (needed) and "reference" (optional, clean); every other one is a result, shown in the order given.
Grey images are black at 0 and white at 1; differences are dark where 0, blue where negative, orange where positive,
over a window that is printed beside them.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffdenoise.errors import ConfigError
from diffdenoise.quality.reference import psnr
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.text import NOTICE

Images = Mapping[str, NDArray[Any]]
Row = Mapping[str, str | float | None]

DISCLAIMER = f"{NOTICE}."
HEADINGS = {
    "method": "Method",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "psnr_foreground": "PSNR, foreground (dB)",
    "ssim_foreground": "SSIM, foreground",
    "detail": "Detail kept",
    "noise_kept": "Noise kept",
}
NEGATIVE, ZERO, POSITIVE = (90, 190, 255), (14, 16, 20), (255, 150, 50)
MOST_SLICES = 6  # of a volume on a page, unless more are asked for: a page with them has some megabytes


def comparison_page(
    path: str | Path,
    title: str,
    images: Images,
    table: Sequence[Row] = (),
    notes: Sequence[str] = (),
    *,
    slices: Sequence[int] | None = None,
) -> None:
    """Write one HTML file that compares noisy, results and reference slice by slice; it needs nothing but a browser.

    images: see the module. table: one dictionary a row, its first key the method's name; columns are all keys in the
    order met, None is shown as a dash, and a click on the row of a result selects it. notes: paragraphs on top.
    slices: the slices to show, by default at most six, evenly spaced. The last result is shown first. Raises
    ConfigError for images that do not fit together.
    """
    from jinja2 import Environment

    stacks = _checked(images)
    results = [name for name in stacks if name not in ("noisy", "reference")]
    if not results:
        raise ConfigError("the page needs at least one result beside 'noisy' and 'reference'")
    shown = list(_spread(len(stacks["noisy"])) if slices is None else slices)
    stacks = {name: stack[shown] for name, stack in stacks.items()}
    pictures, windows = _page_pictures(stacks, results)
    text = resources.files("diffdenoise.quality").joinpath("report.html.j2").read_text("utf-8")
    html = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(text)
        .render(
            title=title,
            notes=notes,
            results=results,
            selected=results[-1],
            slices=shown,
            shape=stacks["noisy"].shape[1:],
            pictures=pictures,
            windows=windows,
            columns=_columns(table),
            table=[[_cell(row.get(key)) for key in _keys(table)] for row in table],
            colours=[f"rgb{colour}" for colour in (NEGATIVE, ZERO, POSITIVE)],
            disclaimer=DISCLAIMER,
        )
    )
    with atomic_file(Path(path)) as part:
        part.write_text(html, "utf-8")


def comparison_picture(
    path: str | Path,
    images: Images,
    *,
    index: int = 0,
    focus: NDArray[Any] | None = None,
    title: str = "",
) -> None:
    """Write a PNG, 12 inches wide at 150 dpi: slice `index` of all images, an enlarged part, and their errors.

    images: see the module; results are captioned with the slice's PSNR (data range 1) and the row of errors is drawn
    if there is a reference. Enlarged is the square that holds most of `focus`, a map (slices, rows, cols) such as the
    inserted details, by default the fine structure.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    stacks = {name: stack[index] for name, stack in _checked(images).items()}
    reference = stacks.pop("reference", None)
    names = [*stacks, *([] if reference is None else ["reference"])]
    crop = _crop(_fine(stacks["noisy"] if reference is None else reference) if focus is None else focus[index])
    rows, cols = stacks["noisy"].shape
    lines = 2 if reference is None else 3
    side = 12 / len(names)
    heights = [rows / cols, 1.0, rows / cols][:lines]
    height = side * sum(heights) + 0.85 + (0.3 if title else 0)  # inches; the rest is for the texts
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    figure = Figure(figsize=(12, height), dpi=150, layout=layout)
    figure.suptitle(title, fontsize=12) if title else None
    axes = figure.subplots(lines, len(names), squeeze=False, height_ratios=heights)
    for column, name in enumerate(names):
        image = stacks.get(name, reference)
        _draw_image(axes[0, column], image, _caption(name, image, reference), crop)
        _draw_part(axes[1, column], image, crop)
    if reference is not None:
        _draw_errors(figure, axes[2], [stacks[name] - reference for name in stacks])
    figure.supxlabel(DISCLAIMER, fontsize=7, color="0.4")
    with atomic_file(Path(path)) as part:
        figure.savefig(part, format="png")


def _page_pictures(stacks: Images, results: list[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """PNGs as data addresses, a list of slices for each "name", "error:name" and "removed:name"; and their windows."""
    noisy, reference = stacks["noisy"], stacks.get("reference")
    pictures = {name: [_grey(image) for image in stack] for name, stack in stacks.items()}
    differences = {"removed": {name: noisy - stacks[name] for name in results}}
    if reference is not None:
        differences["error"] = {name: stacks[name] - reference for name in results}
    windows = {}
    for kind, fields in differences.items():
        half = _symmetric(fields.values())
        windows[kind] = f"{half:g}"
        pictures |= {f"{kind}:{name}": [_signed(field, half) for field in stack] for name, stack in fields.items()}
    return pictures, windows


def _checked(images: Images) -> dict[str, NDArray[np.float32]]:
    if "noisy" not in images:
        raise ConfigError(f"the images must include 'noisy'; they are {', '.join(images) or 'none'}")
    stacks = {name: np.asarray(image, dtype=np.float32) for name, image in images.items()}
    shape = stacks["noisy"].shape
    for name, stack in stacks.items():
        if stack.ndim != 3 or stack.shape != shape:
            raise ConfigError(f"{name} has shape {stack.shape}; all must be (slices, rows, cols) like noisy, {shape}")
    return stacks


def _spread(count: int) -> list[int]:
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, MOST_SLICES)).round()})


def _symmetric(differences: Iterable[NDArray[Any]]) -> float:
    """Half the window that holds 99.5 % of the differences, rounded to two digits so that it reads well."""
    half = float(np.percentile(np.abs(np.stack(list(differences))), 99.5))
    return float(f"{half:.2g}") or 0.01


def _grey(image: NDArray[Any]) -> str:
    return _png(np.clip(image, 0, 1), None)


def _signed(difference: NDArray[Any], half: float) -> str:
    return _png(np.clip(difference / half, -1, 1) / 2 + 0.5, _colours())


def _png(unit: NDArray[Any], palette: NDArray[np.uint8] | None) -> str:
    """A data address of an 8-bit PNG of values in [0, 1], grey or with a palette of 256 colours."""
    from PIL import Image

    picture = Image.fromarray(np.round(unit * 255).astype(np.uint8))
    if palette is not None:
        picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _colours() -> NDArray[np.uint8]:
    """256 colours (256, 3) from NEGATIVE over ZERO to POSITIVE."""
    stops = np.array([NEGATIVE, ZERO, POSITIVE])
    return np.stack([np.interp(np.arange(256), (0, 127.5, 255), stops[:, c]) for c in range(3)], 1).astype(np.uint8)


def _keys(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in table for key in row))


def _columns(table: Sequence[Row]) -> list[str]:
    return [HEADINGS.get(key, key) for key in _keys(table)]


def _cell(value: str | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
    return str(value)


def _fine(image: NDArray[Any]) -> NDArray[Any]:
    """Where fine structure lies: what a little blur takes away."""
    from scipy import ndimage

    return image - ndimage.gaussian_filter(image, 1.5)


def _crop(focus: NDArray[Any]) -> tuple[int, int, int]:
    """The square of a quarter of the smaller side that holds most of |focus|: (row, col, size)."""
    size = max(8, min(focus.shape) // 4)
    size = min(size, *focus.shape)
    total = np.pad(np.abs(focus, dtype=np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    row, col = np.unravel_index(np.argmax(sums), sums.shape)
    return int(row), int(col), size


def _caption(name: str, image: NDArray[Any], reference: NDArray[Any] | None) -> str:
    if reference is None or name == "reference":
        return name
    return f"{name}\n{psnr(image, reference, 1.0):.2f} dB"


def _draw_image(axes: Any, image: NDArray[Any], caption: str, crop: tuple[int, int, int]) -> None:
    from matplotlib.patches import Rectangle

    row, col, size = crop
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.add_patch(Rectangle((col - 0.5, row - 0.5), size, size, fill=False, edgecolor="#ffd23f", linewidth=1))
    axes.set_title(caption, fontsize=10)
    axes.set_axis_off()


def _draw_part(axes: Any, image: NDArray[Any], crop: tuple[int, int, int]) -> None:
    row, col, size = crop
    part = image[row : row + size, col : col + size]
    axes.imshow(part, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_edgecolor("#ffd23f")


def _draw_errors(figure: Any, axes: Any, errors: list[NDArray[Any]]) -> None:
    """The last row: a difference under each image, one window for all results, the colour bar under the reference."""
    from matplotlib.colors import ListedColormap

    half = _symmetric(errors[1:] or errors)
    colours = ListedColormap(_colours() / 255)
    for cell, error in zip(axes, errors, strict=False):
        shown = cell.imshow(error, cmap=colours, vmin=-half, vmax=half)
        cell.set_axis_off()
    axes[0].set_title(f"image − reference, ±{half:g}", fontsize=8, loc="left")
    axes[-1].set_axis_off()
    bar = figure.colorbar(shown, cax=axes[-1].inset_axes((0.1, 0.1, 0.12, 0.8)), ticks=(-half, 0, half))
    bar.ax.tick_params(labelsize=8)
