import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.networks.nafnet import NAFBlock, NAFNet, local_mean, simple_gate


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([4, 8, 16]))
def test_any_size_and_width_comes_back(height: int, columns: int, width: int) -> None:
    x = torch.randn(1, 1, height, columns)
    assert NAFNet(width=width).eval()(x).shape == x.shape


def test_it_starts_close_to_the_identity() -> None:
    network = NAFNet(width=4).eval()
    torch.nn.init.zeros_(network.tail.weight)
    torch.nn.init.zeros_(network.tail.bias)
    x = torch.randn(1, 1, 16, 16)
    assert torch.equal(network(x), x)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30))
def test_local_mean_is_the_mean_of_the_window(height: int, width: int, window: int) -> None:
    x = torch.randn(1, 2, height, width, dtype=torch.float64)
    got = local_mean(x, window)
    reach = window // 2
    for row in range(height):
        for column in range(width):
            part = x[..., max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            assert torch.allclose(got.expand_as(x)[..., row, column], part.mean((2, 3)), atol=1e-6)


def test_what_is_far_away_does_not_matter_at_inference() -> None:
    network = NAFNet(width=4, encoder=(1,), decoder=(1,), crop=16).eval()
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.3)
    x = torch.randn(1, 1, 16, 300)
    changed = x.clone()
    changed[..., 250:] += 100
    with torch.no_grad():
        torch.testing.assert_close(network(x)[..., :100], network(changed)[..., :100], rtol=1e-4, atol=1e-4)


def test_unequal_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels"):
        NAFNet(encoder=(1, 1), decoder=(1,))


def test_a_branch_counts_as_much_as_its_weight_says_and_is_added_in_the_precision_of_its_convolutions() -> None:
    block = NAFBlock(4, window=8).double()
    for parameter in block.parameters():
        parameter.data.normal_()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    middle = x + block.beta * block.project(block.attention(simple_gate(block.spatial(x))))
    expected = middle + block.gamma * block.contract(simple_gate(block.expand(middle)))
    assert torch.allclose(block(x), expected)
    with torch.autocast("cpu", torch.bfloat16):  # in float32 a training step takes a tenth more time
        assert block.float()(x.bfloat16()).dtype == torch.bfloat16
