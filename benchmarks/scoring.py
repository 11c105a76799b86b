"""What a method's results are worth: a record of plain numbers, an entry for each test image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detectability import auc, contrast, observe
from benchmarks.measures import bias_by_brightness, gmsd, hfen, kept_by_band, residual_checks, unbiased_mse
from benchmarks.tasks import load
from diffdenoise.quality.reference import detail_kept, psnr, scores

INSERT = "insert "  # what the names of inserts begin with in truth.npz


def score(task: Path, results: Path) -> dict[str, Any]:
    """task: as `tasks.prepared` gives it; results: what the worker wrote. Data range 1 unless a name says otherwise."""
    noisy, denoised = load(task / "noisy" / "test"), load(results)
    with np.load(task / "truth.npz") as stored:
        truth = dict(stored)
    count = len(truth["patients"])
    images = [{"patient": str(truth["patients"][n]), **_image(truth, n, noisy[n], denoised[n])} for n in range(count)]
    record: dict[str, Any] = {"images": images}
    with_lesions = range(len(denoised) - count)
    if with_lesions:
        record["lesions"] = [_lesions(truth, n, denoised[n], denoised[count + n]) for n in with_lesions]
    places = {name.removeprefix(INSERT): place for name, place in truth.items() if name.startswith(INSERT)}
    if places:
        record["observer"] = _observer(*map(np.concatenate, (denoised[:count], noisy[:count])), truth, places)
    return record


def _image(truth: dict[str, np.ndarray], number: int, noisy: np.ndarray, image: np.ndarray) -> dict[str, Any]:
    checks = {"residual": residual_checks(noisy, image)}
    if f"reference{number}" not in truth:
        return checks
    reference = truth[f"reference{number}"]
    inside = np.broadcast_to(truth[f"inside{number}"], reference.shape)
    whole = float(reference.max())
    fast = {f"{name}_fastmri": value for name, value in scores(image, reference, whole).items()}
    figures: dict[str, Any] = {
        **scores(image, reference, 1.0, inside),
        **fast,
        "gmsd": gmsd(image, reference, 1.0, inside),
        "bias": bias_by_brightness(image[inside], reference[inside]),
        **checks,
    }
    if (edges := hfen(image, reference, inside)) is not None:
        figures["hfen"] = edges
    if f"deviation{number}" in truth:
        s2 = float(np.square(truth[f"deviation{number}"])[inside].mean())
        mse = float(np.square(image - reference)[inside].mean())
        figures |= {"bands": kept_by_band(image - reference, noisy - reference, inside), "mse_over_s2": mse / s2}
    if f"further{number}" in truth:
        figures["mse_unbiased"] = unbiased_mse(image, truth[f"further{number}"], inside)
    return figures


def _lesions(truth: dict[str, np.ndarray], number: int, without: np.ndarray, image: np.ndarray) -> dict[str, Any]:
    """Contrast kept of the inserted details (1 all of it), and the PSNR of the image that has them."""
    clean, detail = truth[f"reference{number}"], truth[f"detail{number}"]
    small = np.abs(detail) >= np.abs(detail).max() / 2
    return {
        "kept": detail_kept(image, clean + detail, clean, without),
        "psnr": psnr(image, clean + detail, 1.0, small),
    }


def _observer(
    images: np.ndarray, noisy: np.ndarray, truth: dict[str, np.ndarray], places: dict[str, np.ndarray]
) -> dict[str, Any]:
    """For each insert: can it be seen, and better than in the noisy images; how much of its contrast is left; and what
    is seen where there is none.
    """
    half = len(images) // 2
    present, absent = images[:half], images[half:]
    insert = truth["reference0"][0] - truth[f"reference{half}"][0]
    found = {}
    for name, at in places.items():
        told, as_they_are = observe(present, absent, at), observe(noisy[:half], noisy[half:], at)
        kept, false = zip(*(_read(present, absent, insert, *place) for place in np.atleast_2d(at)), strict=True)
        found[name] = {
            **dict(zip(("auc", "interval"), auc(told), strict=True)),
            **dict(zip(("over_noisy", "over_noisy_interval"), auc(told - as_they_are), strict=True)),
            "contrast": float(np.mean(kept)),
            "false": float(np.mean(false)),  # 1 is an insert's
        }
    return found


def _read(present: np.ndarray, absent: np.ndarray, insert: np.ndarray, row: int, column: int) -> tuple[float, float]:
    """The contrast kept of the insert at a place, and the standard deviation of what is read there where it is not."""
    near = np.zeros_like(insert)
    near[row - 15 : row + 16, column - 15 : column + 16] = 1
    signal = insert * near
    weight = signal / np.square(signal).sum()
    false = ((absent - absent.mean(0)) * weight).sum((1, 2)).std(ddof=1)
    return contrast(present, absent, signal), float(false)
