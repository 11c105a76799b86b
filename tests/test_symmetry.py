import torch
from torch import Tensor

from diffdenoise.symmetry import SYMMETRIES, over_symmetries, turned, turned_back

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
