"""How long a training step and a teacher image take on this machine, measured with untrained networks."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffdenoise.config import Config
from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.rounds import Images, predict_blind, sample
from diffdenoise.training.blind_spot import BlindSpotStage, make_blind_spot, mean_and_variance
from diffdenoise.training.diffusion import DiffusionStage
from diffdenoise.training.pace import Pace
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import Box, SliceStore
from diffdenoise.training.stage import Stage, autocast, train
from diffdenoise.training.student import StudentStage

FEWEST, MOST = 4, 50  # times that are taken
SETTLED = 2  # of them at the start take longer
LONG = 4.0  # seconds; what takes longer is not timed once more, for its beginning does not count
AT_ONCE = 4  # steps on a GPU


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
        return quickest(once)

    def student() -> Stage:
        if config.has_teacher:
            return StudentStage(config.student, noisy, levels, noisy, chosen, 0)
        return RecorruptedStage(config.student, noisy, levels, 0)

    return {
        "blind_spot": lambda: seconds_per_step(BlindSpotStage(config.blind_spot, noisy, 0, 1.0), device),
        "diffusion": lambda: seconds_per_step(diffusion(), device),
        "teacher": per_slice,
        "student": lambda: seconds_per_step(student(), device),
    }


def quickest(once: Callable[[], float]) -> float:
    """The shorter of two times in seconds, for the first may hold a beginning; of a long one the first alone."""
    first = once()
    return first if first > LONG else min(first, once())


def seconds_per_step(stage: Stage, device: str, seconds: float = 4.0) -> float:
    """Time of a training step, in the training loop itself, measured for about so many seconds.

    The median: other work on the machine makes some steps many times slower, and a few such steps must not shrink
    the whole training. On a GPU, which is behind with its work until it is waited for, of AT_ONCE steps at a time.
    """
    started, times, at_once = time.perf_counter(), [time.perf_counter()], AT_ONCE if device == "cuda" else 1

    def timed(done: int, pace: Pace) -> Pace:
        if done % at_once == 0:
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())
        enough = len(times) > FEWEST and times[-1] - started > seconds
        return pace.ending_at(done, done) if enough and done < pace.steps else pace  # at the next one

    stage.pace = Pace.even(MOST * at_once)
    with tempfile.TemporaryDirectory(prefix="diffdenoise-") as folder:
        train(stage, "Measuring a step", Path(folder), device, lambda *_: None, pacer=timed)
    return float(np.median(np.diff(times)[SETTLED:])) / at_once


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
