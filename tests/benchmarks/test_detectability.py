import numpy as np
import pytest

from benchmarks.detectability import contrast, observe

PLACE = ROW, COLUMN = 24, 24


def phantom(strength: float, seed: int = 0, count: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(present, absent, insert): noise of 1, a disk of 3 pixels' radius."""
    noise = np.random.default_rng(seed).normal(size=(2, count, 48, 48))
    rows, columns = np.indices((48, 48))
    insert = strength * (np.hypot(rows - ROW, columns - COLUMN) < 3)
    return noise[0] + insert, noise[1], insert


def test_a_strong_insert_is_seen() -> None:
    present, absent, _ = phantom(2.0)
    assert observe(present, absent, PLACE)["auc"] > 0.97


def test_where_there_is_nothing_nothing_is_seen() -> None:
    found = [observe(*phantom(0.0, seed)[:2], PLACE) for seed in range(20)]
    assert np.mean([one["auc"] for one in found]) == pytest.approx(0.5, abs=0.06)  # an observer tested on what it
    assert np.mean([one["interval"][0] < 0.5 for one in found]) > 0.8  # learned from would see something


def test_several_places_are_the_mean_of_each() -> None:
    present, absent, _ = phantom(0.6)
    places = np.array([PLACE, (16, 31)])
    alone = [observe(present, absent, place)["auc"] for place in places]
    together = observe(present, absent, places)
    assert together["auc"] == pytest.approx(np.mean(alone))
    assert alone[0] > alone[1] + 0.2  # where there is nothing nothing is seen
    assert together["interval"][0] < together["auc"] < together["interval"][1]


def test_contrast_is_what_is_left_of_it() -> None:
    _, absent, insert = phantom(1.0)
    assert contrast(absent + 0.4 * insert, absent, insert) == pytest.approx(0.4)
