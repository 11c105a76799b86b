"""Study d: what the network predicts; clipping and spacing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ablations.lab import Lab, Sampler, Task, as_array
from benchmarks.writing import markdown, panels
from diffdenoise.diffusion.sampling import ddim_step, image_noise, srds
from diffdenoise.diffusion.schedule import Prediction, make_schedule, split
from diffdenoise.rounds import bind_condition
from diffdenoise.training.stage import autocast

TITLE = "eps, v or x_0; clipping and spacing"
QUESTION = """The chain of the noisy image, leak open, as published; the network predicts eps, v or x_0. *Brightness*
is the mean error inside the brain in units of 1/255, *background* that of the empty ground outside. Below: the same
v-network sampled with x_0 clipped to the range of clean images at every step (the default of MONAI's and diffusers'
DDIM), and with "leading" steps, which begin below T - 1."""
FINDING = """With the cosine schedule an eps-prediction trained for minutes is worthless, with L1 as with L2: abar at
T - 1 is about 1e-9, and the first step divides its error by the square root of that. The linear schedule ends at
4e-5: with it eps is of no use at 1 or 2 steps and within 1 dB of v from 10 on. So the `paper` preset, which must
predict eps, takes it. v and x_0 start well with either schedule. Clipping brightens the empty ground by 8/255 at 10
steps, for half of its noise lies below 0; leading times brighten it by 4/255 at 10 steps and spoil everything at 2.
The sampler here does neither."""
STEPS = (1, 2, 10, 50)
SETTINGS: dict[str, dict[str, Any]] = {
    "eps, L1 (published)": {"prediction": "eps", "loss": "l1"},
    "eps": {"prediction": "eps"},
    "eps, linear schedule": {"prediction": "eps", "schedule": "linear"},
    "v": {"prediction": "v"},
    "x_0": {"prediction": "x0"},
    "v, linear schedule": {"prediction": "v", "schedule": "linear"},
}


def run(lab: Lab) -> dict[str, Any]:
    """x_hat of all test slices for each prediction, and for the two traps."""
    blind = lab.blind(Task())
    rows = []
    for name, changes in SETTINGS.items():
        sampler = lab.diffusion(blind, leak="open", target="image", **changes)
        make = lambda s=sampler: {"rows": [figures(s, s.test(steps).x_hat) | {"steps": steps} for steps in STEPS]}  # noqa: E731
        rows += [{"setting": name} | row for row in lab.cell("prediction", make, sampler.key)["rows"]]
    sampler = lab.diffusion(blind, leak="open", target="image", prediction="v")
    traps = lab.cell("traps", lambda: {"rows": [row for way in WAYS for row in trap(sampler, way)]}, sampler.key)
    return {"rows": rows, "traps": traps["rows"], "x_c": blind.task.psnr(blind.x_c)}


def figures(sampler: Sampler, image: Tensor) -> dict[str, float]:
    """PSNR, brightness and background."""
    task = sampler.blind.task
    error = as_array(image) - task.clean
    ground = task.clean == 0
    return {"psnr": task.psnr(image), "brightness": shift(error, task.mask), "background": shift(error, ground)}


def shift(error: np.ndarray, where: np.ndarray) -> float:
    """Mean error in units of 1/255."""
    return 255 * float(error[where].mean())


def leading(timesteps: int, steps: int) -> list[int]:
    """Times from the multiples of T / steps: the first one lies below T - 1."""
    return [number * (timesteps // steps) for number in reversed(range(steps))]


def trap(sampler: Sampler, way: str) -> list[dict[str, Any]]:
    """A row for each number of steps."""
    return [figures(sampler, WAYS[way](sampler, steps)) | {"way": way, "steps": steps} for steps in (2, 10)]


@torch.no_grad()
def pair(sampler: Sampler, chain: Callable[[Any, Tensor], Tensor]) -> Tensor:
    """The mean image of a chain from +eps and from -eps."""
    x_c = sampler.blind.x_c
    network, eps = bind_condition(sampler.network, x_c), image_noise(range(len(x_c)), x_c.shape[1:]).to(x_c)
    with autocast(x_c.device.type):
        return sampler.chain.decode((chain(network, eps) + chain(network, -eps)) / 2, x_c)


def trailing_pair(sampler: Sampler, steps: int) -> Tensor:
    """As it should be."""
    return pair(sampler, lambda network, eps: srds(network, eps, abar_of(sampler), steps)[0])


def clipped_pair(sampler: Sampler, steps: int) -> Tensor:
    """x_0 clipped at every step to [-1, 1], which stands for images in [0, 1]."""
    abar = abar_of(sampler)

    def chain(network: Any, eps: Tensor) -> Tensor:
        clipped = lambda x_t, t: split("v", network(x_t, t), x_t, abar.to(x_t)[t][:, None, None, None])[0].clamp(-1, 1)  # noqa: E731
        return srds(clipped, eps, abar, steps, "x0")[0]

    return pair(sampler, chain)


def leading_pair(sampler: Sampler, steps: int) -> Tensor:
    """From pure noise, but beginning at T - T / steps."""
    abar = torch.cat([abar_of(sampler), torch.ones(1)])
    prediction: Prediction = "v"

    def chain(network: Any, eps: Tensor) -> Tensor:
        times, x_t = leading(len(abar) - 1, steps), eps
        for t, t_next in zip(times, [*times[1:], -1], strict=True):
            output = network(x_t, torch.full((len(x_t),), t, device=x_t.device))
            x_t = ddim_step(x_t, output, abar[t].to(x_t), abar[t_next].to(x_t), prediction)
        return x_t

    return pair(sampler, chain)


def abar_of(sampler: Sampler) -> Tensor:
    """The sampler's schedule."""
    return make_schedule(sampler.settings.schedule, sampler.settings.timesteps).float()


WAYS = {"trailing, not clipped": trailing_pair, "clipped": clipped_pair, "leading": leading_pair}


def tables(result: dict[str, Any]) -> str:
    """The predictions, then the traps."""
    head = ["steps", "PSNR, dB", "brightness", "background"]
    line = lambda row: [row["steps"], f"{row['psnr']:.2f}", f"{row['brightness']:+.1f}", f"{row['background']:+.1f}"]  # noqa: E731
    first = markdown(["prediction", *head], [[row["setting"], *line(row)] for row in result["rows"]])
    second = markdown(["sampling", *head], [[row["way"], *line(row)] for row in result["traps"]])
    return f"{first}\n\nx_c alone: {result['x_c']:.2f} dB.\n\n{second}"


def plot(result: dict[str, Any], path: Path) -> None:
    """PSNR and brightness over steps."""
    with panels(path, 2) as axes:
        for name in SETTINGS:
            rows = [row for row in result["rows"] if row["setting"] == name]
            for axis, key in zip(axes, ("psnr", "brightness"), strict=True):
                axis.plot([row["steps"] for row in rows], [row[key] for row in rows], "o-", label=name)
        axes[0].axhline(result["x_c"], color="0.5", linestyle=":", label="x_c")
        axes[0].set(xscale="log", xlabel="DDIM steps", ylabel="PSNR of x_hat, dB")
        axes[1].set(xscale="log", xlabel="DDIM steps", ylabel="brightness error, /255", yscale="symlog")
        axes[0].legend(fontsize=7)
