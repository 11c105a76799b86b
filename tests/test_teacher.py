import pytest

from diffdenoise.teacher import choose_slices


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ([3, 2], None, [[0, 1, 2], [0, 1]]),
        ([3, 2], 99, [[0, 1, 2], [0, 1]]),
        ([5], 3, [[0, 2, 4]]),
        ([1, 1, 8], 1, [[0], [], []]),
    ],
)
def test_teacher_slices_are_spread_evenly(counts: list[int], most: int | None, expected: list[list[int]]) -> None:
    assert choose_slices(counts, most) == expected
