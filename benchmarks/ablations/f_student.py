"""Study f: what the student learns from its teacher, and what it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_gradient_magnitude

from benchmarks.ablations.lab import TRAIN, Lab, Sampler, Task, apply_student, as_array, slices_of
from benchmarks.measures import kept_by_band
from benchmarks.writing import markdown, panels
from diffdenoise.config import TeacherSettings
from diffdenoise.quality.reference import foreground, psnr

TITLE = "The student against its teacher"
QUESTION = """The teacher's error on training slices is split in two: what is the same for every seed of the sampler
(its bias) and what changes with the seed (the sampler's noise). *Bias kept* and *sampler's noise kept*: the slopes of
the student's error on each, the noise being that of the very draws that it was taught. *Invented*: the error in flat
regions of the anatomy that the noise of the scan does not explain, as a standard deviation in units of sigma; *of it
by chance*: the part that changes with the seed. *Detail kept*: the slope of the result on the clean image, by
frequency band. As published (x_hat of 10 steps, leak open) and the default (fused)."""
FINDING = """The student keeps what every chain has in common (0.96 to 1.00 of the bias), and nothing of the chance of
the draws that it was taught (-0.05 and -0.06 of it, none but for chance). It invents as much as SRDS does, 0.28 sigma
in flat regions, where a single chain has 0.70, of which 0.63 by chance. So most of what a chain invents is gone, but
with SRDS already; the rest is in every draw and stays. The default teacher hardly varies with the seed (0.006 sigma),
so that its slope on chance means nothing. L1 and L2 differ by less than 0.1 dB, in favour of L1. The students here had
1000 steps and 20 teacher images: those of the whole preset `cpu` are in study h."""
TEACHERS = {
    "published": ({"leak": "open", "target": "image"}, "x_hat"),
    "default": ({"leak": "redrawn", "target": "residual"}, "fused"),
}
LOSSES = ("l1", "l2")
SLICES = (9, 28, 50)  # training slices on which errors are compared: some that had a teacher image (see the tests)
FLAT = 0.25  # share of the brain that counts as flat
Row = dict[str, Any]


def run(lab: Lab) -> dict[str, Any]:
    """Rows for the chain, SRDS and the students of both teachers."""
    seeds = 2 if lab.size.name == "smoke" else 16
    blind, rows = lab.blind(Task()), []
    for name, (changes, output) in TEACHERS.items():
        sampler = lab.diffusion(blind, **changes)
        make = lambda s=sampler, o=output: {"rows": measure(lab, s, o, seeds)}  # noqa: E731
        rows += [
            {"teacher": name} | row for row in lab.cell("student", make, sampler.key, output, seeds, SLICES)["rows"]
        ]
    return {"rows": rows, "seeds": seeds}


def measure(lab: Lab, sampler: Sampler, output: str, seeds: int) -> list[Row]:
    """One row for each estimate."""
    teacher, blind = TeacherSettings(steps=10), sampler.blind
    clean = slices_of(blind.task.subject, **TRAIN)[list(SLICES)]
    noisy = blind.task.noisy[0][list(SLICES)]
    # Seed 0 first: those draws are the images that the student was taught.
    sampled = [[lab.on_training_slice(sampler, teacher, index, seed) for index in SLICES] for seed in range(seeds)]
    many = lambda key: np.stack([np.concatenate([as_array(getattr(s, key)) for s in row]) for row in sampled])  # noqa: E731
    test = sampler.test(10)
    rows = []
    for name, key in (("one chain", "chain"), ("teacher", output)):
        images = many(key)
        rows.append(
            {"estimate": name, "psnr": blind.task.psnr(getattr(test, key)), **split(images, clean, noisy, images)}
        )
    for loss in LOSSES:
        student = lab.student(sampler, teacher, output, loss=loss)
        images = as_array(apply_student(student, torch.from_numpy(noisy)[:, None].to(lab.device)))[None]
        test_image = apply_student(student, blind.x_noisy)
        rows.append(
            {
                "estimate": f"student, {loss.upper()}",
                "psnr": blind.task.psnr(test_image),
                **split(images, clean, noisy, many(output)),
            }
        )
    return rows


def split(images: np.ndarray, clean: np.ndarray, noisy: np.ndarray, teachers: np.ndarray) -> Row:
    """Figures of an estimate (seeds or 1, slices, rows, columns) of training slices; teachers: with all their seeds."""
    mask, noise = foreground(clean), noisy - clean
    bias = teachers.mean(0) - clean
    chance = teachers[0] - teachers.mean(0)  # of the student's own targets
    error = images[0] - clean
    flat = flat_places(clean, mask)
    unexplained = error - slope(error[flat], noise[flat]) * noise
    by_chance = images.std(0)[flat] if len(images) > 1 else np.zeros(1)
    sigma = float(noise.std())
    kept = kept_by_band(images[0] - clean, clean - clean[mask].mean(), mask)
    return {
        "psnr_train": psnr(images[0], clean, 1.0, mask),
        "bias_kept": slope(error[mask], bias[mask]),
        "chance_kept": slope(error[mask], chance[mask]) if chance.any() else float("nan"),
        "invented": float(unexplained[flat].std()) / sigma,
        "invented_by_chance": float(np.sqrt(np.mean(by_chance**2))) / sigma,
        "noise_kept": slope(error[mask], noise[mask]),
        "detail": {band: 1 + kept[band]["kept"] for band in ("low", "middle", "high")},
    }


def flat_places(clean: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The flattest part of the brain, by the gradient at a scale of 1.5 pixels."""
    steepness = np.stack([gaussian_gradient_magnitude(image, 1.5) for image in clean])
    return mask & (steepness <= np.quantile(steepness[mask], FLAT))


def slope(y: np.ndarray, x: np.ndarray) -> float:
    """Of the regression of y on x."""
    x = x - x.mean()
    return float(np.vdot(x, y) / np.vdot(x, x))


def tables(result: dict[str, Any]) -> str:
    """One table."""
    head = [
        "teacher",
        "estimate",
        "PSNR test",
        "PSNR training slices",
        "noise kept",
        "bias kept",
        "sampler's noise kept",
        "invented",
        "of it by chance",
        "detail kept low / middle / high",
    ]
    body = [
        [row["teacher"], row["estimate"], f"{row['psnr']:.2f}", f"{row['psnr_train']:.2f}"]
        + [f"{row[key]:+.2f}" for key in ("noise_kept", "bias_kept", "chance_kept")]
        + [f"{row[key]:.3f}" for key in ("invented", "invented_by_chance")]
        + [" / ".join(f"{value:.2f}" for value in row["detail"].values())]
        for row in result["rows"]
    ]
    return markdown(head, body)


def plot(result: dict[str, Any], path: Path) -> None:
    """Structure in flat regions, stacked: by chance, and the rest."""
    with panels(path, width=7) as axis:
        names = [f"{row['teacher']}\n{row['estimate']}" for row in result["rows"]]
        axis.bar(names, [row["invented"] for row in result["rows"]], color="C1", label="invented in flat regions")
        axis.bar(
            names,
            [row["invented_by_chance"] for row in result["rows"]],
            width=0.4,
            color="C0",
            label="changes with the seed",
        )
        axis.set_ylabel("standard deviation, sigma")
        axis.tick_params(axis="x", labelsize=7)
        axis.legend(fontsize=8)
