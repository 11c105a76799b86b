import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measures import BRIGHTNESS_BINS, bias_by_brightness, gmsd, hfen, residual_checks, unbiased_mse


def image(seed: int = 0) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).random((2, 64, 64)), (0, 2, 2))


def test_equal_images_have_no_error() -> None:
    assert gmsd(image(), image(), 1.0) == pytest.approx(0, abs=1e-6)
    assert hfen(image(), image()) == 0


@given(st.floats(0.005, 0.02), st.floats(1.5, 3))
def test_more_noise_is_a_greater_error(sigma: float, more: float) -> None:
    noise = np.random.default_rng(1).normal(size=image().shape)
    for measure in (lambda x: gmsd(x, image(), 1.0), lambda x: hfen(x, image())):
        assert measure(image() + more * sigma * noise) > measure(image() + sigma * noise) > 0


def test_hfen_does_not_see_a_shift_of_brightness() -> None:
    assert hfen(image() + 0.3, image()) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("uniform", [0.0, 0.1, 1000.0])
def test_hfen_of_a_reference_without_edges_is_none(uniform: float) -> None:
    """Its rounding, and edges where nobody looks, are none."""
    random = np.random.default_rng(0)
    reference = (np.full((2, 64, 64), uniform) * (1 + 1e-8 * random.normal(size=(2, 64, 64)))).astype(np.float32)
    noisy = reference + random.normal(size=reference.shape).astype(np.float32)
    assert hfen(noisy, reference) is None
    inside = np.zeros(reference.shape, bool)
    inside[:, 16:48, 16:48] = True
    reference[:, 0, 0] = 2 * uniform
    assert hfen(noisy, reference, inside) is None
    reference[:, 32, 32] += 0.001 * max(uniform, 1)
    assert hfen(noisy, reference, inside) is not None


@given(st.floats(-0.2, 0.2))
def test_bias_is_found_where_it_is(shift: float) -> None:
    reference = np.linspace(0, 1, 4096).reshape(1, 64, 64)
    found = bias_by_brightness(np.where(reference > 0.5, reference + shift, reference), reference)
    assert found == pytest.approx([0] * 4 + [shift] * 4, abs=1e-9)


def test_an_empty_bin_keeps_its_place() -> None:
    """Of a reference of two values each falls in the bin where it would fall among many."""
    reference = np.repeat([0.2, 0.8], [60, 40])
    found = bias_by_brightness(reference + np.where(reference > 0.5, 0.1, -0.1), reference)
    assert len(found) == BRIGHTNESS_BINS
    assert [round(value, 9) for value in found if value is not None] == [-0.1, 0.1]
    assert found[-1] == pytest.approx(0.1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_unbiased_error_is_the_error_against_the_unknown_truth() -> None:
    random = np.random.default_rng(0)
    truth = random.random((4, 200, 200))
    estimate = truth + 0.05 * random.normal(size=truth.shape)
    repetitions = truth + 0.1 * random.normal(size=(3, *truth.shape))
    everywhere = np.ones(truth.shape, bool)
    assert unbiased_mse(estimate, repetitions, everywhere) == pytest.approx(0.05**2, rel=0.05)
    assert unbiased_mse(truth, repetitions, everywhere) == pytest.approx(0, abs=1e-4)


def test_a_residual_of_pure_noise_looks_like_it() -> None:
    clean = np.zeros((2, 128, 128), np.float32)
    noisy = clean + np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
    found = residual_checks(noisy, clean)
    assert found["level"] == pytest.approx(1, abs=0.05)
    assert found["neighbours"] == pytest.approx(0, abs=0.03)
    assert residual_checks(noisy, noisy)["level"] == 0
