import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise import models
from diffdenoise.noise.counts import counts_to_a_unit, step_of
from diffdenoise.noise.estimate import estimate_noise
from diffdenoise.noise.trend import as_its_kind, classify_noise
from diffdenoise.phantom import mni_slices

scales = st.floats(1e-3, 1e3)


@given(step=scales, seed=st.integers(0, 99), mean=st.floats(5, 1e4))
def test_the_step_of_whole_counts_is_found_in_any_unit(step: float, seed: int, mean: float) -> None:
    counts = np.random.default_rng(seed).poisson(mean, (3, 60, 60))
    values = (step * counts).astype(np.float32)
    assert step_of(values) == pytest.approx(step * np.gcd.reduce(counts, axis=None), rel=1e-5)


@given(step=scales, seed=st.integers(0, 99))
def test_what_is_not_whole_or_negative_has_no_step(step: float, seed: int) -> None:
    values = (step * np.random.default_rng(seed).poisson(30, (40, 40))).astype(np.float32)
    assert step_of(values - np.float32(100 * step)) == 0
    values[3, 4] += 0.3 * step
    assert step_of(values) != pytest.approx(step, rel=0.05)
    assert step_of(np.random.default_rng(seed).normal(500, 9, (99, 99)).astype(np.float32)) == 0
    assert step_of((values > values.mean()).astype(np.float32)) == 0


@pytest.mark.parametrize(
    ("times", "counted"), [(0.6, False), (0.85, False), (0.95, True), (1.0, True), (1.4, True), (2.0, False)]
)
def test_whole_numbers_alone_are_no_counts(times: float, counted: bool) -> None:
    brightness = np.array([10.0, 40.0, 90.0])
    values = np.arange(100, dtype=np.float32)
    assert bool(counts_to_a_unit(values, brightness, np.sqrt(times * brightness))) == counted


@pytest.mark.parametrize("counts", [30, 200, 1000])
def test_the_level_of_whole_counts_is_exact_also_on_grain_and_anatomy(counts: float) -> None:
    generator = torch.Generator().manual_seed(0)
    anatomy = torch.from_numpy(mni_slices(60, 6, 10))
    clean = models.gamma(anatomy, 5000, generator)  # a grain of 1.4 %
    noisy = models.poisson(clean, counts, generator).numpy()
    level = estimate_noise(noisy)
    trend = classify_noise(noisy, level)
    assert trend.counted
    assert trend.lam == pytest.approx(counts, rel=1e-5)
    exact, brightness = as_its_kind(level, trend), np.linspace(0, 4 * level.knots[-1], 20)
    assert exact.variance(brightness) == pytest.approx(brightness / counts, rel=1e-5)
    assert exact.typical == pytest.approx(level.typical, rel=0.2)
    smoothed = (noisy[:, 1:] + noisy[:, :-1]) / 2  # half counts, of half the noise
    assert not classify_noise(smoothed, estimate_noise(smoothed)).counted


def test_rician_magnitudes_that_are_stored_as_whole_numbers_are_no_counts() -> None:
    magnitude = models.rician(torch.from_numpy(mni_slices(60, 6, 10)), 0.06, torch.Generator().manual_seed(0))
    for scale in (30, 300, 3000):
        stored = np.round(scale * magnitude.numpy())
        assert not classify_noise(stored, estimate_noise(stored)).counted
