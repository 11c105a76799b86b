"""How long a training step and a teacher image take on this machine, measured with untrained networks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffdenoise.config import Config, StageSettings
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.rounds import Images, predict_blind, sample
from diffdenoise.training.blind_spot import BlindSpotStage, make_blind_spot, mean_and_variance
from diffdenoise.training.diffusion import DiffusionStage
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import Box, SliceStore
from diffdenoise.training.stage import Stage, autocast, step_generator, train
from diffdenoise.training.student import StudentStage

LOOPS = 60  # steps of nothing


class _PretendedCondition(SliceStore):
    """Stands in for the blind-spot network's predictions, which do not exist before it is trained."""

    def crops(self, boxes: list[Box]) -> Tensor:
        image = super().crops(boxes)
        return torch.cat([image, torch.full_like(image, 0.01)], dim=1)


def probes(config: Config, noisy: SliceStore, levels: list[NoiseLevel], device: str) -> dict[str, Callable[[], float]]:
    """Measurements in seconds: a step of "blind_spot", "diffusion" and "student", a slice of the "teacher".

    levels: the noise of each scan.
    """
    chosen = [list(range(shape[0])) for shape in noisy.shapes]
    chain = ChainTarget(config.diffusion.target)
    patch = config.blind_spot.patch or 1

    def diffusion() -> DiffusionStage:
        pretended = _PretendedCondition(noisy.folder)
        frozen = make_blind_spot(config.blind_spot).to(device)
        conditioner = lambda x: mean_and_variance(frozen(x))[0]  # noqa: E731
        return DiffusionStage(config.diffusion, conditioner, patch, chain, noisy, pretended, pretended, 0)

    def per_slice() -> float:
        """Predicting the condition once, and sampling in each round."""
        stage, blind_spot = diffusion(), make_blind_spot(config.blind_spot).to(device)
        once = lambda: _seconds_per_slice(stage, blind_spot, config, chain, noisy, device)  # noqa: E731
        return min(once() for _ in range(2))

    def student() -> Stage:
        if config.has_teacher:
            return StudentStage(config.student, noisy, noisy, chosen, 0)
        return RecorruptedStage(config.student, noisy, levels, 0)

    return {
        "blind_spot": lambda: seconds_per_step(BlindSpotStage(config.blind_spot, noisy, 0, 1.0), device),
        "diffusion": lambda: seconds_per_step(diffusion(), device),
        "teacher": per_slice,
        "student": lambda: seconds_per_step(student(), device),
    }


class _Nothing(Stage):
    """A stage that has nothing to compute."""

    def __init__(self) -> None:
        settings = StageSettings(steps=LOOPS, batch=1, crop=16, learning_rate=1e-3)
        super().__init__(nn.Conv2d(1, 1, 1), settings, 0)

    def loss_at(self, step: int, generator: torch.Generator) -> Tensor:
        """Next to nothing."""
        return self.network(torch.zeros(1, 1, 1, 1, device=self.device)).mean()


@cache
def loop_seconds(device: str) -> float:
    """What the training loop itself takes for a step: logging, callbacks, the learning rate."""
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="diffdenoise-") as folder:
        train(_Nothing(), "", Path(folder), device, lambda *_: times.append(time.perf_counter()))
    return float(np.median(np.diff(times[LOOPS // 4 :])))


def seconds_per_step(stage: Stage, device: str, seconds: float = 4.0) -> float:
    """Time of a training step on real crops, measured for about so many seconds, and that of the loop around it.

    The median: other work on the machine makes some steps many times slower, and a few such steps must not shrink
    the whole training.
    """
    stage = stage.to(device)
    optimizer = torch.optim.AdamW(stage.network.parameters())
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 8 or (time.perf_counter() - start < seconds and len(times) < 50):
        begin = time.perf_counter()
        with autocast(device):
            loss = stage.loss_at(len(times), step_generator(stage.seed, len(times)))
        loss.backward()
        nn.utils.clip_grad_norm_(stage.network.parameters(), 1.0)  # as the loop does
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return float(np.median(times[2:])) + loop_seconds(device)


def _seconds_per_slice(
    stage: DiffusionStage, blind_spot: nn.Module, config: Config, chain: ChainTarget, noisy: SliceStore, device: str
) -> float:
    largest = max(range(len(noisy.shapes)), key=lambda i: noisy.shapes[i][-1] * noisy.shapes[i][-2])
    x = noisy.slice(largest, 0)[None].to(device)
    network = stage.network.to(device)
    start = time.perf_counter()
    predict_blind(blind_spot, x)
    predicted = time.perf_counter()
    with autocast(device):
        images = Images(x, x, torch.ones_like(x), x)
        sample(network, config.diffusion, config.teacher, chain, images, torch.ones_like(x), [0])
    return predicted - start + config.rounds * (time.perf_counter() - predicted)
