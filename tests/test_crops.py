from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from diffdenoise.crops import ALPHA, CROPS, SIDE, middle_of, spread_over, try_on
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.spatial import Variation
from diffdenoise.noise.texture import Texture

SIGMA = 0.15


def test_of_a_neighbour_that_is_there_nothing_is_drawn_anew() -> None:
    seen = torch.rand(1, 3, 200, 120)
    crop = middle_of(seen, [True, False, True], constant_level(SIGMA), 0)
    assert crop.seen.shape == (1, 3, SIDE, 120)
    assert torch.equal(crop.seen, seen[:, :, 20 : 20 + SIDE])
    assert crop.z.std() == pytest.approx(SIGMA, rel=0.05)
    shown = []

    def student(x: Tensor) -> Tensor:
        shown.append(x)
        return x[:, :1]

    tried = try_on(student, crop, "cpu")
    assert torch.equal(tried.given, torch.cat(shown)[:, :1])
    assert torch.equal(tried.said, tried.given)
    for x, sign in zip(shown, (1, -1), strict=True):
        torch.testing.assert_close(x[:, :1], crop.seen[:, :1] + sign * ALPHA * crop.z)
        assert torch.equal(x[:, 1], crop.seen[:, 1])
        assert torch.equal(x[:, 2], x[:, 0])


def test_the_noise_drawn_is_as_strong_as_the_place_and_the_brightness_say() -> None:
    level = NoiseLevel((0.1, 0.5), (0.08, 0.1), variation=Variation(((0.0, 0.1), (0.2, 0.0)), 0.8, 1.25))
    x_noisy = torch.cat([torch.full((1, 1, 200, 100), 0.1), torch.full((1, 1, 200, 100), 0.5)], dim=3)
    x_noisy += 1e-3 * torch.randn(x_noisy.shape, generator=torch.Generator().manual_seed(0))
    crop = middle_of(x_noisy, [True], level, 0)
    over = level.over(x_noisy.shape)
    assert isinstance(over, np.ndarray)
    assert np.array_equal(crop.over, over[..., 20:-20, 20:-20])
    standard = crop.z.numpy() / crop.over
    assert standard[..., :70].std() == pytest.approx(0.08, rel=0.05)
    assert standard[..., 90:].std() == pytest.approx(0.1, rel=0.05)


def test_along_the_rim_of_a_disc_the_noise_drawn_by_rays_is_stronger_than_across_it() -> None:
    row, column = np.ogrid[:128, :128]
    disc = (np.hypot(row - 63.5, column - 63.5) < 60) + 0.01 * np.random.default_rng(0).standard_normal((128, 128))
    seen = torch.from_numpy(disc.astype(np.float32))[None, None]
    level = replace(constant_level(SIGMA), texture=Texture(radial=(0.4, 2.0, 0.0)), reach=1, rays=0.02)
    drawn = [middle_of(seen, [True], level, seed).z[0, 0].numpy() for seed in range(16)]
    assert np.std(drawn) == pytest.approx(SIGMA, rel=0.1)
    for rim, along_rows in ((np.s_[48:80, 92:124], False), (np.s_[4:36, 48:80], True)):  # on the right, at the top
        power = np.mean([np.abs(np.fft.fft2(z[rim])) ** 2 for z in drawn], axis=0)
        down, across = power[4:12, :3].mean(), power[:3, 4:12].mean()
        assert (across / down if along_rows else down / across) > 1.5


@pytest.mark.parametrize("count", [1, 5, CROPS, CROPS + 1, 200])
def test_the_slices_it_is_tried_on_are_spread_over_all(count: int) -> None:
    numbers = spread_over(count)
    assert len(numbers) == len(set(numbers)) == min(count, CROPS)
    assert numbers[0] == 0
    assert numbers[-1] == count - 1
