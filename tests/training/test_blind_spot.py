import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffdenoise.presets import PRESETS
from diffdenoise.training.blind_spot import BlindSpotStage
from diffdenoise.training.slices import SliceStore, write_scan_slices

NOISE = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))


class Constant(nn.Module):
    """Predicts the same mean and log variance everywhere."""

    def __init__(self, mean: float, variance: float) -> None:
        super().__init__()
        self.output = nn.Parameter(torch.tensor([mean, math.log(variance)])[None, :, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output.expand(len(x), 2, *x.shape[2:])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> BlindSpotStage:
    folder = tmp_path_factory.mktemp("noisy")
    write_scan_slices(folder, 0, NOISE.numpy())
    return BlindSpotStage(PRESETS["smoke"].blind_spot, SliceStore(folder), 0, 1.0)


def loss(stage: BlindSpotStage, x: torch.Tensor, mean: float, variance: float) -> torch.Tensor:
    stage.network = Constant(mean, variance)
    return stage.loss_of((x,), torch.Generator())


@settings(max_examples=25)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.003, 3))
def test_the_variance_that_is_learned_is_the_mean_square_error(
    stage: BlindSpotStage, signal: float, mean: float, sigma: float
) -> None:
    """Of whatever mean is predicted."""
    x = signal + sigma * NOISE
    truth, shares = float(((x - mean) ** 2).mean()), (0.5, 0.8, 1.0, 1.25, 2.0)
    losses = [float(loss(stage, x, mean, share * truth).detach()) for share in shares]
    assert shares[np.argmin(losses)] == 1


def test_the_mean_is_not_moved_to_suit_the_variance(stage: BlindSpotStage) -> None:
    pulls = []
    for variance in (0.01, 1.0, 10.0):
        loss(stage, 0.5 + NOISE, 0.2, variance).backward()
        pulls.append(float(stage.network.output.grad[0, 0, 0, 0]))
    assert pulls == pytest.approx(3 * [pulls[0]])
    assert pulls[0] < 0  # a step against it moves the mean up
