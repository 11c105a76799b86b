import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffdenoise.symmetry import SYMMETRIES, over_symmetries, takes_little, turned, turned_back

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


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_the_seven_further_passes_are_to_take_a_quarter_of_a_training_at_most(pixels: int, trained: int) -> None:
    back_and_forth = 3 * trained  # a training step: one pass, and twice its work back
    assert takes_little(pixels, trained) == (4 * 7 * pixels <= back_and_forth)
