from pathlib import Path

import numpy as np
import pytest
import torch

from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.presets import make_config
from diffdenoise.training.recorrupted import RecorruptedStage
from diffdenoise.training.slices import SliceStore, write_scan_slices
from diffdenoise.training.stage import step_generator


def stage(folder: Path, levels: list[NoiseLevel]) -> RecorruptedStage:
    draw = np.random.default_rng(0)
    for number in range(len(levels)):
        write_scan_slices(folder, number, draw.standard_normal((2, 1, 48, 48)).astype(np.float32))
    return RecorruptedStage(make_config("smoke").student, SliceStore(folder), levels, seed=0)


def test_a_step_is_a_function_of_its_number(tmp_path: Path) -> None:
    made = stage(tmp_path, [constant_level(0.1)])
    losses = [float(made.loss_at(step, step_generator(0, step)).detach()) for step in (3, 3, 4)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_is_in_units_of_the_noise_that_is_drawn(tmp_path: Path) -> None:
    made = stage(tmp_path, [constant_level(1.0)])
    made.network = torch.nn.Identity()
    made.network.forward = torch.zeros_like  # type: ignore[method-assign]
    losses = [float(made.loss_at(step, step_generator(0, step))) for step in range(20)]
    alpha2 = made.settings.recorruption**-2
    assert np.mean(losses) == pytest.approx((1 + alpha2) / alpha2, rel=0.05)


def test_each_scan_is_recorrupted_by_its_own_noise(tmp_path: Path) -> None:
    weak = NoiseLevel((0.0,), (0.0,))
    made = stage(tmp_path, [weak, NoiseLevel((0.0,), (2.0,), 2, 1.0)])
    x = torch.zeros(1, 1, 64, 64)
    given, wanted = made._recorrupted(x, 0, torch.Generator())
    assert torch.equal(given, x)
    assert torch.equal(wanted, x)
    given, wanted = made._recorrupted(x, 1, torch.Generator())
    alpha = made.settings.recorruption
    assert given.std() == pytest.approx(2 * alpha, rel=0.2)
    assert torch.allclose(given, -(alpha**2) * wanted)
    assert (given[..., 1:] * given[..., :-1]).mean() > 0.5 * given.var()
