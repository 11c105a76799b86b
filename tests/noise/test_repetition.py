import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.noise.estimate import estimate_noise
from diffdenoise.noise.models import correlated, poisson, rician
from diffdenoise.noise.repetition import AROUND, is_repetition, repeated_around, repetitions
from diffdenoise.phantom import mni_slices

HEAD = torch.from_numpy(mni_slices(40, 4, 15))
FINE = HEAD[:, ::3, ::3]  # pixels of 3 mm: anatomy everywhere, as in echo-planar images


def noisy(clean: torch.Tensor, seed: int, sigma: float = 0.02, width: float = 0.0) -> np.ndarray:
    return correlated(clean, sigma, width, torch.Generator().manual_seed(seed)).numpy()


def test_repetitions_show_the_noise_where_a_single_image_shows_anatomy() -> None:
    a, b = noisy(FINE, 0, 0.01), noisy(FINE, 1, 0.01)
    assert max(estimate_noise(a).sigma) > 0.02  # else there is nothing to show here
    level = estimate_noise(a, again=b)
    assert level.sigma == pytest.approx([0.01] * len(level.sigma), rel=0.2)
    assert level.reach == 0


def test_the_reach_is_that_of_the_noise() -> None:
    level = estimate_noise(noisy(HEAD, 0, width=1.2), again=noisy(HEAD, 1, width=1.2))
    assert level.reach >= 2
    assert level.typical == pytest.approx(0.02, rel=0.1)


@settings(max_examples=16)
@given(st.sampled_from(("white", "1.2 px", "poisson", "rician")), st.integers(0, 99))
def test_the_same_object_imaged_twice_is_a_repetition(kind: str, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    simulate = {
        "white": lambda: correlated(HEAD, 0.1, 0, draw),
        "1.2 px": lambda: correlated(HEAD, 0.05, 1.2, draw),
        "poisson": lambda: poisson(HEAD, 100, draw),
        "rician": lambda: rician(HEAD, 0.06, draw),
    }[kind]
    assert is_repetition(simulate().numpy(), simulate().numpy())


@settings(max_examples=16)
@given(st.floats(0.3, 3), st.floats(-1, 1), st.floats(0, 0.1))
def test_one_image_processed_twice_is_none(gain: float, offset: float, shading: float) -> None:
    image = noisy(HEAD, 0)
    field = 1 + shading * np.linspace(-1, 1, image.shape[2], dtype=np.float32)
    assert not is_repetition(image, image)
    assert not is_repetition(image, gain * field * image + offset)


def test_neither_is_another_head_contrast_or_size() -> None:
    image, other = noisy(HEAD, 0), noisy(torch.from_numpy(mni_slices(90, 4, 5)), 1)
    assert not is_repetition(image, other)
    assert not is_repetition(image, 1 - noisy(HEAD, 1))
    assert repetitions([image, noisy(HEAD, 1)[:, 1:], noisy(HEAD, 2)[1:]]) is None
    assert repetitions([image]) is repetitions([]) is None
    assert not is_repetition(np.zeros((2, 40, 40)), np.ones((2, 40, 40)))
    assert not is_repetition(np.zeros((2, 4, 4)), np.ones((2, 4, 4)))


def test_of_many_frames_those_that_repeat_each_other_are_taken() -> None:
    one, two = (HEAD[:2], 1 - HEAD[:2])
    frames = [noisy(clean, seed) for seed, clean in enumerate((one, one, two, two, one))]
    found = repetitions(frames)
    assert found is not None
    assert np.array_equal(found[0], np.concatenate([frames[0], frames[2]]))
    assert np.array_equal(found[1], np.concatenate([frames[1], frames[3]]))


@settings(max_examples=16, deadline=None)
@given(st.text("ab", min_size=1, max_size=11), st.data())
def test_of_the_scans_around_one_those_count_that_repeat_it_without_a_gap(objects: str, data: st.DataObject) -> None:
    clean = {"a": HEAD[:1, 40:120, 40:120], "b": 1 - HEAD[:1, 40:120, 40:120]}
    scans = [noisy(clean[name], shot) for shot, name in enumerate(objects)]
    number = data.draw(st.integers(0, len(scans) - 1))
    found = repeated_around(number, lambda other: [scans[other]] if 0 <= other < len(scans) else [])
    first, last = number, number
    while first > max(0, number - AROUND) and objects[first - 1] == objects[number]:
        first -= 1
    while last < min(len(objects) - 1, number + AROUND) and objects[last + 1] == objects[number]:
        last += 1
    assert len(found) == last - first + 1
    assert all(one is two for one, two in zip(found, scans[first : last + 1], strict=True))


def test_of_a_series_beside_a_scan_the_nearest_frame_counts() -> None:
    frames = [noisy(HEAD[:1], shot) for shot in range(6)]
    scans = [frames[:1], frames[1:2], frames[2:4], frames[4:5], frames[5:]]
    found = repeated_around(1, lambda other: scans[other] if 0 <= other < len(scans) else [])
    assert all(one is two for one, two in zip(found, frames[:3], strict=True))
    of_series = repeated_around(2, lambda other: scans[other] if 0 <= other < len(scans) else [])
    assert all(one is two for one, two in zip(of_series, frames, strict=True))


def test_of_large_scans_those_next_to_one_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = [noisy(HEAD[:1], shot) for shot in range(7)]
    monkeypatch.setattr("diffdenoise.noise.repetition.MOST_PIXELS", scans[0].size)
    found = repeated_around(3, lambda other: [scans[other]] if 0 <= other < len(scans) else [])
    assert all(one is two for one, two in zip(found, scans[2:5], strict=True))
