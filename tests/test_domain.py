import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.domain import Domain
from diffdenoise.noise.estimate import NoiseLevel, constant_level

GROWING = NoiseLevel((0.0, 50.0, 100.0), (2.0, 5.0, 8.0), reach=1)


@given(offset=st.floats(-1e3, 1e3), scale=st.floats(0.1, 1e3), even=st.booleans(), sigma=st.floats(0.01, 0.2))
def test_a_constant_level_makes_it_affine_whether_evened_out_or_not(
    offset: float, scale: float, even: bool, sigma: float
) -> None:
    domain = Domain.of(offset, scale, constant_level(sigma * scale), even)
    pixels = offset + scale * np.linspace(-0.3, 1.3, 50, dtype=np.float32)
    np.testing.assert_allclose(domain.into(pixels), np.linspace(-0.3, 1.3, 50), atol=2e-3)
    np.testing.assert_allclose(domain.back(domain.into(pixels)), pixels, atol=3e-3 * scale)
    assert domain.level.typical == pytest.approx(sigma, rel=1e-3)


def test_a_growing_level_is_evened_out_and_undone_without_bias() -> None:
    domain = Domain.of(0, 100, GROWING, even=True)
    random = np.random.default_rng(0)
    assert domain.level.reach == 1
    for x in (10.0, 50.0, 90.0):
        noisy = x + float(np.sqrt(GROWING.variance(np.array(x)))) * random.standard_normal(200_000)
        seen = domain.into(noisy)
        assert seen.std() == pytest.approx(domain.level.typical, rel=0.05)
        assert domain.back(np.array([seen.mean()]))[0] == pytest.approx(x, rel=0.005)


def test_left_as_it_is_the_level_keeps_its_shape() -> None:
    level = Domain.of(10, 100, GROWING, even=False).level
    assert level.knots == (-0.1, 0.4, 0.9)
    assert level.sigma == (0.02, 0.05, 0.08)


def test_a_scan_without_noise_has_nothing_to_even_out() -> None:
    assert Domain.of(0, 1, constant_level(0), even=True).stabilisation is None


def test_a_spread_is_scaled_by_the_local_slope() -> None:
    plain, even = (Domain.of(0, 100, GROWING, even) for even in (False, True))
    denoised, spread = np.array([0.2, 0.8], np.float32), np.array([0.01, 0.01], np.float32)
    np.testing.assert_allclose(plain.spread_back(spread, denoised), [1, 1], rtol=1e-3)
    weak, strong = even.spread_back(spread, even.into(np.array([20.0, 80.0])))
    at_20, at_80 = np.sqrt(GROWING.variance(np.array([20.0, 80.0])))
    assert strong / weak == pytest.approx(at_80 / at_20, rel=0.02)


@pytest.mark.parametrize(("offset", "sigma"), [(1e6, 1.0), (1e7, 8.0)])
def test_a_spread_comes_back_whole_though_pixels_are_large(offset: float, sigma: float) -> None:
    domain = Domain.of(offset, 100 * sigma, constant_level(sigma), even=False)
    spread = np.linspace(0.001, 0.1, 50, dtype=np.float32)
    there = domain.spread_back(spread, np.linspace(0, 1, 50, dtype=np.float32))
    np.testing.assert_allclose(there, 100 * sigma * spread, rtol=1e-5)
