import pytest
import torch

from diffdenoise.diffusion.target import ChainTarget


@pytest.mark.parametrize("chain", [ChainTarget("image"), ChainTarget("residual", 0.1)])
def test_decoding_undoes_encoding(chain: ChainTarget) -> None:
    x, x_c = torch.rand(2, 2, 1, 4, 4)
    torch.testing.assert_close(chain.decode(chain.encode(x, x_c), x_c), x)


def test_a_residual_of_zero_is_the_condition() -> None:
    x_c = torch.rand(1, 1, 4, 4)
    assert torch.equal(ChainTarget("residual", 0.1).decode(torch.zeros_like(x_c), x_c), x_c)
