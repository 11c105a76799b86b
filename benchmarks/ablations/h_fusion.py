"""Study h: fusion with the noisy pixel, and the default pipeline at four noise levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations.lab import Lab, Task, as_array
from benchmarks.ablations.measures import kept_by_band
from benchmarks.ablations.text import markdown
from diffdenoise.inference import denoise_slices, noise_level
from diffdenoise.model_file import Model
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.normalisation import normalise, restore
from diffdenoise.pipeline import fit
from diffdenoise.preparation import Source
from diffdenoise.presets import make_config
from diffdenoise.rounds import image_seed, images_of_round, put_back, sample_slice, variance_map
from diffdenoise.scans.scan import Scan

TITLE = "Fusion, and the default pipeline at four noise levels"
QUESTION = """The default preset as users run it (`fit` with all its own steps, noise level estimated from the scan),
each stage scored. Is x_hat fused with the noisy pixel better than the condition fused without any diffusion? Does the
fused image keep as much of the noise as theory asks for, MSE/s2? And what does a wrong noise level cost?"""
FINDING = ""
SIGMAS = (6, 15, 25, 50)
FACTORS = (0.7, 1.3)
STEPS = {"smoke": {stage: {"steps": 3} for stage in ("blind_spot", "diffusion", "student")}}


def run(lab: Lab) -> dict[str, Any]:
    """One row for each noise level."""
    return {
        "rows": [lab.cell(f"fusion-{sigma}", lambda s=sigma: measure(lab, Task(sigma=s)), sigma) for sigma in SIGMAS]
    }


def fitted(lab: Lab, task: Task) -> Model:
    """The default preset, fitted on the task's training slices."""
    config = make_config(lab.size.preset, {**STEPS.get(lab.size.name, {}), "seed": task.seed})
    source = Source(task.name, lambda: Scan(task.noisy[0], task.name, "npy"))
    return fit([source], config, lab.folder / f"fit-{task.name}", lab.device).model.to(lab.device)


def measure(lab: Lab, task: Task) -> dict[str, Any]:
    """PSNR of every stage, of fusions with a wrong level, and the noise kept."""
    model, noisy = fitted(lab, task), task.noisy[1]
    offset, scale = model.normalisation.range_of(noisy)
    x_noisy = torch.from_numpy(normalise(noisy, offset, scale))[:, None].to(lab.device)
    level, seeds = noise_level(model, noisy, offset, scale), [image_seed(0, image) for image in noisy]
    images, sampled = images_of_round(model, x_noisy, level, seeds, 1), sample_slice(model, x_noisy, level, seeds)

    def fused_with(factor: float) -> Tensor:
        wrong: NoiseLevel = replace(level, sigma=tuple(factor * sigma for sigma in level.sigma))
        return put_back(sampled.x_hat, images, variance_map(wrong, images.x_c))

    results = {
        "noisy": x_noisy,
        "x_c": images.x_c,
        "one chain": sampled.chain,
        "x_hat": sampled.x_hat,
        "x_c fused": put_back(images.x_c, images, variance_map(level, images.x_c)),
        "x_hat fused": sampled.fused,
        **{f"fused, sigma x {factor}": fused_with(factor) for factor in FACTORS},
    }
    arrays = {name: restore(as_array(tensor), offset, scale) for name, tensor in results.items()}
    arrays["student"] = denoise_slices(model, noisy, device=lab.device).pixels
    noise = noisy - task.clean
    kept = {name: kept_by_band(image - task.clean, noise, task.mask) for name, image in arrays.items()}
    psnr = {name: task.psnr(image) for name, image in arrays.items()}
    return {"sigma": task.sigma, "estimated": 255 * scale * level.typical, "psnr": psnr, "kept": kept}


def tables(result: dict[str, Any]) -> str:
    """PSNR, then noise kept beside MSE/s2."""
    rows, names = result["rows"], list(result["rows"][0]["psnr"])
    head = ["PSNR, dB", *(f"{row['sigma']}/255" for row in rows)]
    body = [[name, *(f"{row['psnr'][name]:.2f}" for row in rows)] for name in names]
    body.append(["*estimated sigma*", *(f"{row['estimated']:.2f}" for row in rows)])
    figures = lambda part: f"{part['all']['kept']:+.3f} / {part['all']['mse']:.3f}"  # noqa: E731
    kept = [[name, *(figures(row["kept"][name]) for row in rows)] for name in names]
    return markdown(head, body) + "\n\n" + markdown(["noise kept / (MSE/s2)", *head[1:]], kept)


def plot(result: dict[str, Any], path: Path) -> None:
    """Gain over x_c, by noise level."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    sigmas = [row["sigma"] for row in result["rows"]]
    for name in ("x_hat", "x_c fused", "x_hat fused", "fused, sigma x 0.7", "fused, sigma x 1.3", "student"):
        axis.plot(sigmas, [row["psnr"][name] - row["psnr"]["x_c"] for row in result["rows"]], "o-", label=name)
    axis.set(xlabel="noise, /255", ylabel="PSNR over x_c, dB")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
