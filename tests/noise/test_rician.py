import numpy as np
import pytest
import torch

from diffdenoise.noise import models
from diffdenoise.noise.looked import look
from diffdenoise.noise.rician import deviation_at, magnitude_correlation, moments, rician_sigma, skewness_at
from diffdenoise.phantom import mni_slices


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_moments_are_those_of_simulated_noise(signal: float) -> None:
    sigma = 3.0
    clean = torch.full((1500, 1500), sigma * signal, dtype=torch.float64)
    noisy = models.rician(clean, sigma, torch.Generator().manual_seed(0)).numpy()
    table, mean, *_ = moments()
    assert noisy.mean() == pytest.approx(sigma * np.interp(signal, table, mean), rel=2e-3)
    at = np.array(noisy.mean())
    assert noisy.std() == pytest.approx(float(deviation_at(at, sigma)), rel=5e-3)
    skewness = ((noisy - noisy.mean()) ** 3).mean() / noisy.std() ** 3
    assert skewness == pytest.approx(float(skewness_at(at, sigma)), abs=0.01)


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("rho", [0.3, 0.8, -0.5])
def test_in_the_dark_magnitudes_correlate_by_the_square_of_what_their_channels_do(signal: float, rho: float) -> None:
    random = np.random.default_rng(0)
    first, own = random.standard_normal((2, 2, 1_000_000))
    pair = [np.hypot(signal + real, imaginary) for real, imaginary in (first, rho * first + (1 - rho**2) ** 0.5 * own)]
    dark = float(np.interp(signal, moments().signal, moments().dark))
    expected = (1 - dark) * rho + dark * float(magnitude_correlation(np.array(rho)))
    assert np.corrcoef(*pair)[0, 1] == pytest.approx(expected, abs=0.02)  # odd powers of rho are left out


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_weak_signal_beside_the_background_does_not_pass_for_noise(share: float) -> None:
    clean = torch.zeros(1, 300, 300, dtype=torch.float64)
    clean[..., int(300 * share) :] = torch.linspace(0.5, 4, 300 - int(300 * share))  # of sigma, some within 30 %
    noisy = models.rician(clean, 1.0, torch.Generator().manual_seed(0)).numpy().astype(np.float32)
    assert rician_sigma(look(noisy)) == pytest.approx(1, rel=0.02)


def test_the_background_tells_sigma_where_there_is_one() -> None:
    clean = torch.from_numpy(mni_slices(60, 6, 10))
    noisy = models.rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy()
    assert rician_sigma(look(noisy)) == pytest.approx(0.06, rel=0.02)
    for other in (models.gaussian(clean, 0.06, torch.Generator().manual_seed(0)).numpy(), clean.numpy(), noisy + 1):
        assert rician_sigma(look(other)) == 0
