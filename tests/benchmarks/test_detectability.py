import numpy as np
import pytest

from benchmarks.detectability import auc, contrast, observe

PLACE = ROW, COLUMN = 24, 24


def phantom(strength: float, seed: int = 0, count: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(present, absent, insert): noise of 1, a disk of 3 pixels' radius."""
    noise = np.random.default_rng(seed).normal(size=(2, count, 48, 48))
    rows, columns = np.indices((48, 48))
    insert = strength * (np.hypot(rows - ROW, columns - COLUMN) < 3)
    return noise[0] + insert, noise[1], insert


def test_a_strong_insert_is_seen() -> None:
    present, absent, _ = phantom(2.0)
    assert observe(present, absent, PLACE).mean() > 0.97


def test_where_there_is_nothing_nothing_is_seen() -> None:
    found = [auc(observe(*phantom(0.0, seed)[:2], PLACE)) for seed in range(20)]
    assert np.mean([value for value, _ in found]) == pytest.approx(0.5, abs=0.06)  # an observer tested on what it
    assert np.mean([low < 0.5 for _, (low, _) in found]) > 0.8  # learned from would see something


def test_several_places_are_the_mean_of_each() -> None:
    present, absent, _ = phantom(0.6)
    places = np.array([PLACE, (16, 31)])
    alone = [auc(observe(present, absent, place))[0] for place in places]
    together, (low, high) = auc(observe(present, absent, places))
    assert together == pytest.approx(np.mean(alone))
    assert low < together < high
    assert alone[0] > alone[1] + 0.2  # where there is nothing nothing is seen


def test_two_methods_are_compared_image_by_image() -> None:
    present, absent, _ = phantom(0.6)
    before = observe(present, absent, PLACE)
    same, interval = auc(observe(2 * present + 1, 2 * absent + 1, PLACE) - before)
    assert (same, *interval) == (0, 0, 0)
    noise = 0.3 * np.random.default_rng(1).normal(size=(2, *present.shape))
    _, (low, high) = auc(observe(present + noise[0], absent + noise[1], PLACE) - before)
    assert high - low < 0.7 * np.ptp(auc(before)[1])


def test_contrast_is_what_is_left_of_it() -> None:
    _, absent, insert = phantom(1.0)
    assert contrast(absent + 0.4 * insert, absent, insert) == pytest.approx(0.4)
