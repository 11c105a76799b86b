import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from diffdenoise import taken_away
from diffdenoise.crops import Crop, middle_of, try_on
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.texture import smoothed
from diffdenoise.noise.trend import counting_level
from diffdenoise.taken_away import OF_BOTH, strength, strength_where_flat

SIGMA, SIDE = 0.1, 128


def normal(seed: int) -> Tensor:
    return torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def where_flat(x_noisy: Tensor, level: NoiseLevel, denoised: Tensor | float, through: float = 0.0) -> float:
    """Found with a student that gives this back, and a share of what it is given."""
    crop: Crop = middle_of(x_noisy, [True], level, 3)
    return strength_where_flat(try_on(lambda seen: denoised + through * seen, crop, "cpu"))


@given(times=st.floats(0.8, 1.25))
@settings(max_examples=10, deadline=None)
def test_where_a_result_is_flat_what_was_taken_away_says_how_strong_noise_is(times: float) -> None:
    """Whatever the level says; half of the image is structure that the student loses."""
    fine = torch.from_numpy(gaussian_filter(normal(1).numpy(), (0, 0, 2, 2)))
    clean = fine * (torch.arange(SIDE) < SIDE // 2) * 3
    x_noisy = clean + SIGMA * normal(2)
    assert where_flat(x_noisy, constant_level(times * SIGMA), 0.8 * clean) == pytest.approx(1 / times, rel=0.03)


@given(st.floats(0.0, 0.5))
@settings(max_examples=10, deadline=None)
def test_noise_that_is_let_through_counts_as_what_the_best_there_is_lets_through(share: float) -> None:
    """Of white noise and a white signal (no place of which is flatter), that is Wiener's filter."""
    clean = SIGMA * OF_BOTH * (share / (1 - share)) ** 0.5 * normal(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taken_away, "FLAT", 1.0)
        assert where_flat(clean + SIGMA * normal(2), constant_level(SIGMA), 0.0, share) == pytest.approx(1, rel=0.03)


def test_who_takes_nothing_away_or_knows_nothing_says_nothing_of_more_noise() -> None:
    x_noisy = SIGMA * normal(1)
    assert where_flat(x_noisy, constant_level(SIGMA), 0.0, 1.0) == 0
    assert strength(constant_level(SIGMA), x_noisy, x_noisy, 1.0) == 1


def test_of_correlated_noise_nothing_is_said() -> None:
    assert where_flat(SIGMA * normal(1), NoiseLevel((0.0,), (2 * SIGMA,), 2, smoothed(0.8)), 0.0) == 1


def test_of_single_counts_nothing_is_said() -> None:
    """Their absolute values have another median than Gaussian noise."""
    random = np.random.default_rng(0)
    counts = torch.from_numpy(random.poisson(0.5, (1, 1, SIDE, SIDE)).astype(np.float32))
    assert where_flat(counts, counting_level(1.0, 1.0), 0.5) == 1
    many = torch.from_numpy(random.poisson(400, (1, 1, SIDE, SIDE)).astype(np.float32))
    assert where_flat(many, counting_level(1.0, 400.0), 400.0) == pytest.approx(1, rel=0.03)
