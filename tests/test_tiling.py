import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffdenoise.tiling import tiled


@settings(max_examples=25)
@given(rows=st.integers(1, 90), columns=st.integers(1, 90), tile=st.integers(8, 40))
def test_tiles_with_a_wide_enough_halo_change_nothing(rows: int, columns: int, tile: int) -> None:
    torch.manual_seed(0)
    kernel = torch.randn(1, 2, 5, 5)
    function = lambda x, y: F.conv2d(torch.cat([x, y], 1), kernel, padding=2)  # noqa: E731
    x, y = torch.randn(2, 1, 1, rows, columns)
    torch.testing.assert_close(tiled(function, x, y, tile=tile, halo=4), function(x, y), rtol=1e-4, atol=1e-4)


def test_a_halo_too_narrow_shows() -> None:
    kernel = torch.randn(1, 1, 5, 5)
    function = lambda x: F.conv2d(x, kernel, padding=2)  # noqa: E731
    x = torch.randn(1, 1, 60, 60)
    assert not torch.allclose(tiled(function, x, tile=20, halo=1), function(x), atol=1e-3)


def blocky(x: torch.Tensor) -> torch.Tensor:
    """The mean over 7 x 7 blocks: what networks with a grid do."""
    rows, columns = x.shape[-2:]
    padded = F.pad(x, (0, -columns % 7, 0, -rows % 7))
    return F.interpolate(F.avg_pool2d(padded, 7), scale_factor=7)[..., :rows, :columns]


def test_tiles_begin_on_the_grid_of_the_network() -> None:
    x = torch.randn(1, 1, 71, 84)
    torch.testing.assert_close(tiled(blocky, x, tile=20, halo=3, alignment=7), blocky(x))
    assert not torch.allclose(tiled(blocky, x, tile=20, halo=3), blocky(x))
