import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.normalisation import fit_normalisation, measure_range, normalise, restore


@given(offset=st.floats(-1e4, 1e4), scale=st.floats(1e-2, 1e4), seed=st.integers(0, 99))
def test_it_is_undone_and_never_clips(offset: float, scale: float, seed: int) -> None:
    pixels = (np.random.default_rng(seed).standard_normal((2, 30, 30)) * scale + offset).astype(np.float32)
    own = measure_range(pixels)
    unit = normalise(pixels, *own)
    assert unit.min() < 0
    assert unit.max() > 1
    np.testing.assert_allclose(restore(unit, *own), pixels, rtol=1e-5, atol=1e-5 * (abs(offset) + scale))


@pytest.mark.parametrize("value", [0.0, -3.5, 1e6])
def test_a_constant_image_has_a_range(value: float) -> None:
    offset, scale = measure_range(np.full((1, 4, 4), value, np.float32))
    assert scale > 0
    assert offset == value


def test_one_bright_spot_on_a_flat_ground_has_a_range() -> None:
    image = np.zeros((1, 100, 100), np.float32)
    image[0, 5, 5] = 9
    assert measure_range(image) == (0, 9)


def test_fixed_numbers_serve_all_scans_and_scan_numbers_each() -> None:
    ranges, sigmas = [(0, 10), (2, 30), (4, 20)], [1, 1, 1]
    assert fit_normalisation(ranges, sigmas, "fixed").apply((7, 70), 1) == (2, 20)
    assert fit_normalisation(ranges, sigmas, "scan").apply((7, 70), 1) == (7, 70)


@given(ranges=st.lists(st.floats(1, 1e4), min_size=1, max_size=6), sigma=st.floats(1e-3, 1e3))
def test_by_noise_equally_noisy_scans_are_scaled_alike(ranges: list[float], sigma: float) -> None:
    rule = fit_normalisation([(0, scale) for scale in ranges], [sigma] * len(ranges), "noise")
    scales = [rule.apply((3, scale), sigma)[1] for scale in ranges]
    assert scales == pytest.approx([np.median(ranges)] * len(ranges))
    assert rule.apply((3, 7 * ranges[0]), 7 * sigma) == (3, pytest.approx(7 * scales[0]))  # in any unit


def test_by_noise_no_scan_is_scaled_much_further_from_its_range_than_the_training_scans() -> None:
    rule = fit_normalisation([(0, 10), (0, 30)], [1, 2], "noise")
    assert rule.apply((0, 10), 100)[1] == pytest.approx(10 * rule.most)
    assert rule.apply((0, 10), 0)[1] == pytest.approx(10 * rule.least)
    assert 0.3 < rule.least < 1 < rule.most < 3


def test_scans_without_noise_take_their_own_range() -> None:
    assert fit_normalisation([(0, 10), (2, 30)], [0, 0], "noise").apply((2, 30), 0) == (2, 30)


def test_padding_far_below_the_image_does_not_squeeze_it() -> None:
    image = np.random.default_rng(0).normal(40, 20, (1, 100, 100)).astype(np.float32)
    padded = image.copy()
    padded[:, :, :50] = -3024
    plain, with_padding = measure_range(image), measure_range(padded)
    assert with_padding == pytest.approx(plain, rel=0.2)
