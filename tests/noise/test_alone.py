import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.noise.alone import spectrum, texture_alone
from diffdenoise.noise.estimate import estimate_noise
from diffdenoise.noise.looked import look
from diffdenoise.noise.texture import GRID, Texture, draw, power, smoothed, texture_of
from diffdenoise.phantom import mni_slices

HEAD = torch.from_numpy(mni_slices(40, 4, 15))
RAMP = Texture(radial=(0.36, 2.0, 0.0))
TEXTURES = (
    smoothed(0.5),
    smoothed(0.6, 1.2),
    Texture(("band", 0.5), ("band", 0.8)),
    Texture(radial=(0.35,)),
    Texture(radial=(0.4, 0.05)),
    Texture(("smoothed", 0.7), ("smoothed", 0.7), grain=0.1),
    RAMP,
)


def noisy(texture: Texture, seed: int, clean: torch.Tensor = HEAD) -> np.ndarray:
    return (clean + 0.03 * draw(tuple(clean.shape), texture, torch.Generator().manual_seed(seed))).numpy()


def off(found: Texture, true: Texture) -> float:
    """Mean distance of the spectra, whose mean is 1."""
    return float(np.abs(power(found, GRID, GRID) - power(true, GRID, GRID)).mean())


@settings(max_examples=14, deadline=None)
@given(st.sampled_from(TEXTURES), st.integers(0, 99))
def test_the_texture_is_that_of_the_noise(texture: Texture, seed: int) -> None:
    found = texture_alone(look(noisy(texture, seed), noisy(texture, seed + 100)))
    assert found is not None
    assert off(found, texture) < 0.06


def test_the_lowest_frequencies_are_measured() -> None:
    """Mixed differences do not see them."""
    looked = look(noisy(RAMP, 0), noisy(RAMP, 1))
    shown = spectrum(looked)
    assert shown is not None
    assert shown[:3, :3].mean() == pytest.approx(power(RAMP, GRID, GRID)[:3, :3].mean(), rel=0.3)


def test_what_is_imaged_twice_has_the_texture_of_the_difference() -> None:
    """Grain beside smooth noise, of which the mixed differences of one pair of slices find none."""
    one, two = (noisy(TEXTURES[5], seed, HEAD[:1]) for seed in (0, 50))
    looked = look(one, two)
    found = estimate_noise(one, again=two).texture
    assert found == texture_alone(looked)
    assert off(found, TEXTURES[5]) < 0.03
    assert off(texture_of(looked, 2), TEXTURES[5]) > 0.1


def test_what_moved_in_a_few_places_is_not_its_texture() -> None:
    texture = smoothed(0.6)
    one, two = noisy(texture, 0), noisy(texture, 1)
    two[:, 60:110, 60:110] += np.linspace(0, 1, 50, dtype=np.float32)
    found = texture_alone(look(one, two))
    assert found is not None
    assert off(found, texture) < 0.08


def test_too_little_tells_nothing() -> None:
    small = HEAD[:1, :GRID, :GRID]
    assert texture_alone(look(noisy(RAMP, 0, small), noisy(RAMP, 1, small))) is None
    assert texture_alone(look(np.zeros((9, 200, 200), np.float32), np.zeros((9, 200, 200), np.float32))) is None
    assert texture_alone(look(np.zeros((1, 40, 40), np.float32), np.ones((1, 40, 40), np.float32))) is None
