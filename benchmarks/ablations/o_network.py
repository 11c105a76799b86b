"""Study o: the student's network, by what it learns in the same time rather than in as many steps."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ablations.k_recorruption import denoised
from benchmarks.ablations.lab import Lab, Task
from benchmarks.writing import markdown, panels
from diffdenoise.config import StudentSettings
from diffdenoise.noise.estimate import constant_level
from diffdenoise.presets import PRESETS
from diffdenoise.run_folder import key_of
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.stage import autocast

TITLE = "The student's network"
QUESTION = """NAFNet, the paper's student, and DRUNet, which is made of 3x3 convolutions alone, each from random
weights, by recorruption (study k), for as many seconds as the others. *Multiplications* are those of one pixel;
*a step* is one of training (4 crops of 64 pixels, in bf16 where the processor has it), the median of three turns;
*rate* is what it computes, and its share of what a product of matrices of 2048 reaches on the same machine in the same
minute. *An image* has 256 x 256 pixels and is denoised in fp32, as all are. Two noise levels."""
FINDING = """A CPU uses 7 % of what it can while it trains a NAFNet: depthwise convolutions, gates and norms move more
bytes than they compute. DRUNet uses half, and has six times the multiplications in the time of a step; an image takes
it half as long again. From random weights it is 0.3 dB ahead after a minute at 25/255, and level at 50/255 (by hand, on
a single head for 60 to 70 seconds, 0.3 and 0.4 dB ahead). From weights that learned from synthetic images there is
nothing left of that (method.md, section 12), so the preset `fast` keeps NAFNet and its weights."""
NETWORKS: dict[str, dict[str, Any]] = {
    "NAFNet, width 16 (fast)": {"network": "nafnet", "width": 16, "middle": 1},
    "NAFNet, width 32": {"network": "nafnet", "width": 32, "middle": 1},
    "DRUNet, width 24": {"network": "drunet", "width": 24, "middle": 2},
    "DRUNet, width 32": {"network": "drunet", "width": 32, "middle": 2},
}
SIGMAS, SEEDS = (25.0, 50.0), (0,)
SECONDS = {"smoke": 0.1, "cpu": 60.0, "gpu": 60.0}  # of training
TURNS, STEPS, SIDE = 3, 20, 256
LEARNING_RATE = 2e-3


def run(lab: Lab) -> dict[str, Any]:
    """Speed of all in one cell, for it is compared; then what each learns."""
    speed = lab.cell("speed", partial(speeds, lab), NETWORKS)
    seconds, tasks = SECONDS[lab.size.name], [Task(sigma=sigma, seed=seed) for sigma in SIGMAS for seed in SEEDS]
    rows = []
    for name in NETWORKS:
        settings = _settings(name, max(2, round(1e3 * seconds / speed[name]["step"])))
        figures = [
            lab.cell("learned", partial(_learned, lab, task, settings), task.name, settings.model_dump())
            for task in tasks
        ]
        rows.append(
            {"network": name, **speed[name], "steps": settings.steps, "psnr": [figure["psnr"] for figure in figures]}
        )
    return {
        "rows": rows,
        "tasks": [(task.sigma, task.seed) for task in tasks],
        "peak": speed["peak"],
        "seconds": seconds,
    }


def _settings(name: str, steps: int) -> StudentSettings:
    changes = {**NETWORKS[name], "steps": steps, "learning_rate": LEARNING_RATE, "neighbours": 0, "start": "random"}
    return StudentSettings.model_validate({**PRESETS["fast"].student.model_dump(), **changes})


def _learned(lab: Lab, task: Task, settings: StudentSettings) -> dict[str, float]:
    level, key = constant_level(task.sigma / 255), key_of(task.name, settings.model_dump())
    return {"psnr": task.psnr(denoised(lab, RecorruptedStage, task, settings, level, key))}


def speeds(lab: Lab) -> dict[str, Any]:
    """Of each network; and of a product of matrices, in GFLOP/s. In turns, for the machine has other work as well."""
    noisy = lab.noisy(Task())
    stages = {
        name: RecorruptedStage(_settings(name, 1), noisy, [constant_level(25 / 255)], 0).to(lab.device)
        for name in NETWORKS
    }
    steps: dict[str, list[float]] = {name: [] for name in NETWORKS}
    images: dict[str, list[float]] = {name: [] for name in NETWORKS}
    peaks = []
    for _ in range(TURNS):
        peaks.append(_rate_of_product(lab.device))
        for name, stage in stages.items():
            steps[name].append(_milliseconds(partial(_step, stage), STEPS))
            images[name].append(_milliseconds(partial(_denoise, stage.network, lab.device), 3))
    rows = {}
    for name, stage in stages.items():
        step, count = statistics.median(steps[name]), multiplications(stage.network)
        pixels = stage.settings.batch * stage.settings.crop**2
        rate = 3 * 2 * count * pixels / step / 1e6  # forward once, backward twice
        weights = sum(weight.numel() for weight in stage.network.parameters())
        rows[name] = {
            "weights": weights,
            "multiplications": count,
            "step": step,
            "rate": rate,
            "image": statistics.median(images[name]),
        }
    return {**rows, "peak": statistics.median(peaks)}


def multiplications(network: nn.Module) -> float:
    """Of one pixel of an image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, SIDE, SIDE, device=next(network.parameters()).device))
    return counter.get_total_flops() / 2 / SIDE**2


def _step(stage: RecorruptedStage) -> None:
    with autocast(stage.device.type):
        loss = stage.loss_at(0)
    loss.backward()
    stage.zero_grad()


def _denoise(network: nn.Module, device: str) -> None:
    with torch.no_grad():
        network(torch.zeros(1, 1, SIDE, SIDE, device=device))


def _rate_of_product(device: str, side: int = 2048) -> float:
    """GFLOP/s of a product of square matrices, in the precision of training."""
    a = torch.ones(side, side, device=device)
    with autocast(device):
        return 2 * side**3 / _milliseconds(lambda: a @ a, 5) / 1e6


def _milliseconds(work: Any, times: int) -> float:
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    work()
    wait()
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return 1e3 * (time.perf_counter() - start) / times


def tables(result: dict[str, Any]) -> str:
    """One table."""
    seeds = len({seed for _, seed in result["tasks"]})
    sigmas = [sigma for sigma, seed in result["tasks"] if seed == 0]
    body = []
    for row in result["rows"]:
        means = [sum(row["psnr"][n * seeds : (n + 1) * seeds]) / seeds for n in range(len(sigmas))]
        body.append([
            row["network"],
            f"{row['weights']:,}".replace(",", " "),
            f"{row['multiplications'] / 1e3:.1f} k",
            f"{row['step']:.0f} ms",
            f"{row['rate']:.0f} GFLOP/s, {row['rate'] / result['peak']:.0%}",
            f"{row['image']:.0f} ms",
            f"{row['steps']}",
            *(f"{mean:.2f}" for mean in means),
        ])  # fmt: skip
    head = ["network", "weights", "multiplications", "a step", "rate", "an image", f"steps in {result['seconds']:g} s"]
    return markdown([*head, *(f"PSNR, {sigma:g}/255" for sigma in sigmas)], body)


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR over multiplications."""
    seeds = len({seed for _, seed in result["tasks"]})
    with panels(path, width=5.0) as axis:
        for kind in ("NAFNet", "DRUNet"):
            rows = [row for row in result["rows"] if row["network"].startswith(kind)]
            means = [sum(row["psnr"][:seeds]) / seeds for row in rows]
            axis.plot([row["multiplications"] for row in rows], means, "o-", label=kind)
        axis.set(xscale="log", xlabel="multiplications a pixel", ylabel=f"PSNR in dB after {result['seconds']:g} s")
        axis.legend()
