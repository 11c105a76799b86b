"""Study t: what a GPU does with a step of the student, and with a minute."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.ablations.k_recorruption import Supervised
from benchmarks.ablations.lab import Lab, Task, apply_student, say
from benchmarks.ablations.o_network import multiplications
from benchmarks.writing import markdown, panels
from diffdenoise import Denoiser
from diffdenoise.noise.estimate import constant_level
from diffdenoise.presets import PRESETS
from diffdenoise.probe import seconds_per_step
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.stage import train
from diffdenoise.training.start import load_start, start_for

TITLE = "A step on a GPU, and a minute"
QUESTION = """The student of the preset `fast` on the device named below, by crops of a step and their side:
milliseconds to make a batch on one thread of the CPU; of a step with batches made in their turn and the network's
kernels launched one by one; with batches made ahead by threads; and with the network's passes recorded and replayed,
too (`training/ahead.py`, `replayed.py`), and how fast that multiplies and adds. Then PSNR after a time by the clock,
with the noise estimated, as a user has it: the preset `fast` by size of its steps, the preset `gpu` with its three
stages, and the same network from the same start with the clean images of the same slices to learn from."""
FINDING = """Launched one by one, the kernels of a network this small leave an H100 idle: with batches made ahead,
sixteen times the pixels take hardly longer. With the network's passes replayed, too, a step takes about a third of the
time, and a larger one half as long again as the smallest: in some 20 seconds 16 crops of 128² end 0.2 dB ahead of 4 of
64² (their fit took 2 seconds longer), so the preset takes those on a GPU. Of the steps that are left the network's
recorded passes are 2.6, 5 and 9 ms (by hand); the rest, 7 to 9 ms, is the training loop in Python on this machine's
slow cores, and making the batches. In a minute the student alone is level with the one that learned from clean images
(one pass each), and a decibel ahead of the three stages, which divide the minute. One noise (white, 25/255), one
seed."""
SIZES = ((4, 64), (16, 64), (16, 128))
SECONDS = {"smoke": (0.5, 0.5), "cpu": (30.0, 90.0), "gpu": (20.0, 60.0)}  # of training
TASK = Task()


class ByOne(RecorruptedStage):
    """Batches ahead of their turn; the network kernel by kernel."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Not replayed."""
        return self.network(*inputs)


class InTurn(ByOne):
    """As on a CPU."""

    def start_ahead(self) -> None:
        """Not at all."""


KINDS = (InTurn, ByOne, RecorruptedStage)


def run(lab: Lab) -> dict[str, Any]:
    """Times of a step by size; PSNR by what was trained and how long."""
    smoke = lab.size.name == "smoke"
    sizes, (short, long) = SIZES[:1] if smoke else SIZES, SECONDS[lab.size.name]
    steps = [lab.cell(f"step-{batch}-{crop}", partial(_timed, lab, batch, crop), batch, crop) for batch, crop in sizes]
    alone = {size: partial(_own, lab, "fast", _sized(*size)) for size in sizes}
    fits: list[tuple[str, float, Any]] = [(_words(*size), short, fit) for size, fit in alone.items()]
    if not smoke:
        fits += [(_words(*sizes[-1]), long, alone[sizes[-1]]), ("three stages", long, partial(_own, lab, "gpu", {}))]
    fits += [("clean images", long, partial(_supervised, lab, _sized(*sizes[-1])))]
    minutes = []
    for name, seconds, fit in fits:
        cell = lab.cell(f"minute-{name}-{seconds:g}", partial(fit, seconds), name, seconds)
        minutes.append({"name": name, "seconds": seconds, **cell})
    return {"steps": steps, "minutes": minutes}


def _words(batch: int, crop: int) -> str:
    return f"{batch} crops of {crop}²"


def _sized(batch: int, crop: int) -> dict[str, int]:
    return {"batch": batch, "crop": crop}


def _timed(lab: Lab, batch: int, crop: int) -> dict[str, Any]:
    settings = PRESETS["fast"].student.model_copy(update={"neighbours": 0, **_sized(batch, crop)})
    noisy, level = lab.noisy(TASK), constant_level(TASK.sigma / 255)
    made = lambda kind: kind(settings, noisy, [level], 0)  # noqa: E731
    seconds = 0.1 if lab.size.name == "smoke" else 3.0
    steps = {kind.__name__: 1e3 * seconds_per_step(made(kind), lab.device, seconds) for kind in KINDS}
    count = 3 * 2 * multiplications(made(RecorruptedStage).network) * batch * crop**2
    return {"batch": batch, "crop": crop, "data": _data_milliseconds(made(RecorruptedStage)), "flop": count, **steps}


def _data_milliseconds(stage: RecorruptedStage, times: int = 20) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    for step in range(times):
        stage.made(step)
    torch.set_num_threads(threads)
    return 1e3 * (time.perf_counter() - start) / times


def _own(lab: Lab, preset: str, sizes: dict[str, int], seconds: float) -> dict[str, Any]:
    alone = {"neighbours": 0, **sizes} if preset == "fast" else {}
    torch.manual_seed(TASK.seed)
    start = time.perf_counter()
    denoiser = Denoiser.fit(
        TASK.noisy[0], preset=preset, budget=seconds, overrides={"student": alone}, device=lab.device, seed=TASK.seed
    )
    fitted = time.perf_counter()
    one = TASK.psnr(denoiser.denoise(TASK.noisy[1], sampler="student"))
    told = denoiser.denoise(TASK.noisy[1])
    steps = denoiser.model.config.student.steps
    return {"one": one, "auto": TASK.psnr(told), "took": fitted - start, "steps": steps}


def _supervised(lab: Lab, sizes: dict[str, int], seconds: float) -> dict[str, Any]:
    settings = PRESETS["fast"].student.model_copy(update={"neighbours": 0, **sizes})
    start = time.perf_counter()
    torch.manual_seed(TASK.seed)
    make = lambda steps: Supervised(settings.model_copy(update={"steps": steps}), lab.noisy(TASK), TASK)  # noqa: E731
    each = seconds_per_step(make(10), lab.device, min(4.0, seconds))
    stage = make(max(1, int((seconds - (time.perf_counter() - start)) / each)))
    load_start(stage.network, start_for([constant_level(TASK.sigma / 255)]))
    train(stage, "clean images", lab.folder / f"clean-{seconds:g}-{sizes['batch']}", lab.device, say)
    images = torch.from_numpy(TASK.noisy[1])[:, None].to(lab.device)
    network = stage.network.to(lab.device)
    took, steps = time.perf_counter() - start, stage.settings.steps
    return {"one": TASK.psnr(apply_student(network, images)), "took": took, "steps": steps}


def tables(result: dict[str, Any]) -> str:
    """Times, then PSNR."""
    times = ("data", *(kind.__name__ for kind in KINDS))
    steps = [
        [_words(row["batch"], row["crop"]), *(f"{row[name]:.1f}" for name in times), f"{_rate(row):.2g}"]
        for row in result["steps"]
    ]
    auto = lambda row: f"{row['auto']:.2f}" if "auto" in row else "–"  # noqa: E731
    minutes = [
        [row["name"], f"{row['seconds']:g}", f"{row['took']:.0f}", row["steps"], f"{row['one']:.2f}", auto(row)]
        for row in result["minutes"]
    ]
    of_step = ["step", "batch, ms", "in turn, ms", "made ahead, ms", "and replayed, ms", "TFLOP/s"]
    of_minute = ["trained", "seconds given", "taken", "steps of the student", "one pass", "as a user has it"]
    return "\n\n".join((markdown(of_step, steps), markdown(of_minute, minutes)))


def _rate(row: dict[str, Any]) -> float:
    return row["flop"] / row[RecorruptedStage.__name__] / 1e9


def plot(result: dict[str, Any], path: Path) -> None:
    """Bars of the times."""
    with panels(path, width=5.5) as axis:
        for number, (kind, label) in enumerate(zip(KINDS, ("in turn", "made ahead", "and replayed"), strict=True)):
            places = [place + 0.27 * number for place in range(len(result["steps"]))]
            axis.bar(places, [row[kind.__name__] for row in result["steps"]], 0.25, label=label)
        axis.set_xticks(
            [place + 0.27 for place in range(len(result["steps"]))],
            [_words(row["batch"], row["crop"]) for row in result["steps"]],
        )
        axis.set(ylabel="milliseconds a step")
        axis.legend(fontsize=8)
