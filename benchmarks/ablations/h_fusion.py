"""Study h: fusion with the noisy pixel, and the pipeline of three stages at four noise levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.ablations.fits import fitted
from benchmarks.ablations.lab import Lab, Task
from benchmarks.measures import kept_by_band
from benchmarks.writing import markdown, panels
from diffdenoise.inference import denoise_slices
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.presets import make_config
from diffdenoise.rounds import images_of_round, put_back, sample_slice, variance_map

TITLE = "Fusion, and the pipeline of three stages at four noise levels"
QUESTION = """The preset `cpu`, which trains all three stages, as users run it (`fit` with all its own steps, noise
level estimated from the scan), each stage scored. Is x_hat fused with the noisy pixel better than the condition fused
without any diffusion? Does the fused image keep as much of the noise as theory asks for, MSE/s2? And what does a wrong
noise level cost?"""
FINDING = """At every level the fused teacher is above the noisy image and x_c, and as good as x_c fused directly, to
0.01 dB: so the gain is the fusion's, not the diffusion's. The student reaches its teacher, and at 6/255 passes it by
about 1 dB. There fused keeps 0.18 of the noise where MSE/s2 is 0.64, and a level taken 30 % too low happens to mend
that: v is too small. We guess that it is the test slices' added detail, unlike anything in training; slices without it
were not measured. Above that what is kept comes nearer to MSE/s2, and stays below it. There a wrong level is
expensive: 30 % too low lets noise in and costs 2.4 to 6 dB, 30 % too high takes the weight to 0 and gives x_c back.
The estimate is within 1.1 % here."""
SIGMAS = (6, 15, 25, 50)
FACTORS = (0.7, 1.3)
ORDER = ("noisy", "one chain", "x_c", "x_hat", "x_c fused", "x_hat fused", "student")
ORDER += tuple(f"fused, sigma x {factor}" for factor in FACTORS)
STEPS = {"smoke": {stage: {"steps": 3} for stage in ("blind_spot", "diffusion", "student")}}


def run(lab: Lab) -> dict[str, Any]:
    """One row for each noise level."""
    preset = make_config(lab.size.preset, STEPS.get(lab.size.name, {})).model_dump(mode="json")
    make = lambda sigma: lab.cell(f"fusion-{sigma}", lambda: measure(lab, Task(sigma=sigma)), sigma, preset)  # noqa: E731
    return {"rows": [make(sigma) for sigma in SIGMAS]}


def measure(lab: Lab, task: Task) -> dict[str, Any]:
    """PSNR of every stage, of fusions with a wrong level, and the noise kept."""
    made = fitted(lab, task, f"default-{task.name}", STEPS.get(lab.size.name, {}))
    model, level, x_noisy, seeds, noisy = made.model, made.domain.level, made.x_noisy, made.seeds, task.noisy[1]
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
    arrays = {name: made.back(tensor) for name, tensor in results.items()}
    arrays["student"] = denoise_slices(model, noisy, device=lab.device).pixels
    noise = noisy - task.clean
    kept = {name: kept_by_band(image - task.clean, noise, task.mask) for name, image in arrays.items()}
    psnr = {name: task.psnr(image) for name, image in arrays.items()}
    return {"sigma": task.sigma, "estimated": 255 * made.domain.scale * level.typical, "psnr": psnr, "kept": kept}


def tables(result: dict[str, Any]) -> str:
    """PSNR, then noise kept beside MSE/s2."""
    rows, names = result["rows"], ORDER
    head = ["PSNR, dB", *(f"{row['sigma']}/255" for row in rows)]
    body = [[name, *(f"{row['psnr'][name]:.2f}" for row in rows)] for name in names]
    body.append(["*estimated sigma*", *(f"{row['estimated']:.2f}" for row in rows)])
    figures = lambda part: f"{part['all']['kept']:+.3f} / {part['all']['mse']:.3f}"  # noqa: E731
    kept = [[name, *(figures(row["kept"][name]) for row in rows)] for name in names]
    return markdown(head, body) + "\n\n" + markdown(["noise kept / (MSE/s2)", *head[1:]], kept)


def plot(result: dict[str, Any], path: Path) -> None:
    """Gain over x_c, by noise level."""
    with panels(path, width=6) as axis:
        sigmas = [row["sigma"] for row in result["rows"]]
        for name in ("x_hat", "x_c fused", "x_hat fused", "fused, sigma x 0.7", "fused, sigma x 1.3", "student"):
            axis.plot(sigmas, [row["psnr"][name] - row["psnr"]["x_c"] for row in result["rows"]], "o-", label=name)
        axis.set(xlabel="noise, /255", ylabel="PSNR over x_c, dB")
        axis.legend(fontsize=8)
