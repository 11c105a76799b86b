"""Noise that varies over the image: found where it does, and nothing found where it does not."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.domain import Domain
from diffdenoise.noise import looked as looked_module
from diffdenoise.noise.estimate import NoiseLevel, constant_level, estimate_noise, level_by_brightness
from diffdenoise.noise.looked import centres, look
from diffdenoise.noise.spatial import EVEN, Variation, evened, variation_of
from diffdenoise.phantom import mni_slices

SIGMA = 20 / 255
weights = st.floats(-0.5, 0.5)
maps = st.builds(
    lambda a, b, c, d: Variation(((0.0, a, c), (b, 0.0, 0.0), (d, 0.0, 0.0)), 0.2, 5.0),
    st.floats(-0.2, 0.2),
    st.floats(-0.2, 0.2),
    weights,
    weights,
)
HUMP = Variation(((0.0, 0.1, -0.4), (0.1, 0.0, 0.0), (-0.4, 0.0, 0.0)), 0.2, 5.0)


def noisy(variation: Variation, clean: np.ndarray, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    return clean + np.float32(SIGMA) * variation.over(clean.shape) * noise


def off(level: NoiseLevel, variation: Variation, clean: np.ndarray) -> np.ndarray:
    """Log of the deviation that a level lets expect over the true one, at each pixel."""
    shown = np.sqrt(level.variance(clean, level.over(clean.shape)))
    return np.log(shown / (SIGMA * variation.over(clean.shape)))


@settings(max_examples=15, deadline=None)
@given(maps)
def test_a_map_is_found_on_a_repetition(variation: Variation) -> None:
    clean = np.repeat(np.linspace(0, 1, 160, dtype=np.float32)[:, None], 144, axis=1)[None].repeat(4, 0)
    level = estimate_noise(noisy(variation, clean, 1), again=noisy(variation, clean, 2))
    assert off(level, variation, clean).std() < 0.06
    assert abs(off(level, variation, clean).mean()) < 0.03


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_map_is_found_on_anatomy_that_is_dark_where_noise_is_weak(seed: int) -> None:
    """Air at the rim, the head in the middle: only within a brightness can place and brightness be told apart."""
    clean = mni_slices(60, 6, 10)
    image = noisy(HUMP, clean, seed)
    level, before = estimate_noise(image), level_by_brightness(look(image))
    head = clean > 0.1
    assert np.square(off(level, HUMP, clean)[head]).mean() ** 0.5 < 0.06
    assert np.square(off(before, HUMP, clean)[head]).mean() ** 0.5 > 0.15


@pytest.mark.parametrize("seed", range(5))
def test_no_map_is_found_where_noise_is_alike(seed: int) -> None:
    clean = mni_slices(60, 6, 10)
    assert estimate_noise(noisy(EVEN, clean, seed)).variation == EVEN
    flat = np.ones((1, 128, 128), np.float32)
    assert estimate_noise(noisy(EVEN, flat, seed)).variation == EVEN
    assert estimate_noise(noisy(EVEN, flat, seed), again=noisy(EVEN, flat, seed + 9)).variation == EVEN


def test_noise_that_grows_with_brightness_alone_needs_no_map() -> None:
    clean = mni_slices(60, 6, 10).clip(0)
    image = np.random.default_rng(0).poisson(200 * clean).astype(np.float32) / 200
    assert estimate_noise(image).variation == EVEN


def test_without_noise_or_room_there_is_no_map() -> None:
    for image in (np.zeros((1, 64, 64), np.float32), np.random.default_rng(0).random((1, 20, 20), np.float32)):
        assert variation_of(look(image), 1, np.ones_like) == EVEN


def test_a_map_of_tiles_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = np.zeros((1, 512, 512), np.float32)
    image = noisy(HUMP, clean)
    whole = estimate_noise(image)
    monkeypatch.setattr(looked_module, "MOST_PIXELS", 200_000)
    monkeypatch.setattr(looked_module, "TILE", 128)
    tiled = look(image)
    assert tiled.x.shape == (16, 128, 128)
    for number in (0, 1, 6, 15):  # each at its place
        row, column = 128 * (number // 4), 128 * (number % 4)
        assert (tiled.x[number] == image[0, row : row + 128, column : column + 128]).all()
        assert tiled.rows[number] == pytest.approx(centres(512)[row : row + 128])
        assert tiled.columns[number] == pytest.approx(centres(512)[column : column + 128])
    found = estimate_noise(image)
    assert off(found, HUMP, clean).std() < 0.06 > off(whole, HUMP, clean).std()


def test_evened_differences_are_alike() -> None:
    image = noisy(HUMP, np.zeros((12, 160, 160), np.float32))
    assert variation_of(evened(look(image), HUMP), 1, lambda brightness: np.full_like(brightness, SIGMA)) == EVEN
    assert not variation_of(look(image), 1, lambda brightness: np.full_like(brightness, SIGMA)).is_even
    assert level_by_brightness(evened(look(image), HUMP)).typical == pytest.approx(SIGMA, rel=0.03)


@given(maps)
def test_a_map_is_the_same_in_parts_and_stored(variation: Variation) -> None:
    whole = variation.over((3, 40, 30))
    part = variation.at(centres(40)[5:20], centres(30)[10:28])
    assert part == pytest.approx(whole[5:20, 10:28], rel=1e-6)
    level = NoiseLevel((0.0, 1.0), (1.0, 2.0), variation=variation)
    assert NoiseLevel.of_dict(json.loads(json.dumps(asdict(level)))) == level


def test_a_map_is_kept_on_the_way_to_the_networks() -> None:
    level = NoiseLevel((0.0, 100.0), (1.0, 9.0), variation=HUMP)
    for even in (False, True):
        assert Domain.of(0.0, 100.0, level, even).level.variation == HUMP


def test_a_variance_is_larger_by_the_square() -> None:
    level, brightness = constant_level(2.0), np.zeros((2, 3), np.float32)
    assert (level.variance(brightness, np.float32(3.0)) == 36).all()
    assert level.over((5, 2, 3)) == 1.0
