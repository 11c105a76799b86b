import numpy as np
import pytest
import torch

from diffdenoise import assumptions
from diffdenoise.assumptions import check_noise
from diffdenoise.noise.estimate import estimate_noise
from diffdenoise.noise.models import correlated, gamma, gaussian, poisson, rician
from diffdenoise.noise.texture import Machine
from diffdenoise.phantom import mni_slices


def _faults(slices: np.ndarray) -> list[str]:
    return [finding.fault for finding in check_noise(slices, estimate_noise(slices))]


def _noisy(sigma: float, width: float = 0.0) -> np.ndarray:
    clean = torch.from_numpy(mni_slices(60, 6, 10))
    return correlated(clean, sigma / 255, width, torch.Generator().manual_seed(0)).numpy()


@pytest.mark.parametrize("sigma", [6, 25])
@pytest.mark.parametrize("width", [0.0, 0.5, 1.2])
def test_noise_of_the_expected_kind_is_fine(sigma: float, width: float) -> None:
    assert _faults(_noisy(sigma, width)) == []


@pytest.mark.parametrize("width", [2.0, 3.0])
def test_noise_correlated_too_far(width: float) -> None:
    assert _faults(_noisy(25, width)) == ["correlated_far"]


def test_next_to_no_noise() -> None:
    assert _faults(_noisy(0.3)) == ["noise_free"]


@pytest.mark.parametrize(("machine", "faults"), [("CT", []), ("", ["noise_free"])])
def test_of_ct_only_a_window_is_shown_at_once(machine: Machine, faults: list[str]) -> None:
    hounsfield = 1400 * _noisy(0.55) - 1000  # noise of 3 HU
    found = check_noise(hounsfield, estimate_noise(hounsfield), machine=machine)
    assert [finding.fault for finding in found] == faults


def test_noise_below_a_grey_level() -> None:
    ramp = np.broadcast_to(np.linspace(0, 50, 150), (1, 300, 150))
    assert _faults(np.round(ramp + 0.05 * np.random.default_rng(0).standard_normal(ramp.shape))) == ["noise_free"]


@pytest.mark.parametrize("sigma", [6, 25])
@pytest.mark.parametrize("width", [0.0, 1.2])
@pytest.mark.parametrize("levels", [None, 255])
def test_clipped_background(sigma: float, width: float, levels: int | None) -> None:
    clipped = _noisy(sigma, width).clip(0)
    clipped = np.round(levels * clipped) / levels if levels else clipped
    assert _faults(clipped) == ["clipped"]


@pytest.mark.parametrize("sigma", [6, 25])
def test_a_masked_background_is_not_clipped(sigma: float) -> None:
    masked = np.where(mni_slices(60, 6, 10) > 0.05, _noisy(sigma) + 0.3, 0)
    assert _faults(masked) == []
    assert _faults(np.round(255 * masked)) == []


@pytest.mark.parametrize("levels", [None, 255, 60])
def test_magnitudes_are_not_clipped(levels: int | None) -> None:
    magnitude = rician(torch.from_numpy(mni_slices(60, 6, 10)), 6 / 255, torch.Generator().manual_seed(0)).numpy()
    assert _faults(np.round(levels * magnitude) if levels else magnitude) == []


def test_counting_and_multiplicative_noise_are_not_clipped() -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 10)), torch.Generator().manual_seed(0)
    assert _faults(poisson(clean, 200, generator).numpy()) == []
    assert _faults(gamma(clean, 20, generator).numpy()) == []


def test_a_clean_image_of_few_grey_levels_is_not_clipped() -> None:
    assert "clipped" not in _faults(np.round(255 * mni_slices(60, 6, 10)))


def test_grey_levels_are_looked_for_among_as_many_values_as_were_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Continuous values have none, however few of a large scan are looked at."""
    monkeypatch.setattr(assumptions, "MOST_PIXELS", 1000)
    continuous = np.random.default_rng(0).random((1, 200, 200))
    assert assumptions._step(continuous) == 0
    assert assumptions._step(np.round(20 * continuous) / 20) == pytest.approx(1 / 20)


def test_messages_name_the_remedy() -> None:
    clipped = gaussian(torch.zeros(1, 200, 200), 1.0, torch.Generator().manual_seed(0)).numpy().clip(0)
    (finding,) = check_noise(clipped, estimate_noise(clipped))
    assert "scattered" in finding.message
    assert "before clipping" in finding.message
