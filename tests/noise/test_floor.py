import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise.floor import inverse_of, without_floor
from diffdenoise.noise.rician import moments


@given(signal=st.floats(0.05, 100), sigma=st.floats(1e-3, 1e3))
def test_the_floor_is_taken_off_the_mean(signal: float, sigma: float) -> None:
    quarter = signal**2 / 4
    from scipy.special import i0e, i1e

    mean = sigma * np.sqrt(np.pi / 2) * ((1 + 2 * quarter) * i0e(quarter) + 2 * quarter * i1e(quarter))
    assert without_floor(np.array([mean]), sigma)[0] == pytest.approx(sigma * signal, abs=0.03 * sigma)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20), st.floats(0.01, 10))
def test_taking_the_floor_off_keeps_the_order_and_adds_nothing(values: list[float], sigma: float) -> None:
    magnitude = np.sort(np.array(values))
    signal = without_floor(magnitude, sigma)
    assert (np.diff(signal) >= -1e-9).all()
    assert (signal >= 0).all()
    assert (signal <= magnitude).all()
    assert (signal[magnitude <= sigma * np.sqrt(np.pi / 2)] == 0).all()
    assert (magnitude - signal <= 1.26 * sigma).all()


def estimated(signal: np.ndarray, error: float) -> np.ndarray:
    """What a denoiser may make of it: the mean magnitude, sigma 2, off by so many sigma."""
    table, mean, *_ = moments()
    off = error * np.random.default_rng(0).standard_normal(signal.shape)
    return 2 * (np.interp(signal / 2, table, mean) + off)


@pytest.mark.parametrize("error", [0.05, 0.1, 0.2])
def test_an_empty_background_turns_black_and_signal_stays(error: float) -> None:
    signal = np.zeros((1, 200, 400))
    signal[..., 200:] = 2 * np.linspace(2, 15, 200)
    estimates = estimated(signal, error)
    inverted = inverse_of(estimates, 2.0)(estimates[0])
    plain = without_floor(estimates[0], 2.0)
    assert (inverted[:, :190] ** 2).mean() < 0.05 * (plain[:, :190] ** 2).mean()
    for left, right in ((210, 300), (300, 400)):
        errors = [(image - signal[0])[:, left:right] for image in (inverted, plain)]
        assert (errors[0] ** 2).mean() < 1.1 * (errors[1] ** 2).mean()
        assert abs(errors[0].mean()) < 0.05 * 2


def test_what_the_image_holds_tells_how_strong_a_signal_may_be_that_was_estimated_to_be_none() -> None:
    signal = np.zeros((1, 200, 400))
    signal[..., 200:] = 2 * np.random.default_rng(1).uniform(0.6, 1.4, (200, 200))  # bone, say
    estimates = estimated(signal, 0.04)  # of an empty place, about which there is little doubt
    estimates[..., 200:] = estimated(signal, 0.2)[..., 200:]
    values = inverse_of(estimates, 2.0)(estimates[0]), without_floor(estimates[0], 2.0)
    best, plain = (of[:, 210:] for of in values)
    assert np.square(best - signal[0, :, 210:]).mean() < 0.6 * np.square(plain - signal[0, :, 210:]).mean()
    assert best[plain == 0].mean() > 0.5


def test_weak_signal_amid_tissue_is_not_taken_for_empty() -> None:
    """A few dark pixels far from the background, of 1.2 sigma."""
    signal = np.zeros((1, 120, 240))
    signal[..., 100:] = 16
    signal[0, 50:56, 160:166] = 2.4
    estimates = estimated(signal, 0.1)
    inverted = inverse_of(estimates, 2.0)(estimates[0])
    assert inverted[50:56, 160:166].mean() == pytest.approx(2.4, abs=0.25)


def test_a_wide_place_of_signal_too_weak_to_be_told_pixel_by_pixel_is_not_taken_for_empty() -> None:
    signal = np.zeros((1, 200, 400))
    signal[..., 280:] = 2 * 0.6  # lifts magnitudes by less than they are off
    estimates = estimated(signal, 0.15)
    inverted = inverse_of(estimates, 2.0)(estimates[0])
    assert inverted[20:-20, 300:-20].mean() > 0.5 * 2 * 0.6
    assert inverted[20:-20, 20:260].mean() < 0.2


def test_without_a_background_the_floor_is_taken_off_as_ever() -> None:
    estimates = estimated(np.linspace(4, 30, 40_000).reshape(1, 200, 200), 0.1)
    assert np.array_equal(inverse_of(estimates, 2.0)(estimates[0]), without_floor(estimates[0], 2.0))


def test_it_keeps_the_order_in_an_even_place() -> None:
    estimates = estimated(np.zeros((1, 200, 200)), 0.1)
    rising = np.repeat(np.linspace(0, 40, 500), 20)[None].repeat(20, 0)
    assert (np.diff(inverse_of(estimates, 2.0)(rising)[10][::20]) >= -1e-3).all()
