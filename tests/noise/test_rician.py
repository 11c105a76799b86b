import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise import models
from diffdenoise.noise.looked import look
from diffdenoise.noise.rician import deviation_at, moments, rician_sigma, skewness_at, without_floor
from diffdenoise.phantom import mni_slices


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_moments_are_those_of_simulated_noise(signal: float) -> None:
    sigma = 3.0
    clean = torch.full((1500, 1500), sigma * signal, dtype=torch.float64)
    noisy = models.rician(clean, sigma, torch.Generator().manual_seed(0)).numpy()
    table, mean, _, _ = moments()
    assert noisy.mean() == pytest.approx(sigma * np.interp(signal, table, mean), rel=2e-3)
    at = np.array(noisy.mean())
    assert noisy.std() == pytest.approx(float(deviation_at(at, sigma)), rel=5e-3)
    skewness = ((noisy - noisy.mean()) ** 3).mean() / noisy.std() ** 3
    assert skewness == pytest.approx(float(skewness_at(at, sigma)), abs=0.01)


@given(signal=st.floats(0.05, 100), sigma=st.floats(1e-3, 1e3))
def test_the_floor_is_taken_off_the_mean(signal: float, sigma: float) -> None:
    quarter = signal**2 / 4
    from scipy.special import i0e, i1e

    mean = sigma * np.sqrt(np.pi / 2) * ((1 + 2 * quarter) * i0e(quarter) + 2 * quarter * i1e(quarter))
    assert without_floor(np.array([mean]), sigma)[0] == pytest.approx(sigma * signal, abs=0.03 * sigma)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20), st.floats(0.01, 10))
def test_taking_the_floor_off_keeps_the_order_and_adds_nothing(values: list[float], sigma: float) -> None:
    magnitude = np.sort(np.array(values))
    signal = without_floor(magnitude, sigma)
    assert (np.diff(signal) >= -1e-9).all()
    assert (signal >= 0).all()
    assert (signal <= magnitude).all()
    assert (signal[magnitude <= sigma * np.sqrt(np.pi / 2)] == 0).all()
    assert (magnitude - signal <= 1.26 * sigma).all()


def test_the_background_tells_sigma_where_there_is_one() -> None:
    clean = torch.from_numpy(mni_slices(60, 6, 10))
    noisy = models.rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy()
    assert rician_sigma(look(noisy)) == pytest.approx(0.06, rel=0.02)
    for other in (models.gaussian(clean, 0.06, torch.Generator().manual_seed(0)).numpy(), clean.numpy(), noisy + 1):
        assert rician_sigma(look(other)) == 0
