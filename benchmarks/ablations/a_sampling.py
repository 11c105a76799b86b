"""Study a: what pairing does, figure 4 of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ablations.lab import Blind, Lab, Sampler, Task, apply_student
from benchmarks.measures import correlation
from benchmarks.writing import markdown, panels
from diffdenoise.config import TeacherSettings
from diffdenoise.diffusion.sampling import image_noise, srds
from diffdenoise.diffusion.schedule import make_schedule
from diffdenoise.quality.reference import psnr, ssim
from diffdenoise.rounds import bind_condition
from diffdenoise.training.stage import autocast

TITLE = "Pairs: figure 4 of the paper"
QUESTION = """Over 50 seeds of the sampler (SSIM: five of them): one chain, two independent chains, a symmetric pair,
four pairs, and the student, at 1 to 50 DDIM steps; as published and with the leak closed. *Raw* is the correlation of
the two branches' errors, *deviations* that of their differences from the mean over all pairs, *residue* the standard
deviation of a chain around that mean, in units of the noise's sigma."""
STEPS = (1, 2, 5, 10, 20, 50)
WINDOW = (slice(70, 166), slice(50, 146))  # of the MNI152 slices: within the brain
SETTINGS = {
    "published (open, image)": {"leak": "open", "target": "image"},
    "damped, image": {"leak": "damped", "target": "image"},
    "masked, image": {"leak": "masked", "target": "image"},
    "redrawn, image": {"leak": "redrawn", "target": "image"},
    "redrawn, residual (default)": {"leak": "redrawn", "target": "residual"},
}
FINDING = """Where chains leave a residue, pairing removes it: from 5 steps on the deviations correlate at -0.96 or
lower, the pair lies 4 to 9 dB above a single chain and the two independent chains stay 2 to 7 dB behind the pair; four
pairs add little. At 1 and 2 steps the image chains leave less, 0.38 to 0.43 and 0.26 to 0.28 sigma. Most of that is
odd in eps, too (deviations correlate at -0.80 to -0.85 and -0.51 to -0.61, so about nine tenths and three quarters of
its power), and the pair gains 2.1 to 2.7 and 1.2 to 1.4 dB. It is not a sampled noise but the network's answer to pure
noise at t = T - 1, which an ideal network would ignore. Only the default chain has next to nothing left at 1 step
(0.02 sigma). The raw correlation only says how large the residue is beside the shared error: it is 2 MSE_pair /
MSE_single - 1, and runs from +0.5 to -0.8 in the image chains. The paper's figures imply +0.15; our 1-step image
chains have 0.1 to 0.2. In the default chain, of the difference from x_c, the pair gives x_c back exactly: with the
leak closed there is nothing else to find (study b), and the gain of the default's student comes from fusion."""
BATCH = 25
FEW = 4  # pairs
Row = dict[str, Any]


def run(lab: Lab) -> dict[str, Any]:
    """All settings, at 25/255 in a window of the third test slice; at full size of the first one too."""
    seeds = 2 if lab.size.name == "smoke" else 50
    slices = [0, 2] if lab.size.full else [2]
    blind = lab.blind(Task())
    rows = []
    for name, changes in SETTINGS.items():
        sampler = lab.diffusion(blind, **changes)
        rows += lab.cell("sampling", lambda s=sampler: {"rows": measure(s, seeds, slices)}, sampler.key, seeds, slices)[
            "rows"
        ]
        for row in rows:
            row.setdefault("setting", name)
    lines = {name: student_line(lab, blind, name, slices) for name in (next(iter(SETTINGS)), list(SETTINGS)[-1])}
    return {"rows": rows, "lines": {"x_c": scored(blind.x_c, blind, slices), **lines}, "seeds": seeds}


def student_line(lab: Lab, blind: Blind, name: str, slices: list[int]) -> dict[str, float]:
    """The student of the published teacher (x_hat) or of the default one (fused)."""
    sampler = lab.diffusion(blind, **SETTINGS[name])
    output = "x_hat" if name.startswith("published") else "fused"
    student = lab.student(sampler, TeacherSettings(steps=10), output)
    return scored(apply_student(student, blind.x_noisy), blind, slices)


def measure(sampler: Sampler, seeds: int, slices: list[int]) -> list[Row]:
    """One row for each number of steps."""
    return [measure_steps(sampler, steps, seeds, slices) for steps in STEPS]


def measure_steps(sampler: Sampler, steps: int, seeds: int, slices: list[int]) -> Row:
    """Means over seeds and slices."""
    blind, found = sampler.blind, []
    for index in slices:
        clean, sigma = blind.task.clean[index][WINDOW], blind.task.sigma / 255
        plus, minus = chains(sampler, index, steps, seeds)
        pairs, middle = (plus + minus) / 2, (plus + minus).mean(0) / 2
        fours = pairs[: seeds - seeds % FEW].reshape(-1, FEW, *clean.shape).mean(1) if seeds >= FEW else pairs
        singles = [psnr(image, clean, 1.0) for image in plus]
        found.append(
            {
                "single": float(np.mean(singles)),
                "single_low": float(np.min(singles)),
                "single_high": float(np.max(singles)),
                "independent": mean_psnr((plus + np.roll(plus, 1, axis=0)) / 2, clean),
                "pair": mean_psnr(pairs, clean),
                "pair_low": float(np.min([psnr(image, clean, 1.0) for image in pairs])),
                "pair_high": float(np.max([psnr(image, clean, 1.0) for image in pairs])),
                "four_pairs": mean_psnr(fours, clean),
                "ssim_single": mean_ssim(plus, clean),
                "ssim_pair": mean_ssim(pairs, clean),
                "raw": float(np.mean([correlation(p - clean, m - clean) for p, m in zip(plus, minus, strict=True)])),
                "deviations": float(
                    np.mean([correlation(p - middle, m - middle) for p, m in zip(plus, minus, strict=True)])
                ),
                "residue": float((plus - middle).std() / sigma),
            }
        )
    return {"steps": steps, **{key: float(np.mean([row[key] for row in found])) for key in found[0]}}


@torch.no_grad()
def chains(sampler: Sampler, index: int, steps: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """(chains from +eps, chains from -eps), each (seeds, rows, columns) of the window of a slice."""
    x_c = sampler.blind.x_c[index : index + 1, :, *WINDOW]
    abar = make_schedule(sampler.settings.schedule, sampler.settings.timesteps)
    plus, minus = [], []
    for first in range(0, seeds, BATCH):
        own = range(first, min(first + BATCH, seeds))
        condition = x_c.expand(len(own), -1, -1, -1)
        network = bind_condition(sampler.network, condition)
        eps = image_noise(list(own), x_c.shape[1:]).to(x_c)
        with autocast(x_c.device.type):
            mean, spread = srds(network, eps, abar, steps, sampler.settings.prediction)
        for parts, images in ((plus, mean + spread), (minus, mean - spread)):
            parts.append(sampler.chain.decode(images, condition)[:, 0].cpu().numpy())
    return np.concatenate(plus), np.concatenate(minus)


def mean_psnr(images: np.ndarray, clean: np.ndarray) -> float:
    """Mean PSNR in dB of (n, rows, columns)."""
    return float(np.mean([psnr(image, clean, 1.0) for image in images]))


def mean_ssim(images: np.ndarray, clean: np.ndarray) -> float:
    """Mean SSIM of the first five of (n, rows, columns): it is slow and hardly varies."""
    return float(np.mean([ssim(image, clean, 1.0) for image in images[:5]]))


def scored(images: Tensor, blind: Blind, slices: list[int]) -> dict[str, float]:
    """PSNR and SSIM in the window of the slices."""
    parts = [(images[i, 0][WINDOW].cpu().numpy(), blind.task.clean[i][WINDOW]) for i in slices]
    return {
        "psnr": float(np.mean([psnr(a, b, 1.0) for a, b in parts])),
        "ssim": float(np.mean([ssim(a, b, 1.0) for a, b in parts])),
    }


def tables(result: dict[str, Any]) -> str:
    """One table, PSNR in dB with the range over seeds."""
    head = [
        "setting",
        "steps",
        "one chain",
        "two independent",
        "pair",
        "four pairs",
        "SSIM one / pair",
        "raw",
        "deviations",
        "residue",
    ]
    body = [
        [
            row["setting"],
            row["steps"],
            f"{row['single']:.2f} ({row['single_low']:.2f} to {row['single_high']:.2f})",
            f"{row['independent']:.2f}",
            f"{row['pair']:.2f} ({row['pair_low']:.2f} to {row['pair_high']:.2f})",
            f"{row['four_pairs']:.2f}",
            f"{row['ssim_single']:.3f} / {row['ssim_pair']:.3f}",
            f"{row['raw']:+.2f}",
            f"{row['deviations']:+.2f}",
            f"{row['residue']:.2f}",
        ]
        for row in result["rows"]
    ]
    lines = [[name, f"{line['psnr']:.2f}", f"{line['ssim']:.3f}"] for name, line in result["lines"].items()]
    lines = [[f"student of: {row[0]}" if row[0] in SETTINGS else row[0], *row[1:]] for row in lines]
    return markdown(head, body) + "\n\nBeside them, in the same windows:\n\n" + markdown(["", "PSNR", "SSIM"], lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR over steps: a panel for each setting."""
    with panels(path, len(SETTINGS), width=3.4, sharey=True) as axes:
        styles = {
            "single": "one chain",
            "independent": "two independent chains",
            "pair": "symmetric pair",
            "four_pairs": "four pairs",
        }
        for axis, name in zip(axes, SETTINGS, strict=True):
            rows = [row for row in result["rows"] if row["setting"] == name]
            steps = [row["steps"] for row in rows]
            axis.fill_between(
                steps, [r["single_low"] for r in rows], [r["single_high"] for r in rows], alpha=0.2, color="C0"
            )
            for number, (key, label) in enumerate(styles.items()):
                axis.plot(steps, [row[key] for row in rows], "o-", color=f"C{number}", label=label, markersize=3)
            axis.axhline(result["lines"]["x_c"]["psnr"], color="0.5", linestyle=":", label="x_c")
            if name in result["lines"]:
                axis.axhline(result["lines"][name]["psnr"], color="k", linestyle="--", label="student")
            axis.set(xscale="log", xlabel="DDIM steps", title=name)
        axes[0].set_ylabel("PSNR, dB")
        axes[0].legend(fontsize=7)
