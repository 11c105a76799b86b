"""Losses on the same network, the student of this project, with the same crops, optimiser and time: only the loss and
what it is given differ. Those that self-supervision brought forth come from deepinv (Tachella et al. 2025), but for
Noise2Self, which is written here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods import Denoise, Given
from benchmarks.methods.levels import estimated
from diffdenoise.config import StudentSettings
from diffdenoise.device import precision
from diffdenoise.noise.trend import Trend, classify_noise
from diffdenoise.presets import make_config
from diffdenoise.symmetry import over_symmetries, turns_that_take_little
from diffdenoise.tiling import tiled
from diffdenoise.training.slices import Box, cut, draw_boxes
from diffdenoise.training.start import load_start, start_for
from diffdenoise.training.student import make_student

GRID = 4  # pixels; of Noise2Self's masks, as in its authors' code
LONG = 10  # budgets; the converged supervised training
FROM_RANDOM = 2e-3  # learning rate of the preset's network from random weights; the preset itself starts better

Batch = tuple[Tensor, Tensor]  # noisy crops and, for the supervised bound, clean ones (else the noisy ones again)
Loss = Callable[[nn.Module, Batch, int], Tensor]


class Restorer(nn.Module):
    """The network as deepinv's losses call it: model(y, physics); whole images in tiles once it is trained."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor, physics: Any = None, **_: Any) -> Tensor:
        """(N, 1, H, W) to the same."""
        return self.network(y) if self.training else tiled(self.network, y)


def supervised(given: Given) -> Denoise:
    """The bound: L1 against clean images of other patients."""
    return train(given, _l1)


def supervised_long(given: Given) -> Denoise:
    """The bound from our start once more, after ten budgets, by L2."""
    return supervised_by_l2(replace(given, seconds=LONG * given.seconds))


def supervised_started(given: Given) -> Denoise:
    """The bound from the weights that this project's default starts from, at its learning rate."""
    return train(given, _l1, started=True)


def supervised_by_l2(given: Given) -> Denoise:
    """The same by L2, which is what PSNR measures, and the default learns by."""
    return train(given, _l2, started=True)


def _l1(model: nn.Module, batch: Batch, _: int) -> Tensor:
    return (model(batch[0]).float() - batch[1]).abs().mean()


def _l2(model: nn.Module, batch: Batch, _: int) -> Tensor:
    return (model(batch[0]).float() - batch[1]).square().mean()


def neighbor2neighbor(given: Given) -> Denoise:
    """Huang et al. 2021: one subsampled image predicts its neighbour; regularisation weight 2."""
    from deepinv.loss import Neighbor2Neighbor

    loss = Neighbor2Neighbor()
    return train(given, lambda model, batch, _: loss(y=batch[0], physics=None, model=model).mean())


def r2r(given: Given) -> Denoise:
    """Recorrupted to recorrupted (Pang et al. 2021; GR2R, Monroy et al. 2025) with the estimated noise."""
    from deepinv.loss import R2RLoss

    loss = R2RLoss(noise_model=_noise_model(_trend(given)))

    def step(model: nn.Module, batch: Batch, _: int) -> Tensor:
        x_net = model(batch[0], None, update_parameters=True).float()
        return loss(x_net=x_net, y=batch[0], physics=_identity(), model=model).mean()

    return train(given, step, adapt=loss.adapt_model)


def sure(given: Given) -> Denoise:
    """Stein's unbiased risk (Metzler et al. 2018), Gaussian or Poisson as the estimate says. In fp32."""
    from deepinv.loss import SureGaussianLoss, SurePoissonLoss

    trend = _trend(given)
    return _sure(given, SurePoissonLoss(1 / trend.lam) if trend.kind == "poisson" else SureGaussianLoss(trend.sigma))


def unsure(given: Given) -> Denoise:
    """UNSURE (Tachella et al. 2024): SURE that learns the level, too; it starts at deepinv's 0.05. In fp32."""
    from deepinv.loss import SureGaussianLoss

    return _sure(given, SureGaussianLoss(0.05, unsure=True))


def noise2self(given: Given) -> Denoise:
    """Batson & Royer 2019: pixels of a grid are replaced by their neighbours' mean, and predicted. Written here.

    The result takes each pixel from the pass in which it was hidden, as in their code for J-invariant inference.
    """

    def step(model: nn.Module, batch: Batch, number: int) -> Tensor:
        hidden, mask = _hide(batch[0], number % GRID**2)
        return (((model(hidden).float() - batch[0]) * mask) ** 2).sum() / mask.sum()

    return train(given, step, adapt=_JInvariant)


class _JInvariant(nn.Module):
    """In training the network itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor, physics: Any = None) -> Tensor:
        if self.training:
            return self.model(y)
        parts = [(self.model(hidden), mask) for hidden, mask in (_hide(y, number) for number in range(GRID**2))]
        return torch.stack([image * mask for image, mask in parts]).sum(0)


def _hide(y: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """(y with the pixels of one of GRID^2 grids replaced by the mean around them, where they are)."""
    near = torch.tensor([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]], device=y.device)[None, None] / 6
    mask = torch.zeros_like(y)
    mask[..., number % GRID :: GRID, number // GRID :: GRID] = 1
    mean = nn.functional.conv2d(nn.functional.pad(y, (1, 1, 1, 1), "reflect"), near)
    return mask * mean + (1 - mask) * y, mask


def train(
    given: Given,
    loss: Loss,
    adapt: Callable[[nn.Module], nn.Module] = lambda model: model,
    exact: bool = False,
    started: bool = False,
) -> Denoise:
    """Train for the time given, the learning rate falling to zero along a cosine of the time spent.

    The result is the mean over eight turns of a slice where this project's default would take it.

    exact: in fp32; else in bf16 where the device has it, as this project trains. started: from the weights that ship
    with this project.
    """
    settings = settings_for(given.device)
    peak = settings.learning_rate if started else FROM_RANDOM
    torch.manual_seed(given.seed)
    network = make_student(settings)
    if started:
        load_start(network, start_for(estimated(given.train)))
    network = network.to(given.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = adapt(Restorer(network)).train()
    optimizer = torch.optim.AdamW(network.parameters(), peak, betas=(0.9, 0.99))
    low = precision(given.device) == "bf16-mixed" and not exact
    shapes = [(len(scan), 1, *scan.shape[1:]) for scan in given.train]
    start, number, spent = time.perf_counter(), 0, 0.0
    while spent < 1:
        optimizer.param_groups[0]["lr"] = peak * 0.5 * (1 + math.cos(math.pi * spent))
        boxes = draw_boxes(shapes, given.seed, number, settings.batch, settings.crop)
        batch = tuple(_crops(scans, boxes, given.device) for scans in (given.train, given.clean or given.train))
        with torch.autocast(given.device, torch.bfloat16, enabled=low):
            value = loss(model, batch, number)  # type: ignore[arg-type]
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        number, spent = number + 1, (time.perf_counter() - start) / given.seconds
    model.eval()
    once: Callable[[Tensor], Tensor] = lambda x: model(x, None)  # noqa: E731
    pixels, trained = sum(scan.size for scan in given.train), number * settings.batch * settings.crop**2
    turns = turns_that_take_little(pixels, trained) if settings.turns is None else settings.turns  # as our default
    apply = partial(over_symmetries, once, turns=turns)
    return lambda scans: [_apply(apply, scan, given.device) for scan in scans]


def settings_for(device: str) -> StudentSettings:
    """Of the network and its crops: those of this project's default on the device."""
    return make_config("fast", device=device).student


def _apply(apply: Callable[[Tensor], Tensor], scan: np.ndarray, device: str) -> np.ndarray:
    with torch.no_grad():
        images = torch.from_numpy(scan)[:, None].to(device)
        return np.stack([apply(image[None])[0, 0].float().cpu().numpy() for image in images])


def _sure(given: Given, loss: Any) -> Denoise:
    def step(model: nn.Module, batch: Batch, _: int) -> Tensor:
        return loss(y=batch[0], x_net=model(batch[0]), physics=_identity(), model=model).mean()

    return train(given, step, exact=True)  # a divergence by finite differences drowns in bf16's rounding


def _crops(scans: list[np.ndarray], boxes: list[Box], device: str) -> Tensor:
    crops = np.stack([cut(scans[box.scan][box.slice][None], box) for box in boxes])
    return torch.from_numpy(crops).to(device).contiguous(memory_format=torch.channels_last)


def _trend(given: Given) -> Trend:
    """Kind and level of the noise, estimated from the largest of the noisy scans."""
    largest = max(range(len(given.train)), key=lambda number: given.train[number].size)
    near = given.train[max(0, largest - 1) : largest + 2]  # its neighbours may repeat it
    scan, level = given.train[largest], estimated(near)[min(largest, 1)]
    trend = classify_noise(scan, level)
    return trend if trend.kind == "poisson" and trend.lam > 0 else replace(trend, sigma=level.typical)


def _noise_model(trend: Trend) -> Any:
    from deepinv.physics import GammaNoise, GaussianNoise, PoissonNoise

    if trend.kind == "gamma":
        return GammaNoise(trend.looks)
    return PoissonNoise(gain=1 / trend.lam) if trend.kind == "poisson" else GaussianNoise(sigma=trend.sigma)


def _identity() -> Any:
    from deepinv.physics import Denoising

    return Denoising()
