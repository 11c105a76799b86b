"""Which DICOM files belong together, and in which order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.scans.dicom_series import places_along_normal


@given(
    order=st.permutations([place for place in range(6) for _ in range(3)]),
    turn=st.floats(-3, 3),
    spacing=st.floats(0.05, 8),
    jitter=st.sampled_from([0.0, 1e-6, 1e-5, 5e-3]),
    far=st.floats(-300, 300),
)
def test_places_are_told_apart_whatever_the_last_digits_of_their_directions(
    order: list[int], turn: float, spacing: float, jitter: float, far: float
) -> None:
    signs = np.random.default_rng(0).choice([-1, 1], len(order))
    directions = [[1, 0, 0, 0, np.cos(turn + jitter * sign), np.sin(turn + jitter * sign)] for sign in signs]
    normal = np.array([0, -np.sin(turn + jitter * signs[0]), np.cos(turn + jitter * signs[0])])
    corners = [np.round(np.full(3, far) + place * spacing * normal, 4).tolist() for place in order]
    assert places_along_normal(directions, corners) == order


@pytest.mark.parametrize(
    ("direction", "corner"),
    [
        (None, (0, 0, 1)),
        ((1, 0, 0, 0, 0, 1), (0, 0, 1)),
        ((1, 0, 0, 0, 1, 0), (0, "x", 1)),
        ((1, 0, 0, 0, 1), (0, 0, 1)),
    ],
)
def test_one_that_is_not_known_or_not_parallel_tells_none(direction: object, corner: object) -> None:
    straight = (1, 0, 0, 0, 1, 0)
    assert places_along_normal([straight, straight], [(0, 0, 1), (0, 0, 0)]) == [1, 0]
    assert places_along_normal([straight, direction], [(0, 0, 0), corner]) is None
