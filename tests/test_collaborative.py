from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffdenoise.collaborative import SIZE, STRIDE, collaborative
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.recorruption import alive
from diffdenoise.noise.texture import WHITE, Texture, draw, smoothed
from diffdenoise.second_opinion import SecondOpinion, Shares

SIGMA, WHOLE = 0.2, Shares(1.0, 1.0)


def stripes(height: int = 48, width: int = 60) -> Tensor:
    """What repeats: (1, 1, height, width)."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.sin(0.9 * row + 0.6 * column) > 0.3).float()[None, None]


def noise(like: Tensor, texture: Texture = WHITE, seed: int = 0) -> Tensor:
    return SIGMA * draw(tuple(like.shape), texture, torch.Generator().manual_seed(seed))


def error(image: Tensor, clean: Tensor) -> float:
    return float((image - clean).square().mean())


def blurred(image: Tensor) -> Tensor:
    return avg_pool2d(image, 3, 1, 1, count_include_pad=False)


def test_what_repeats_is_seen_better_than_by_a_guide_that_lost_it() -> None:
    clean = stripes()
    x_noisy = clean + noise(clean)
    guide = blurred(x_noisy)
    result = collaborative(x_noisy, guide, torch.full_like(clean, SIGMA), WHITE)
    assert error(result, clean) < 0.5 * min(error(guide, clean), error(x_noisy, clean))


def test_without_noise_nothing_is_changed() -> None:
    image = torch.rand(1, 1, 33, 41)
    result = collaborative(image, torch.zeros_like(image), torch.zeros_like(image), WHITE)
    torch.testing.assert_close(result, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("unit", [2.0**-10, 8.0, 2.0**12])
def test_the_unit_does_not_matter(unit: float) -> None:
    clean = stripes(24, 28)
    x_noisy, deviation = clean + noise(clean), torch.full_like(clean, SIGMA)
    guide = blurred(x_noisy)
    scaled = collaborative(unit * x_noisy, unit * guide, unit * deviation, WHITE)
    torch.testing.assert_close(scaled / unit, collaborative(x_noisy, guide, deviation, WHITE), atol=1e-4, rtol=0)


@settings(max_examples=20)
@given(st.integers(1, 3 * SIZE), st.integers(1, 3 * SIZE))
def test_any_size_comes_back_as_it_was(height: int, width: int) -> None:
    image = torch.rand(2, 1, height, width)
    result = collaborative(image, image, torch.full_like(image, 0.1), WHITE)
    assert result.shape == image.shape
    assert result.isfinite().all()


@pytest.mark.parametrize("beyond", range(STRIDE))
def test_every_pixel_is_reached(beyond: int) -> None:
    """Also where patches do not end with the image: everywhere noise on an even ground grows less."""
    flat = torch.ones(1, 1, 40 + beyond, 40 + beyond)
    x_noisy = flat + noise(flat)
    result = collaborative(x_noisy, flat, torch.full_like(flat, SIGMA), WHITE)
    assert (result - flat).abs().max() < SIGMA


@pytest.mark.parametrize("beyond", [0, STRIDE - 1])
def test_at_its_edges_an_image_is_not_noisier(beyond: int) -> None:
    """Patches of mirrored or repeated pixels have the same noise twice."""
    flat = torch.ones(64, 1, 40 + beyond, 40 + beyond)
    off = (collaborative(flat + noise(flat), flat, torch.full_like(flat, SIGMA), WHITE) - 1).square()
    inner = slice(SIZE, -SIZE)
    edges = off[..., :4, inner], off[..., -4:, inner], off[..., inner, :4], off[..., inner, -4:]
    assert sum(edge.mean() for edge in edges) / 4 < 1.35 * off[..., inner, inner].mean()


@pytest.mark.parametrize(("texture", "most"), [(WHITE, 0.6), (smoothed(1.0), 1.2)])
def test_noise_left_in_the_guide_is_not_said_again(texture: Texture, most: float) -> None:
    """Stacks of the patches that are most alike in it would be of those whose noise is alike: 1.8 to 2 times."""
    flat = torch.ones(1, 1, 96, 96)
    x_noisy, deviation = flat + noise(flat, texture), torch.full_like(flat, SIGMA)
    guide = avg_pool2d(x_noisy, 11, 1, 5, count_include_pad=False)
    assert error(collaborative(x_noisy, guide, deviation, texture), flat) < most * error(guide, flat)


def test_images_of_a_batch_do_not_know_each_other() -> None:
    images = torch.rand(3, 1, 20, 20)
    told = images, images.flip(2), torch.full_like(images, 0.1)
    together = collaborative(*told, WHITE)
    for number in range(3):
        alone = collaborative(*(x[number : number + 1] for x in told), WHITE)
        torch.testing.assert_close(together[number : number + 1], alone, atol=1e-6, rtol=0)


def test_correlated_noise_is_taken_out_by_its_texture() -> None:
    clean, texture = stripes(80, 80), smoothed(1.0)
    x_noisy = clean + noise(clean, texture)
    known, taken_for_white = (
        collaborative(x_noisy, clean, torch.full_like(clean, SIGMA), one) for one in (texture, WHITE)
    )
    assert error(known, clean) < 0.8 * error(taken_for_white, clean)


def test_each_place_by_its_own_noise() -> None:
    """Rising with brightness, and with the place; nothing is taken from where nothing varies (a mask)."""
    first = torch.cat([torch.full((1, 1, 40, 40), 0.2), torch.full((1, 1, 40, 40), 0.8)], dim=3)
    x_noisy = first + noise(first)
    level = NoiseLevel((0.2, 0.8), (0.01 * SIGMA, SIGMA))
    dark, bright = (SecondOpinion(WHOLE, level).about(x_noisy, first) - x_noisy).abs().mean((0, 1, 2)).split(40)
    assert dark[:30].mean() < 0.1 * bright[10:].mean()
    x_noisy[..., :40] = 0.25
    masked = SecondOpinion(WHOLE, constant_level(SIGMA)).about(x_noisy, first)
    torch.testing.assert_close(masked[..., :30], x_noisy[..., :30], atol=1e-4, rtol=0)


def test_around_a_hole_of_one_value_noise_is_taken_away_as_elsewhere() -> None:
    """Too few patches fit into the hole to fill a stack: what is beside it comes in, and must not count as exact."""
    clean = torch.full((1, 1, 64, 64), 0.5)
    x_noisy = clean + noise(clean)
    for image in (clean, x_noisy):
        image[..., 28:37, 28:37] = 0
    guide = clean + 0.1 * noise(clean, seed=1) * alive(x_noisy)
    result = collaborative(x_noisy, guide, SIGMA * alive(x_noisy), WHITE)
    around = torch.zeros_like(clean, dtype=torch.bool)
    around[..., 24:41, 24:41] = True
    around &= alive(x_noisy).bool()
    assert error(result[around], clean[around]) < 0.05 * SIGMA**2
    torch.testing.assert_close(result[..., 29:36, 29:36], clean[..., 29:36, 29:36], atol=1e-5, rtol=0)


def test_where_a_guide_says_that_there_are_no_counts_their_noise_is_not_taken_for_signal() -> None:
    counting = NoiseLevel((0.0, 16.0), (0.0, 4.0), 0)
    clean = torch.full((1, 1, 48, 48), 0.3)
    clean[..., 24:] = 16
    x_noisy = torch.poisson(clean, generator=torch.Generator().manual_seed(0))
    guide = torch.where(clean < 1, torch.full_like(clean, -0.2), clean)
    result = SecondOpinion(WHOLE, counting).about(x_noisy, guide)
    dark = (..., slice(0, 16))
    assert error(result[dark], clean[dark]) < 0.5 * error(x_noisy[dark], clean[dark])
