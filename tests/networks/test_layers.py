import pytest
import torch

from diffdenoise.networks.layers import ResidualUNet, per_level, pointwise


def test_one_number_of_blocks_serves_all_levels() -> None:
    assert per_level(2, 3) == (2, 2, 2)
    assert per_level((1, 2, 3), 3) == (1, 2, 3)


def test_a_number_of_blocks_for_each_level_or_none() -> None:
    with pytest.raises(ValueError, match="levels"):
        ResidualUNet((4, 4, 4), blocks=(1, 2))


def test_blocks_per_level_count_going_down_and_going_up() -> None:
    network = ResidualUNet((4, 6, 8), blocks=(3, 2, 1))
    assert [len(stack) for stack in network.down_blocks] == [3, 2, 1]
    assert [len(stack) for stack in network.up_blocks] == [3, 2]
    assert network(torch.zeros(1, 4, 7, 5)).shape == (1, 4, 7, 5)


def test_pointwise_layers_keep_pixels_apart() -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(pointwise(3, 5, 2)(x)[0, :, 1, 2].sum(), x)
    gradient[..., 1, 2] = 0
    assert not gradient.any()
