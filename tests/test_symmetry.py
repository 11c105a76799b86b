import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffdenoise.symmetry import SYMMETRIES, over_symmetries, takes_little, turned, turned_back, turns_that_take_little

X = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


def test_they_are_eight_and_can_be_undone() -> None:
    square = X[..., :5]
    for turn in range(SYMMETRIES):
        assert torch.equal(turned_back(turned(X, turn), turn), X)
        assert all(not torch.equal(turned(square, turn), turned(square, other)) for other in range(turn))


def test_what_treats_all_sides_alike_gains_nothing() -> None:
    torch.testing.assert_close(over_symmetries(lambda x: x**2, X), X**2)


def test_the_mean_itself_treats_all_sides_alike() -> None:
    shifted = lambda x: torch.roll(x, 1, dims=3)  # noqa: E731
    mean: Tensor = over_symmetries(shifted, X)
    for turn in range(SYMMETRIES):
        torch.testing.assert_close(over_symmetries(shifted, turned(X, turn)), turned(mean, turn))


@pytest.mark.parametrize(("turns", "alike"), [(1, {0}), (2, {0, 2}), (4, {0, 1, 2, 3}), (8, set(range(8)))])
def test_a_mean_over_fewer_treats_those_alike(turns: int, alike: set[int]) -> None:
    """Each of them is a group: what is turned by one of its own is seen in the same turns."""
    mean = over_symmetries(_moved, X, turns)
    again = [over_symmetries(_moved, turned(X, turn), turns) for turn in range(SYMMETRIES)]
    same = {turn for turn, got in enumerate(again) if _are_close(got, turned(mean, turn))}
    assert same == alike


def _moved(x: Tensor) -> Tensor:
    """By a knight's move, which looks another way in each of the eight turns."""
    return torch.roll(x, (1, 2), dims=(2, 3))


def _are_close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_further_passes_take_a_quarter_of_a_training_at_most_and_the_first_half(pixels: int, trained: int) -> None:
    back_and_forth = 3 * trained  # a training step: one pass, and twice its work back
    assert takes_little(pixels, trained, 7) == (4 * 7 * pixels <= back_and_forth)
    turns = turns_that_take_little(pixels, trained)
    assert (turns >= 2) == (2 * pixels <= back_and_forth)
    assert (turns >= 4) == (4 * 3 * pixels <= back_and_forth)
    assert (turns >= 8) == (4 * 7 * pixels <= back_and_forth)
