from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from diffdenoise.noise.estimate import level_of
from diffdenoise.series import Components, components_of, noise_of_series

FRAMES, SIZE = 12, (4, 40, 48)


def white(deviation: float, seed: int, frames: int = FRAMES) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, deviation, (frames, *SIZE)).astype(np.float32)


def anatomy(seed: int = 0) -> np.ndarray:
    rough = np.random.default_rng(seed).standard_normal(SIZE)
    return (1 + gaussian_filter(rough, (0, 2, 2))).astype(np.float32)


def found(series: np.ndarray) -> Components:
    return components_of(series.reshape(-1, *series.shape[2:]), len(series))


@given(frames=st.integers(2, 9), seed=st.integers(0, 1000))
def test_what_goes_there_comes_back(frames: int, seed: int) -> None:
    series = anatomy(seed) + white(0.3, seed, frames)
    components = found(series)
    np.testing.assert_allclose(components.rows @ components.rows.T, np.eye(frames), atol=1e-5)
    np.testing.assert_allclose(components.back(components.of(series)), series, atol=1e-4)


def test_noise_stays_as_strong_as_it_is_said_to_become() -> None:
    deviations = np.linspace(0.1, 0.5, FRAMES, dtype=np.float32)[:, None, None, None]
    components, n = found(anatomy() + white(0.2, 0)), deviations * white(1, 1)
    expected = components.spread(np.broadcast_to(deviations**2, n.shape))
    np.testing.assert_allclose(components.of(n).var((1, 2, 3)), expected[:, 0, 0, 0], rtol=0.06)
    even = np.full((FRAMES, 1), 0.04, np.float32)
    np.testing.assert_allclose(components.spread(even), even, rtol=1e-5)
    np.testing.assert_allclose(components.spread_back(even), even, rtol=1e-5)


def test_errors_of_components_are_errors_of_frames() -> None:
    components, errors = found(anatomy() + white(0.2, 0)), white(1, 1)
    deviations = np.linspace(0.1, 0.5, FRAMES, dtype=np.float32)[:, None, None, None]
    expected = components.spread_back(np.broadcast_to(deviations**2, errors.shape))[:, 0, 0, 0]
    np.testing.assert_allclose(components.back(deviations * errors).var((1, 2, 3)), expected, rtol=0.06)


@pytest.mark.parametrize("courses", [1, 2, 3])
def test_what_frames_share_is_gathered_in_as_many_components_as_it_has_courses(courses: int) -> None:
    random = np.random.default_rng(0)
    signal = sum(np.multiply.outer(random.uniform(0.5, 1.5, FRAMES), anatomy(seed)) for seed in range(courses))
    components = found((signal + white(0.2, 1)).astype(np.float32))
    assert components.signal == courses
    of_signal = components.of(signal)
    assert (of_signal[courses:] ** 2).sum() < 1e-3 * (signal**2).sum()
    assert of_signal[0].mean() > 0  # no negative of it
    assert (of_signal[0] ** 2).sum() > 0.9 * (signal**2).sum()


def test_a_change_that_is_weak_but_extended_is_found_behind_the_anatomy() -> None:
    """In the plain sum over pixels it is a hundredth of the noise."""
    course = (np.arange(FRAMES) % 4 < 2).astype(np.float32)
    extended = np.zeros(SIZE, np.float32)
    extended[:, 10:18, 10:18] = 0.25
    change = np.multiply.outer(course - course.mean(), extended)
    components = found(anatomy() + change + white(0.4, 0))
    share = np.square(components.of(change)).sum((1, 2, 3)) / np.square(change).sum()
    assert share[:3].sum() > 0.8
    assert components.signal >= 2


def test_of_one_pixels_noise_the_components_know_next_to_nothing() -> None:
    series, other = anatomy() + white(0.3, 0), anatomy() + white(0.3, 0)
    other[3, 1, 20, 20] += 0.9
    change = found(other).rows @ found(series).rows.T
    assert np.abs(np.diag(change)[0]) == pytest.approx(1, abs=1e-5)
    assert np.abs(change[0, 1:]).max() < 2e-3


def test_learned_from_are_components_those_with_signal_and_frames_each_as_often() -> None:
    components = found(anatomy() + white(0.3, 0))
    rows = components.to_learn_from()
    assert rows.shape == (3 * FRAMES, FRAMES)
    np.testing.assert_allclose(np.square(rows).sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(rows[:FRAMES], components.rows)
    assert all(any((row == one).all() for one in components.rows[: components.signal]) for row in rows[FRAMES:-FRAMES])
    np.testing.assert_array_equal(rows[-FRAMES:], np.eye(FRAMES))


def test_frames_without_any_difference_or_any_content_are_borne() -> None:
    for series in (np.zeros((3, *SIZE), np.float32), np.ones((3, *SIZE), np.float32)):
        components = found(series)
        np.testing.assert_allclose(components.back(components.of(series)), series, atol=1e-5)


def test_the_noise_is_measured_where_nothing_changes_with_time() -> None:
    """What changes from frame to frame passes for noise in their differences, not here."""
    random = np.random.default_rng(0)
    change = np.multiply.outer(random.standard_normal(FRAMES), 0.5 * random.standard_normal(SIZE))
    series = ((3 + anatomy() + change) + white(0.1, 1)).astype(np.float32)
    looked = noise_of_series(series.reshape(-1, *SIZE[1:]), FRAMES)
    assert looked is not None
    assert looked.pure
    assert level_of(looked).sigma == pytest.approx([0.1] * len(level_of(looked).sigma), rel=0.1)
    weights = found(series).rows[-1] ** 2
    assert looked.brightness.mean() == pytest.approx(np.tensordot(weights, series, 1).mean(), rel=0.02)


def test_where_every_component_holds_signal_it_is_not() -> None:
    random = np.random.default_rng(0)
    series = sum(np.multiply.outer(random.uniform(0.5, 1.5, 5), anatomy(seed)) for seed in range(5)) + white(0.01, 0, 5)
    assert noise_of_series(series.astype(np.float32).reshape(-1, *SIZE[1:]), 5) is None


@pytest.mark.parametrize(("frames", "of"), [(slice(12, 20), None), ([3, 4], None), ([3, 7, 11, 15], [2, 6, 10, 14])])
def test_frames_that_are_empty_or_repeated_do_not_make_the_noise_weaker(
    frames: slice | list[int], of: list[int] | None
) -> None:
    """As of a run that was broken off and padded with zeros."""
    series = (3 + anatomy() + white(0.1, 1, 20)).astype(np.float32)
    series[frames] = 0 if of is None else series[of]
    looked = noise_of_series(series.reshape(-1, *SIZE[1:]), 20)
    assert looked is not None
    assert level_of(looked).sigma == pytest.approx([0.1] * len(level_of(looked).sigma), rel=0.15)
