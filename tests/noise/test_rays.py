import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.noise.rays import (
    DIRECTIONS,
    MOST,
    amplitudes,
    amplitudes_over,
    draw_along,
    paths,
    rays_of,
    step_of,
    within,
)
from diffdenoise.noise.texture import WHITE, Texture, draw

CT = Texture(radial=(0.38, 2.0, 0.03))
DOWN = DIRECTIONS // 2  # the direction along the columns


def disc(side: int = 256, radius: float = 110, columns: int | None = None) -> np.ndarray:
    row, column = np.ogrid[:side, : columns or side]
    middle = (side - 1) / 2, ((columns or side) - 1) / 2
    return (np.hypot(row - middle[0], column - middle[1]) < radius).astype(np.float32)


def noisy(k: float, seed: int, sigma: float = 0.05, image: np.ndarray | None = None) -> np.ndarray:
    clean = disc() if image is None else image
    return clean + sigma * draw_along(amplitudes_over(clean, k), CT, torch.Generator().manual_seed(seed)).numpy()


@pytest.mark.parametrize("columns", [256, 320])
def test_paths_through_a_disc_are_its_chords(columns: int) -> None:
    image = disc(columns=columns)
    found, step = paths(image), step_of(image.shape)
    at = lambda row, column: found[:, row // step, column // step]  # noqa: E731
    np.testing.assert_allclose(at(128, columns // 2), 220, rtol=0.03)
    rim = at(128, columns // 2 + 80)  # a place on the right: along the row the rays run down, a short chord
    assert rim[0] == pytest.approx(2 * (110**2 - 80**2) ** 0.5, rel=0.05)
    assert rim[DOWN] == pytest.approx(220, rel=0.05)
    np.testing.assert_allclose(at(48, columns // 2)[[DOWN, 0]], rim[[0, DOWN]], rtol=0.08)
    diagonal = at(128 + 56, columns // 2 + 56)  # to the lower right, as directions turn
    assert diagonal.argmin() == DIRECTIONS // 4


@given(scale=st.floats(0.01, 1000), offset=st.floats(-2000, 2000), k=st.floats(0.001, 0.015))
@settings(max_examples=20, deadline=None)
def test_units_do_not_matter(scale: float, offset: float, k: float) -> None:
    image = disc(64, 25).astype(float)
    np.testing.assert_allclose(amplitudes(scale * image + offset, k), amplitudes(image, k), atol=2e-3)


@pytest.mark.parametrize("padding", [-3.0, -1.0, 0.0])
def test_what_a_scanner_pads_with_is_no_air(padding: float) -> None:
    image = noisy(0.0, 0)
    outside = disc(radius=125) == 0
    padded = np.where(outside, np.float32(padding), image)
    np.testing.assert_allclose(paths(padded)[:, 4:-4, 4:-4], paths(image)[:, 4:-4, 4:-4], atol=0.06 * 220)
    assert not paths(np.full((64, 64), padding, np.float32)).any()


@given(st.integers(20, 300), st.integers(20, 300), st.floats(0, 0.02))
@settings(max_examples=30, deadline=None)
def test_the_mean_power_over_all_directions_is_one(rows: int, columns: int, k: float) -> None:
    image = np.random.default_rng(rows).random((rows, columns)).astype(np.float32)
    np.testing.assert_allclose(np.square(amplitudes(image, k), dtype=np.float32).mean(0), 1, atol=5e-3)
    whole = amplitudes_over(image, k)
    assert (whole.shape, whole.dtype) == ((DIRECTIONS, rows, columns), np.float32)
    part = within(amplitudes(image, k), step_of(image.shape), slice(3, 17), slice(5, 19))
    np.testing.assert_allclose(part, whole[:, 3:17, 5:19], atol=1e-5)


@pytest.mark.parametrize("texture", [CT, WHITE])
def test_as_strong_along_all_directions_it_is_noise_of_the_texture(texture: Texture) -> None:
    even = np.ones((DIRECTIONS, 60, 70), np.float32)
    found = [draw_along(even, texture, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert torch.stack(found).std() == pytest.approx(1, rel=0.05)
    power = lambda drawn: np.mean([np.abs(np.fft.fft2(one)) ** 2 for one in drawn], axis=0)  # noqa: E731
    by_texture = power(
        [draw((60, 70), texture, torch.Generator().manual_seed(100 + seed)).numpy() for seed in range(64)]
    )
    by_rays = power([draw_along(even, texture, torch.Generator().manual_seed(seed)).numpy() for seed in range(64)])
    blocks = lambda of: of.reshape(10, 6, 10, 7).mean((1, 3))  # noqa: E731
    np.testing.assert_allclose(blocks(by_rays), blocks(by_texture), rtol=0.2)


def test_a_single_direction_holds_the_waves_along_it() -> None:
    alone = np.zeros((DIRECTIONS, 64, 64), np.float32)
    alone[DOWN] = 1
    power = np.abs(np.fft.fft2(draw_along(alone, WHITE, torch.Generator().manual_seed(0)).numpy())) ** 2
    assert power[8:24, :3].mean() > 20 * power[:3, 8:24].mean()


@pytest.mark.parametrize("k", [0.0, 0.008, 0.012])
@pytest.mark.parametrize("twice", [False, True])
def test_k_is_found(k: float, twice: bool) -> None:
    found = [rays_of(noisy(k, seed)[None], noisy(k, 100 + seed)[None] if twice else None) for seed in range(4)]
    assert np.mean(found) == pytest.approx(k, rel=0.25, abs=4e-4)


def test_what_is_not_sure_is_none() -> None:
    assert rays_of(np.zeros((3, 64, 64), np.float32)) == 0
    assert rays_of(np.ones((1, 20, 20), np.float32)) == 0
    assert rays_of(noisy(0.0, 1)[None]) == 0
    assert rays_of(noisy(0.1, 1)[None]) == MOST


def test_edges_are_no_noise() -> None:
    """Of an image with much anatomy the flattest places are asked."""
    rings = disc() * (1 + 0.2 * sum(np.sign(disc(radius=radius) - 0.5) for radius in (30, 50, 70, 90)))
    found = np.mean([rays_of(noisy(0.008, seed, 0.02, disc() + 0.1 * (rings > 1.3))[None]) for seed in range(4)])
    assert 0.004 < found < 0.011
