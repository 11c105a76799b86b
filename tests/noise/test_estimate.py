from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise import models
from diffdenoise.noise.estimate import NoiseLevel, _without_anatomy, constant_level, estimate_noise, scaled
from diffdenoise.noise.looked import MOST_PIXELS, look
from diffdenoise.noise.models import correlated, gaussian
from diffdenoise.noise.texture import correlation, draw, power, smoothed
from diffdenoise.noise.trend import rician_level
from diffdenoise.phantom import mni_slices


@pytest.mark.parametrize("sigma", [6, 15, 25, 50])
def test_white_noise_on_real_anatomy(sigma: float) -> None:
    clean = mni_slices(60, 6, 10)
    noise = sigma / 255 * np.random.default_rng(0).standard_normal(clean.shape)
    level = estimate_noise(clean + noise)
    assert level.typical * 255 == pytest.approx(sigma, rel=0.05)


def test_a_background_set_to_zero_does_not_count() -> None:
    random = np.random.default_rng(1)
    image = 0.1 * random.standard_normal((3, 400, 400)) + 1
    image[:, :, 150:] = 0
    assert estimate_noise(image).typical == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_a_strip_narrower_than_the_widest_spacing_has_the_level_of_its_noise(width: int) -> None:
    image = np.zeros((4, 400, 60))
    image[:, :, 20 : 20 + width] = 1 + 0.1 * np.random.default_rng(2).standard_normal((4, 400, width))
    level = estimate_noise(image)
    assert level.reach == 0
    assert level.typical == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_a_strip_of_correlated_noise_has_some_level(width: int) -> None:
    """Further than it is wide nothing can be seen; no noise at all would be wrong."""
    noise = correlated(torch.zeros(4, 400, width + 20), 0.1, 1.2, torch.Generator().manual_seed(0)).numpy()
    image = np.zeros((4, 400, 60), np.float32)
    image[:, :, 20 : 20 + width] = 1 + noise[:, :, :width]
    level = estimate_noise(image)
    assert level.reach < width
    assert 0.01 < level.typical < 0.2


def test_noise_that_grows_with_the_signal_is_seen_to_grow() -> None:
    random = np.random.default_rng(2)
    clean = np.broadcast_to(np.linspace(0.1, 1, 400), (2, 400, 400))
    level = estimate_noise(clean + np.sqrt(0.01 * clean) * random.standard_normal(clean.shape))
    brightness = np.array([0.2, 0.5, 0.9])
    np.testing.assert_allclose(level.variance(brightness), 0.01 * brightness, rtol=0.1)


@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-1e3, 1e3))
def test_it_scales_with_the_image_and_ignores_an_offset(scale: float, offset: float) -> None:
    image = np.random.default_rng(3).standard_normal((1, 64, 64))
    moved = estimate_noise((scale * image + offset).astype(np.float64)).typical
    assert moved == pytest.approx(scale * estimate_noise(image).typical, rel=0.02, abs=1e-4 * abs(offset))


@pytest.mark.parametrize("value", [1e3, 1e7, 1e14])
def test_a_failed_pixel_has_no_say(value: float) -> None:
    clean = mni_slices(40, 4, 8)
    noisy = gaussian(torch.from_numpy(clean), 0.1, torch.Generator().manual_seed(0)).numpy()
    before = estimate_noise(noisy)
    noisy[1, 40, 40] = noisy[2, 100, 90] = value
    np.testing.assert_allclose(estimate_noise(noisy).typical, before.typical, rtol=0.02)


@pytest.mark.parametrize("widths", [(0.8, 0.0), (0.0, 0.8), (1.2, 0.5)])
@pytest.mark.parametrize("subject", [(40, 20, 2), (80, 10, 2)])
def test_noise_that_is_correlated_more_one_way_than_the_other(
    widths: tuple[float, float], subject: tuple[int, int, int]
) -> None:
    clean, true = torch.from_numpy(mni_slices(*subject)), smoothed(*widths)
    level = estimate_noise((clean + 0.1 * draw(tuple(clean.shape), true, torch.Generator().manual_seed(0))).numpy())
    one_way = lambda texture: [correlation(texture)[1, 0], correlation(texture)[0, 1]]  # noqa: E731
    assert one_way(level.texture) == pytest.approx(one_way(true), abs=0.1)
    assert level.typical == pytest.approx(0.1, rel=0.11)


@pytest.mark.parametrize("image", [np.zeros((1, 8, 8)), np.full((2, 30, 30), 7.0), np.zeros((1, 1, 1))])
def test_a_constant_image_has_no_noise(image: np.ndarray) -> None:
    assert estimate_noise(image).typical == 0


@pytest.mark.parametrize("kind", ["rician", "gamma", "poisson"])
def test_the_variance_that_noisy_pixels_show_is_steins_kernel(kind: str) -> None:
    """E[n f(n)] = E[t f'(n)] up to f = n^3, which a network could take for signal; with v alone it does not hold."""
    generator, clean = torch.Generator().manual_seed(0), torch.full((1500, 1500), 0.2, dtype=torch.float64)
    noisy = {
        "rician": lambda: models.rician(0 * clean, 0.2, generator),
        "gamma": lambda: models.gamma(clean, 5, generator),
        "poisson": lambda: models.poisson(clean, 50, generator),
    }[kind]().numpy()
    mean = noisy.mean()
    n, around = noisy - mean, np.full_like(noisy, mean)
    deviation, skewness = n.std(), (n**3).mean() / n.std() ** 3
    excess = (n**4).mean() / deviation**4 - 3
    level = NoiseLevel((0.0,), (deviation,), skewness=(skewness,), excess=(excess,) if kind == "rician" else ())
    shown, plain = level.variance_of(noisy, around), replace(level, skewness=()).variance_of(noisy, around)
    assert shown.min() >= 0
    for k, f, slope in ((1, n, np.ones_like(n)), (2, n**2, 2 * n), (3, n**3, 3 * n**2)):
        assert (shown * slope).mean() == pytest.approx((n * f).mean(), abs=0.02 * k * deviation ** (k + 1))
    assert abs((plain * 2 * n).mean() - (n**3).mean()) > 0.25 * deviation**3
    shared = replace(level, reach=2, texture=smoothed(1.0))
    assert np.array_equal(shared.variance_of(noisy, around), plain)


def test_a_constant_level_is_the_same_at_every_brightness() -> None:
    assert np.array_equal(constant_level(2.0).variance(np.array([-5.0, 0.0, 9.0])), [4, 4, 4])


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0, 12.0])
@pytest.mark.parametrize("scale", [1.0, 1 / 255, 37.0])
def test_images_of_few_grey_levels(sigma: float, scale: float) -> None:
    noise = np.random.default_rng(4).normal(100, sigma, (2, 200, 200))
    expected = np.sqrt(sigma**2 + 1 / 12)
    assert estimate_noise(scale * np.round(noise)).typical == pytest.approx(scale * expected, rel=0.08)


@pytest.mark.parametrize(("width", "reach"), [(0.0, 0), (0.5, 1), (1.2, 3)])
@pytest.mark.parametrize("sigma", [6, 25])
def test_level_and_reach_of_correlated_noise(width: float, reach: int, sigma: float) -> None:
    clean, generator = torch.from_numpy(mni_slices(60, 6, 10)), torch.Generator().manual_seed(1)
    noisy = correlated(clean, sigma / 255, width, generator) if width else gaussian(clean, sigma / 255, generator)
    level = estimate_noise(noisy.numpy())
    assert level.reach == reach
    assert level.typical * 255 == pytest.approx(sigma, rel=0.06)


@pytest.mark.parametrize(("width", "reach"), [(0.0, 0), (0.5, 1), (1.2, 3)])
def test_weak_noise_on_fine_anatomy(width: float, reach: int) -> None:
    """Blobs of a few pixels in the middle: the level is that of the flat sides, darker and brighter."""
    from scipy.ndimage import gaussian_filter

    texture = gaussian_filter(np.random.default_rng(5).standard_normal((4, 200, 200)), (0, 2, 2))
    clean = np.select([np.arange(200) < 50, np.arange(200) >= 150], [0.1, 0.9], 0.5 + 0.6 * texture).astype(np.float32)
    noisy = correlated(torch.from_numpy(clean), 6 / 255, width, torch.Generator().manual_seed(1)).numpy()
    level = estimate_noise(noisy)
    assert level.reach == reach
    assert level.typical * 255 == pytest.approx(6, rel=0.08)


def test_a_hill_over_brightness_is_anatomy_but_a_slope_is_noise() -> None:
    errors = np.full(5, 0.01)
    assert _without_anatomy(np.array([6, 6, 9, 8, 6.0]), errors) == pytest.approx([6, 6, 6, 6, 6], rel=0.02)
    for slope in ([1, 2, 3, 4, 5.0], [5, 4, 3, 2, 1.5]):
        assert _without_anatomy(np.array(slope), errors) == pytest.approx(slope)
    ends = np.array([0.1, 6, 6, 6, 0.1])  # a masked background and saturated pixels
    assert _without_anatomy(ends, errors) == pytest.approx(ends)


def test_of_a_very_large_slice_a_part_is_looked_at() -> None:
    image = np.random.default_rng(6).normal(0, 3, (1, 1800, 1800))
    assert estimate_noise(image).typical == pytest.approx(3, rel=0.03)
    assert look(image).x.size < 1.5 * MOST_PIXELS


def test_what_correlation_hides_beyond_its_reach_is_made_up_for() -> None:
    noise = correlated(torch.zeros(15, 256, 256), 1.0, 1.2, torch.Generator().manual_seed(2)).numpy()
    assert estimate_noise(noise).typical == pytest.approx(1, rel=0.03)


def test_choosing_flat_places_in_small_images_does_not_favour_weak_noise() -> None:
    noise = np.random.default_rng(7).standard_normal((400, 24, 24))
    assert estimate_noise(noise).typical == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("shape", [(1, 3, 3), (1, 1, 50), (2, 9, 9)])
def test_tiny_images_have_some_answer(shape: tuple[int, int, int]) -> None:
    level = estimate_noise(np.random.default_rng(0).random(shape))
    assert np.isfinite(level.typical)


@pytest.mark.parametrize("width", [0.0, 0.5, 0.8, 1.2])
@pytest.mark.parametrize("sigma", [25, 50])
def test_the_kernel_is_as_wide_as_the_noise_was_made(width: float, sigma: int) -> None:
    clean = torch.from_numpy(mni_slices(60, 6, 10))
    level = estimate_noise(correlated(clean, sigma / 255, width, torch.Generator().manual_seed(2)).numpy())
    found, true = (power(texture, 64, 64) for texture in (level.texture, smoothed(width)))
    assert np.abs(found - true).mean() < 0.1  # 5 % of a width of 1.2


@given(times=st.floats(0.1, 3), offset=st.floats(-1, 1), sigma=st.floats(0.01, 0.5))
def test_noise_of_magnitudes_that_is_so_many_times_as_strong_has_its_own_curve(
    times: float, offset: float, sigma: float
) -> None:
    moved = lambda level: replace(level, knots=tuple(knot + offset for knot in level.knots))  # noqa: E731
    found, wanted = (moved(rician_level(s, constant_level(s))) for s in (sigma, times * sigma))
    found = scaled(found, times)
    assert found.knots == pytest.approx(wanted.knots, abs=1e-4 * sigma)
    assert found.sigma == pytest.approx(wanted.sigma)
    growing = NoiseLevel((0.0, 1.0), (0.1, 0.2), skewness=(0.0, 0.1))
    assert scaled(growing, times).knots == growing.knots  # how that grows is not set by how strong it is
