from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.far_out import limits_of
from diffdenoise.inference import denoise_slices, domain_of
from diffdenoise.model import Model
from diffdenoise.model_file import load_model
from diffdenoise.normalisation import Mode, Normalisation, measure_range
from diffdenoise.presets import make_config
from tests.conftest import noisy_disks

SIGMA = 0.05


@pytest.fixture(scope="module")
def model(smoke_model: Path) -> Model:
    return load_model(smoke_model)


def tamed(pixels: np.ndarray) -> np.ndarray:
    return limits_of(pixels, measure_range(pixels), SIGMA).tamed(pixels)


@given(seed=st.integers(0, 99), offset=st.sampled_from([-1e3, 0.0, 1e4]), scale=st.sampled_from([0.01, 1.0, 4e4]))
def test_of_an_ordinary_scan_nothing_is_changed(seed: int, offset: float, scale: float) -> None:
    pixels = (offset + scale * noisy_disks(seed=seed)).astype(np.float32)
    assert tamed(pixels) is pixels


@given(st.sampled_from([-1e6, -5.0, 5.0, 65e3]), st.integers(0, 39), st.integers(0, 47))
def test_a_hot_or_dead_pixel_is_shown_as_those_beside_it(value: float, row: int, column: int) -> None:
    pixels = noisy_disks()
    hot = pixels.copy()
    hot[1, row, column] = value
    shown = tamed(hot)
    assert abs(shown[1, row, column] - pixels[1, row, column]) < 1
    shown[1, row, column] = hot[1, row, column]
    np.testing.assert_array_equal(shown, hot)


def test_padding_is_shown_as_the_dark_end_and_a_masked_background_is_left() -> None:
    pixels = noisy_disks()
    padded = pixels.copy()
    padded[:, :, :10] = -32768
    shown, (dark, _) = tamed(padded), measure_range(padded)
    np.testing.assert_allclose(shown[:, :, :10], dark)
    np.testing.assert_array_equal(shown[:, :, 10:], pixels[:, :, 10:])
    masked = np.where(np.arange(48) < 10, 0, pixels + 0.2).astype(np.float32)
    masked[:, 10, 20:30] = 0.01  # as dark as the mask: there is no gap between it and the scan
    assert tamed(masked).min() == 0


@pytest.mark.parametrize("most", [2.0, 4.0, 6.0])
def test_places_without_a_count_are_no_padding(most: float) -> None:
    counts = np.random.default_rng(0).poisson(0.5 + most * noisy_disks(sigma=0).clip(0)).astype(np.float32)
    limits = limits_of(counts, measure_range(counts), float(np.sqrt(most)))
    assert limits.padding is None
    assert limits.tamed(counts) is counts


@pytest.mark.parametrize("mode", ["fixed", "noise", "scan"])
def test_a_scan_of_few_counts_is_shown_as_it_was_in_the_fit(model: Model, mode: Mode) -> None:
    """Whatever it is scaled by, its noise says what may be padding."""
    counts = np.random.default_rng(0).poisson(4.0, (2, 96, 96)).astype(np.float32)
    limits = domain_of(replace(model, normalisation=Normalisation(mode)), counts).limits
    assert limits is not None
    assert limits.padding is None


def test_an_area_that_is_brighter_is_cut_off_only_where_it_is_small() -> None:
    pixels = np.tile(noisy_disks(), (10, 2, 2))
    metal, bladder = pixels.copy(), pixels.copy()
    metal[4, 10:18, 10:18] = 50  # 0.03 % of all
    bladder[:, 10:18, 10:18] += 5
    assert 2 < tamed(metal)[4, 14, 14] < 10
    np.testing.assert_array_equal(tamed(bladder), bladder)


@pytest.mark.parametrize("sampler", ["student", "srds"])
def test_what_is_far_out_comes_back_as_it_is_and_spoils_nothing_around(model: Model, sampler: str) -> None:
    pixels = noisy_disks()
    spoilt = pixels.copy()
    spoilt[1, 20, 20] = 65000
    before, after = (denoise_slices(model, x, sampler) for x in (pixels, spoilt))  # type: ignore[arg-type]
    assert after.pixels[1, 20, 20] == 65000
    after.pixels[1, 20, 20] = before.pixels[1, 20, 20]
    np.testing.assert_allclose(after.pixels, before.pixels, atol=SIGMA)
    if sampler == "srds":
        assert after.spread is not None
        assert after.spread[1, 20, 20] == 0


def test_it_comes_back_as_it_is_where_a_floor_is_taken_off(model: Model) -> None:
    config = make_config("fast", {"noise_floor": "remove", "sigma": 0.1})
    spoilt = np.abs(noisy_disks())
    spoilt[1, 20, 20] = 60
    result = denoise_slices(replace(model, config=config), spoilt, "student")
    assert result.magnitude is not None
    assert result.pixels[1, 20, 20] == result.magnitude[1, 20, 20] == 60


def test_padding_comes_back_to_the_last_bit(model: Model) -> None:
    padded = noisy_disks()
    padded[:, :, :10] = -32768
    result = denoise_slices(model, padded, "student").pixels
    np.testing.assert_array_equal(result[:, :, :10], padded[:, :, :10])
    assert result[:, :, 10:].min() > -1
