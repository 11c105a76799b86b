from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.diagnosis import diagnose
from diffdenoise.noise.background import Background, background_of
from diffdenoise.noise.looked import look
from diffdenoise.noise.rician import magnitude_correlation
from diffdenoise.noise.texture import Texture, correlation, draw, smoothed
from diffdenoise.phantom import mni_slices

BAND = Texture(("band", 0.6), ("band", 0.6))
CLEAN = torch.from_numpy(mni_slices(40, 8, 6))


def magnitudes(sigma: float, texture: Texture, strength: torch.Tensor | float = 1.0) -> np.ndarray:
    """Of complex images whose noise has this texture; so many times as strong at each place."""
    generator = torch.Generator().manual_seed(0)
    real, imaginary = (sigma * strength * draw(tuple(CLEAN.shape), texture, generator) for _ in range(2))
    return torch.hypot(CLEAN + real, imaginary).numpy()


def off(one: Texture, other: Texture) -> float:
    """How far two textures are from one another: the largest difference of their correlations."""
    return float(np.abs(correlation(one) - correlation(other)).max())


@pytest.mark.parametrize("texture", [smoothed(0.5), smoothed(1.2), BAND, Texture(("band", 0.5), ("band", 0.8))])
@pytest.mark.parametrize("sigma", [15, 30])
def test_level_and_texture_are_those_of_the_background_where_noise_is_correlated(
    sigma: float, texture: Texture
) -> None:
    found = diagnose(magnitudes(sigma / 255, texture))
    assert found.trend.kind == "rician"
    assert found.level.loudest == pytest.approx(sigma / 255, rel=0.02)
    assert off(found.level.texture, texture) < 0.1


@pytest.mark.parametrize(("texture", "tolerance"), [(smoothed(0.5), 0.1), (BAND, 0.3)])
def test_fine_anatomy_beside_weak_noise_does_not_mislead(texture: Texture, tolerance: float) -> None:
    """A band of frequencies is not told from a filter then, for of which sign a correlation is the air does not say."""
    found = diagnose(magnitudes(6 / 255, texture))
    assert found.level.loudest == pytest.approx(6 / 255, rel=0.02)
    assert off(found.level.texture, texture) < tolerance


def test_noise_that_is_stronger_in_the_anatomy_than_in_the_air_is_not_that_of_the_air() -> None:
    rows, columns = (torch.linspace(-1, 1, size) for size in CLEAN.shape[1:])
    uneven = 1 + torch.exp(-2 * (rows[:, None] ** 2 + columns**2))
    assert background_of(look(magnitudes(15 / 255, BAND, uneven))) is None


def test_chance_at_few_places_seldom_speaks_against_a_phantom() -> None:
    """Of a flat disc there are few places of the brightnesses at its rim, and what they show scatters."""
    row, column = np.mgrid[:192, :192]
    disc = torch.from_numpy(np.where(np.hypot(row - 96, column - 96) < 60, 1.0, 0.0)).float()[None]
    found = []
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        real, imaginary = (0.1 * draw((2, 192, 192), smoothed(1.2), generator) for _ in range(2))
        found.append(background_of(look(torch.hypot(disc + real, imaginary).numpy())))
    borne_out = [one for one in found if one]
    assert len(borne_out) >= 5
    assert all(one.sigma == pytest.approx(0.1, rel=0.03) for one in borne_out)


def test_a_background_that_was_filtered_on_its_own_is_not_believed() -> None:
    """Its texture is not that of the anatomy."""
    noisy, air = magnitudes(15 / 255, smoothed(0.4)), magnitudes(15 / 255, smoothed(1.2))
    mixed = np.where(CLEAN.numpy() > 0, noisy, air)
    found = background_of(look(mixed))
    assert found is None or off(found.texture, smoothed(0.4)) < 0.1


def test_there_is_none_without_air_or_of_differences() -> None:
    noisy = magnitudes(15 / 255, BAND)
    assert background_of(look(noisy)) is not None
    assert background_of(look(noisy[:, 80:120, 60:100])) is None
    assert background_of(look(noisy - 0.5)) is None
    assert background_of(look(noisy, again=noisy[::-1])) is None


def test_it_is_looked_for_once() -> None:
    looked = look(magnitudes(15 / 255, BAND))
    assert background_of(looked) is background_of(looked)
    assert isinstance(background_of(looked), Background)
    assert background_of(replace(looked)) is not background_of(looked)


@given(st.floats(-0.95, 0.95))
def test_magnitudes_in_air_correlate_as_they_are_said_to(rho: float) -> None:
    random = np.random.default_rng(0).standard_normal((2, 2, 20_000))
    other = rho * random[0] + np.sqrt(1 - rho**2) * random[1]
    measured = np.corrcoef(np.hypot(*random[0]), np.hypot(*other))[0, 1]
    assert measured == pytest.approx(magnitude_correlation(np.array(rho)), abs=0.04)
