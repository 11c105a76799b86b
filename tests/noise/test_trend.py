from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise import models
from diffdenoise.noise.estimate import NoiseLevel, estimate_noise
from diffdenoise.noise.trend import Kind, Trend, as_its_kind, classify_noise, counting_level
from diffdenoise.phantom import mni_slices


def _classify(slices: np.ndarray) -> Trend:
    return classify_noise(slices, estimate_noise(slices))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def anatomy() -> torch.Tensor:
    return torch.from_numpy(mni_slices(60, 6, 10))


def _ramp() -> torch.Tensor:
    return torch.linspace(0.02, 1, 300).expand(3, 300, 300).contiguous()


@pytest.mark.parametrize("sigma", [6, 25, 50])
@pytest.mark.parametrize("width", [0.0, 0.5, 1.2])
def test_gaussian(anatomy: torch.Tensor, sigma: float, width: float) -> None:
    trend = _classify(models.correlated(anatomy, sigma / 255, width, _generator()).numpy())
    assert trend.kind == "gaussian"
    assert trend.sigma * 255 == pytest.approx(sigma, rel=0.15)
    assert trend.lam == trend.looks == trend.offset == 0


@pytest.mark.parametrize("sigma", [6, 15, 50])
def test_rician(anatomy: torch.Tensor, sigma: float) -> None:
    trend = _classify(models.rician(anatomy, sigma / 255, _generator()).numpy())
    assert trend.kind == "rician"
    assert trend.sigma * 255 == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("lam", [50, 200, 700])
def test_poisson(anatomy: torch.Tensor, lam: float) -> None:
    assert _classify(models.poisson(anatomy, lam, _generator()).numpy()).kind == "poisson"
    trend = _classify(models.poisson(_ramp(), lam, _generator()).numpy())
    assert trend.kind == "poisson"
    assert trend.lam == pytest.approx(lam, rel=0.1)
    assert trend.misfit < 0.1


@pytest.mark.parametrize("looks", [20, 100])
def test_gamma(anatomy: torch.Tensor, looks: float) -> None:
    trend = _classify(models.gamma(anatomy, looks, _generator()).numpy())
    assert trend.kind == "gamma"
    assert trend.looks == pytest.approx(looks, rel=0.25)


def test_poisson_noise_on_a_scale_with_an_offset() -> None:
    trend = _classify(2000 * models.poisson(_ramp(), 200, _generator()).numpy() - 1024)
    assert trend.kind == "poisson"
    assert trend.offset == pytest.approx(-1024, abs=60)
    assert trend.lam == pytest.approx(0.1, rel=0.1)


def test_poisson_noise_with_a_gaussian_part() -> None:
    noisy = models.gaussian(models.poisson(_ramp(), 200, _generator()), 0.02, _generator()).abs()
    trend = _classify(noisy.numpy())
    assert trend.kind == "poisson"
    assert trend.sigma == pytest.approx(0.02, rel=0.4)


@pytest.mark.parametrize("kind", ["gaussian", "rician", "poisson", "gamma"])
def test_each_kind_knows_how_skewed_its_noise_is(kind: Kind) -> None:
    clean = torch.full((1500, 1500), 0.3, dtype=torch.float64)
    noisy, trend = {
        "gaussian": (models.gaussian(clean, 0.1, _generator()), Trend("gaussian", sigma=0.1)),
        "rician": (models.rician(clean, 0.2, _generator()), Trend("rician", sigma=0.2)),
        "poisson": (models.poisson(clean, 40, _generator()), Trend("poisson", lam=40)),
        "gamma": (models.gamma(clean, 10, _generator()), Trend("gamma", looks=10)),
    }[kind]
    n = (noisy - noisy.mean()).numpy()
    skewness = (n**3).mean() / n.std() ** 3
    assert trend.skewness(noisy.mean().numpy()) == pytest.approx(skewness, abs=0.01)
    moved = replace(trend, offset=-5.0) if kind in ("poisson", "gamma") else trend
    assert moved.skewness(noisy.mean().numpy() + moved.offset) == pytest.approx(skewness, abs=0.01)


def test_rician_noise_gets_its_curve_and_other_noise_its_skewness(anatomy: torch.Tensor) -> None:
    noisy = models.rician(anatomy, 0.06, _generator()).numpy()
    level = estimate_noise(noisy)
    found = as_its_kind(level, classify_noise(noisy, level))
    assert np.sqrt(found.variance(np.array([0.06 * 1.253, 0.12, 0.6]))) == pytest.approx(
        [0.655 * 0.06, 0.0525, 0.06], rel=0.03
    )
    assert found.skewness[0] == pytest.approx(0.63, abs=0.01)
    assert as_its_kind(level, Trend("rician", sigma=0.06, misfit=0.15)).sigma == level.sigma
    growing, knots = as_its_kind(level, Trend("poisson", lam=200)), np.array(level.knots)
    curve = np.maximum(knots / 200, level.sigma[0] ** 2)
    assert growing.variance(knots) == pytest.approx(np.minimum(np.square(level.sigma), curve))
    assert len(growing.skewness) == len(growing.knots)


@pytest.mark.parametrize("kind", ["poisson", "gamma"])
@given(offset=st.floats(-100, 100), signal=st.floats(1e-2, 1e3), strength=st.floats(1, 1e3), times=st.floats(0.01, 4))
def test_what_grows_with_brightness_grows_beyond_what_was_measured(
    kind: Kind, offset: float, signal: float, strength: float, times: float
) -> None:
    """A level of 0.8 of its kind's own, measured in the middle of the brightnesses alone, is so everywhere."""
    trend = Trend(kind, lam=strength, looks=strength, offset=offset)
    knots = offset + signal * np.linspace(0.5, 1, 5)
    level = NoiseLevel(tuple(knots), tuple(0.8 * trend.deviation(knots)))
    found, there = as_its_kind(level, trend), offset + signal * np.array([times, 0.0])
    expected = np.square(0.8 * trend.deviation(there))
    assert found.variance(there) == pytest.approx(expected, rel=0.2, abs=0.05 * float(level.variance(knots[:1])[0]))
    assert found.typical == pytest.approx(level.typical, rel=0.2)


@given(counts=st.floats(1e-3, 1e6), brightest=st.floats(1e-3, 1e6), share=st.floats(0, 4))
def test_counts_have_their_mean_as_variance(counts: float, brightest: float, share: float) -> None:
    level, brightness = counting_level(counts, brightest), np.array([share * brightest])
    assert level.variance(brightness) == pytest.approx(brightness / counts, rel=1e-3)


def test_noise_that_is_strongest_in_the_middle_fits_no_curve() -> None:
    clean, random = _ramp().numpy(), np.random.default_rng(0)
    hill = 0.002 + 0.1 * np.exp(-(((clean - 0.5) / 0.25) ** 2))
    assert _classify(clean + hill * random.standard_normal(clean.shape)).kind == "unknown"


@pytest.mark.parametrize("image", [np.zeros((1, 8, 8)), np.random.default_rng(0).random((1, 9, 9))])
def test_too_little_to_tell(image: np.ndarray) -> None:
    assert classify_noise(image, NoiseLevel((0.0,), (0.5,))).kind == "unknown"
