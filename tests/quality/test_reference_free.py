import numpy as np
import pytest

from diffdenoise.quality import reference_free
from diffdenoise.quality.reference_free import worst_bias


def images() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    clean = random.random((2, 1, 100)) * np.ones((2, 100, 100))
    return clean + 0.1 * random.standard_normal(clean.shape), clean


def test_taking_only_noise_away_shifts_nothing() -> None:
    noisy, clean = images()
    assert worst_bias(noisy, clean) < 0.1


@pytest.mark.parametrize("spoil", [lambda x: 0.8 * x, lambda x: x + 0.1, lambda x: np.minimum(x, 0.85)])
def test_a_shift_at_some_brightness_is_seen(spoil) -> None:
    noisy, clean = images()
    assert worst_bias(noisy, spoil(clean)) > 0.5


def test_nothing_removed_is_no_bias() -> None:
    noisy, _ = images()
    assert worst_bias(noisy, noisy) == 0
    assert worst_bias(np.zeros((1, 2, 2)), np.ones((1, 2, 2))) == 0


def test_a_masked_background_does_not_raise_an_alarm() -> None:
    noisy, clean = images()
    noisy[:, :60], clean[:, :60] = 0.0, 1e-3 * np.random.default_rng(1).random((2, 60, 100))
    assert worst_bias(noisy, clean) < 0.1


def test_a_shift_too_small_to_see_is_none() -> None:
    _, clean = images()
    noisy = clean + 1e-3 * np.random.default_rng(2).standard_normal(clean.shape)
    assert worst_bias(noisy, clean + 2e-3) == 0


def test_a_shift_is_seen_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every k-th pixel, the same columns of each row might be all that is looked at."""
    clean = np.random.default_rng(0).random((20, 64, 64))
    noisy = clean + 0.02 * np.random.default_rng(1).standard_normal(clean.shape)
    shifted = clean.copy()
    shifted[..., 3:] += 0.1
    monkeypatch.setattr(reference_free, "MOST_PIXELS", clean.size // 64)
    assert worst_bias(noisy, shifted) > 0.5
    assert worst_bias(noisy, clean) < 0.5
