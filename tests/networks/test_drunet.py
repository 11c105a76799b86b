import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.networks.drunet import DRUNet
from diffdenoise.tiling import HALO


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([4, 8, 16]))
def test_any_size_and_width_comes_back(height: int, columns: int, width: int) -> None:
    x = torch.randn(1, 1, height, columns)
    assert DRUNet(width=width).eval()(x).shape == x.shape


def test_it_corrects_the_first_image_that_it_sees() -> None:
    network = DRUNet(seen=3, width=4).eval()
    torch.nn.init.zeros_(network.tail.weight)
    torch.nn.init.zeros_(network.tail.bias)
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(network(x), x[:, :1])


def test_it_sees_no_further_than_tiles_overlap() -> None:
    network = DRUNet(width=4).double().eval()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)
    x = torch.randn(1, 1, 8, 400, dtype=torch.float64)
    changed = x.clone()
    changed[..., 200:] += 100
    with torch.no_grad():
        same = (network(x) == network(changed)).all(dim=(0, 1, 2))
    assert same[: 200 - HALO].all()
    assert not same[199]


def test_unequal_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels"):
        DRUNet(encoder=(1, 1), decoder=(1,))
