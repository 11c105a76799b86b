import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise import normalisation
from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.normalisation import (
    Mode,
    Normalisation,
    fit_normalisation,
    measure_range,
    normalise,
    restore,
)


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


def rule_for(ranges: list[tuple[float, float]], sigmas: list[float], mode: Mode) -> Normalisation:
    return fit_normalisation(ranges, [constant_level(sigma) for sigma in sigmas], mode)


def test_fixed_numbers_serve_all_scans_and_scan_numbers_each() -> None:
    ranges, sigmas = [(0.0, 10.0), (2.0, 30.0), (4.0, 20.0)], [1.0, 1.0, 1.0]
    assert rule_for(ranges, sigmas, "fixed").apply((7, 70), constant_level(1)) == (2, 20)
    assert rule_for(ranges, sigmas, "scan").apply((7, 70), constant_level(1)) == (7, 70)


@given(ranges=st.lists(st.floats(1, 1e4), min_size=1, max_size=6), sigma=st.floats(1e-3, 1e3))
def test_by_noise_equally_noisy_scans_are_scaled_alike(ranges: list[float], sigma: float) -> None:
    rule = rule_for([(0, scale) for scale in ranges], [sigma] * len(ranges), "noise")
    scales = [rule.apply((3, scale), constant_level(sigma))[1] for scale in ranges]
    assert scales == pytest.approx([np.median(ranges)] * len(ranges))
    in_another_unit = rule.apply((3, 7 * ranges[0]), constant_level(7 * sigma))
    assert in_another_unit == (3, pytest.approx(7 * scales[0]))


def test_by_noise_no_scan_is_scaled_much_further_from_its_range_than_the_training_scans() -> None:
    rule = rule_for([(0, 10), (0, 30)], [1, 2], "noise")
    assert rule.apply((0, 10), constant_level(100))[1] == pytest.approx(10 * rule.most)
    assert rule.apply((0, 10), constant_level(0))[1] == pytest.approx(10 * rule.least)
    assert 0.3 < rule.least < 1 < rule.most < 3


def test_scans_without_noise_take_their_own_range() -> None:
    assert rule_for([(0, 10), (2, 30)], [0, 0], "noise").apply((2, 30), constant_level(0)) == (2, 30)


@given(st.lists(st.floats(0.95, 1.05), min_size=1, max_size=7), st.floats(0.2, 20), st.floats(-100, 100))
def test_scans_as_noisy_as_one_another_share_a_unit_however_their_level_was_measured(
    errors: list[float], counts: float, offset: float
) -> None:
    """Counting noise, and so stronger in brighter scans: the same where these are as bright."""
    brightness = np.linspace(0.5, 10 * counts, 12)
    of = lambda knots, error: NoiseLevel(tuple(knots + offset), tuple(error * np.sqrt(knots / counts)))  # noqa: E731
    noises = [of(brightness[: 12 - n], error) for n, error in enumerate(errors)]
    ranges = [(noise.knots[0] + 0.01 * n, noise.knots[-1] - noise.knots[0]) for n, noise in enumerate(noises)]
    rule = fit_normalisation(ranges, noises, "noise")
    for own, noise in zip(ranges, noises, strict=True):
        assert rule.apply(own, noise) == (rule.offset, rule.unit)
    one_outlier = replace(noises[0], sigma=(*noises[0].sigma[:-1], 3 * noises[0].sigma[-1]))
    assert rule.apply(ranges[0], one_outlier) == (rule.offset, rule.unit)
    louder = of(brightness, 2 * max(errors))
    assert rule.apply(ranges[0], louder) != (rule.offset, rule.unit)


@pytest.mark.parametrize(("times", "alike"), [(1.0, True), (1.08, True), (1.2, False), (0.8, False)])
def test_correlated_noise_is_believed_to_be_alike_where_white_noise_is_not(times: float, alike: bool) -> None:
    """For it is not measured as well."""
    rule = rule_for([(0, 10)], [1], "noise")
    assert rule.is_alike(constant_level(times)) == alike
    assert rule.is_alike(replace(constant_level(times), reach=2)) == (times > 0.8)


def test_an_empty_background_is_believed_where_it_alone_shows_noise_like_that_of_the_training_scans() -> None:
    rule = rule_for([(0, 10)], [1], "noise")
    like, strong, stronger = (constant_level(sigma) for sigma in (1.02, 2.0, 3.0))
    assert rule.believed(strong, like) is like
    assert rule.believed(like, strong) is like
    strong_where_bright = NoiseLevel((0, 5, 10), (1.0, 1.0, 3.0))
    assert rule.believed(strong_where_bright, like) is like
    assert rule.believed(strong, stronger) is strong
    assert rule.believed(strong, None) is strong
    assert rule_for([(0, 10)], [1], "fixed").believed(strong, like) is strong


@pytest.mark.parametrize(
    ("own", "common"), [((0, 10), True), ((-3, 20), True), ((-1024, 10), False), ((5000, 10), False), ((0, 100), False)]
)
def test_a_scan_that_is_as_noisy_but_not_about_as_bright_is_of_another_unit(
    own: tuple[float, float], common: bool
) -> None:
    """So that stored values without the 1024 that the others have, say, do not come out as if all were dark."""
    rule = rule_for([(0, 10)], [1], "noise")
    assert (rule.apply(own, constant_level(1))[0] == 0) == (common or own[0] == 0)
    assert (rule.apply(own, constant_level(1)) == rule.apply((0, 10), constant_level(1))) == common


def test_scans_of_other_units_are_scaled_each_by_its_noise() -> None:
    rule = rule_for([(0, 10), (100, 1000), (5, 1)], [1, 50, 0.02], "noise")
    noises = [constant_level(sigma) for sigma in (1, 50, 0.02)]
    scales = [rule.apply(own, noise)[1] for own, noise in zip([(0, 10), (100, 1000), (5, 1)], noises, strict=True)]
    assert [noise.loudest / scale for noise, scale in zip(noises, scales, strict=True)] == pytest.approx([0.05] * 3)


def test_a_rule_goes_through_json_and_what_makes_no_sense_is_refused() -> None:
    rule = rule_for([(0, 10), (0, 30)], [1, 1], "noise")
    stored = json.loads(json.dumps(asdict(rule)))
    assert Normalisation.of_dict(stored) == rule
    old = {name: stored[name] for name in ("mode", "offset", "scale", "least", "most")}
    assert Normalisation.of_dict(old).apply((3, 10), constant_level(1)) == (3, rule.scale)
    for wrong in (
        {"mode": "none"},
        {"unit": 0},
        {"sigma": [1]},
        {"knots": [2, 1], "sigma": [1, 1]},
        {"offset": np.nan},
    ):
        with pytest.raises(ValueError, match="normalisation"):
            Normalisation.of_dict(stored | wrong)


def test_padding_far_below_the_image_does_not_squeeze_it() -> None:
    image = np.random.default_rng(0).normal(40, 20, (1, 100, 100)).astype(np.float32)
    padded = image.copy()
    padded[:, :, :50] = -3024
    plain, with_padding = measure_range(image), measure_range(padded)
    assert with_padding == pytest.approx(plain, rel=0.2)


@pytest.mark.parametrize(("slices", "rows", "columns"), [(870, 36, 64), (31, 200, 50)])
def test_the_range_is_not_that_of_a_few_columns(
    slices: int, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many columns there are between the pixels that are looked at."""
    shape = (slices, rows, columns)
    body = np.random.default_rng(0).uniform(100, 900, shape).astype(np.float32)
    rim = np.minimum(np.arange(columns), np.arange(columns)[::-1]) < 3
    pixels = np.where(rim, body / 100, body)
    low, scale = measure_range(pixels)
    for apart in (columns // 2, columns, 2 * columns):
        monkeypatch.setattr(normalisation, "MOST_PIXELS", pixels.size // apart)
        assert measure_range(pixels) == pytest.approx((low, scale), rel=0.02, abs=2)
        assert measure_range(pixels) == measure_range(pixels.copy())
