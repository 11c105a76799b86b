from pathlib import Path

import pytest
import torch
from torch import nn

from diffdenoise.diffusion.target import ChainTarget
from diffdenoise.presets import PRESETS
from diffdenoise.training.diffusion import DiffusionStage
from diffdenoise.training.slices import SliceStore, write_scan_slices
from diffdenoise.training.stage import generator_of
from tests.conftest import noisy_disks

FAR = 1000.0


class FarOff(nn.Module):
    """Predicts zero, and at some pixels what is far from any target."""

    def __init__(self, where: torch.Tensor) -> None:
        super().__init__()
        self.where = where

    def forward(self, x_t: torch.Tensor, condition: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return FAR * self.where


def stage(noisy: SliceStore, leak: str) -> DiffusionStage:
    settings = PRESETS["smoke"].diffusion.model_copy(update={"leak": leak})
    return DiffusionStage(settings, lambda x: x, 3, ChainTarget("residual", 0.1), noisy, noisy, noisy, 0)


@pytest.mark.parametrize(("leak", "closed"), [("masked", True), ("redrawn", True), ("open", False), ("damped", False)])
def test_with_the_leak_closed_only_pixels_hidden_from_the_condition_are_learned_from(
    tmp_path: Path, leak: str, closed: bool
) -> None:
    write_scan_slices(tmp_path, 0, noisy_disks()[:, None])
    made = stage(SliceStore(tmp_path), leak)
    x_noisy = torch.from_numpy(noisy_disks())[:, None]
    x_c = torch.full_like(x_noisy, 0.4)
    batch = x_noisy, torch.cat([x_c, torch.full_like(x_c, 0.01)], dim=1), x_c
    scored = stage(made.noisy, "masked").cured(*batch, generator_of(0, 0))[1]
    assert 0 < scored.mean() < 0.1

    def loss(where: torch.Tensor) -> float:
        made.network = FarOff(where)
        return float(made.loss_of(batch, generator_of(0, 0)))

    nowhere, at_scored, elsewhere = (loss(where) for where in (0 * scored, scored, 1 - scored))
    assert (elsewhere == nowhere) == closed
    # The mean over the pixels that count, so that a step is as large however few are hidden.
    assert at_scored / FAR**2 == pytest.approx(1 if closed else float(scored.mean()), rel=0.02)
