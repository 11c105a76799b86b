import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.networks.unet import ConditionalUNet, ImprovedDDPMUNet, time_embedding


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 30), st.integers(1, 30))
def test_any_size_comes_back(height: int, width: int) -> None:
    x = torch.randn(2, 1, height, width)
    assert ConditionalUNet(widths=(4, 4, 4))(x, x, torch.tensor([0, 999])).shape == x.shape


@pytest.mark.parametrize("size", [(32, 32), (33, 40)])
def test_the_papers_kind_of_network_takes_odd_sizes(size: tuple[int, int]) -> None:
    network = ImprovedDDPMUNet(widths=(32, 32), blocks=1)
    x = torch.randn(1, 1, *size)
    assert network(x, x, torch.tensor([3])).shape == x.shape


def test_time_and_condition_matter() -> None:
    network = ConditionalUNet(widths=(8, 8))
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)
    x, condition = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 8, 8)
    plain = network(x, condition, torch.tensor([10]))
    assert not torch.allclose(plain, network(x, condition, torch.tensor([900])))
    assert not torch.allclose(plain, network(x, condition + 1, torch.tensor([10])))


def test_time_embedding_tells_times_apart() -> None:
    embedded = time_embedding(torch.arange(1000), 64)
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(1000)
    assert distance.min() > 1e-3
