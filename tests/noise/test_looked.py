import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.noise.looked import FEWEST, MOST_PIXELS, look, some_of, some_places

MEGAPIXEL = 2**20


@given(st.integers(1, 5000), st.integers(0, 10**9))
def test_some_are_looked_at_one_of_each_few_that_follow_one_another(count: int, size: int) -> None:
    some = some_of(count, size)
    few = max(1, min(round(size / MOST_PIXELS), count // FEWEST))
    assert list(some // few) == list(range(-(-count // few)))
    np.testing.assert_array_equal(some, some_of(count, size))


@pytest.mark.parametrize("shape", [(20, 1000, 1000), (10, 900, 900), (40, 768, 768), (3, 1000, 1000)])
def test_a_volume_does_not_rest_on_one_slice_or_two(shape: tuple[int, ...]) -> None:
    assert len(look(np.zeros(shape, np.uint8)).x) >= min(FEWEST, shape[0])


def test_of_a_series_no_place_is_left_out() -> None:
    """Forty places, as many frames as make every fortieth slice enough: always the same place, taken in turn."""
    places, frames = 40, 61
    seen = some_of(places * frames, places * frames * 128**2) % places
    assert len(np.unique(seen)) > places / 2


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(4, 1024, 1024), (1, 2048, 2048), (1, 2500, 2048), (3, 300, 4000)]
)
def test_of_large_slices_all_parts_are_seen(count: int, rows: int, columns: int) -> None:
    looked = look(np.zeros((count, rows, columns), np.uint8))
    assert looked.x.size < 1.5 * MOST_PIXELS
    for axis, tolerance in ((looked.rows, 0.3), (looked.columns, 0.3)):
        assert axis.min() < -1 + tolerance
        assert axis.max() > 1 - tolerance
        assert abs(np.mean(axis)) < 0.3


def test_a_part_is_where_it_is_said_to_be() -> None:
    ramp = np.add.outer(np.linspace(0, 1, 1100), np.linspace(0, 10, 1300))[None].astype(np.float32)
    looked = look(ramp)
    place = np.add(looked.rows[:, :, None] / 2 + 0.5, (looked.columns[:, None] / 2 + 0.5) * 10)
    np.testing.assert_allclose(looked.x, place, atol=0.02)


@given(size=st.integers(1, 5000), most=st.integers(1, 400))
def test_places_are_spread_over_all_and_no_more_than_twice_as_many_as_wanted(size: int, most: int) -> None:
    places = np.arange(size)[some_places(size, most)]
    assert (np.diff(places) > 0).all()
    assert min(size, most) <= len(places) < 2 * most + 1
    gaps = np.diff([-1, *places, size])
    assert gaps.max() <= max(2, 2 * (size // most))
