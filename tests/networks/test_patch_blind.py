import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffdenoise.networks.blindness import check_blindness
from diffdenoise.networks.layers import ResidualUNet
from diffdenoise.networks.patch_blind import PatchBlindNetwork, from_phases, to_phases


def awake(network: nn.Module) -> nn.Module:
    """Blocks start as the identity; with random weights every path of the network counts."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("patch", [1, 3, 5, 9])
@pytest.mark.parametrize("training", [True, False])
def test_no_hidden_pixel_has_any_influence(patch: int, training: bool) -> None:
    network = awake(PatchBlindNetwork(patch=patch, widths=(4, 6), blocks=1)).train(training)
    report = check_blindness(network, patch)
    assert report.largest_hidden == 0.0
    assert report.seen > 0.03


def test_it_sees_the_pixel_right_beside_the_patch() -> None:
    network = awake(PatchBlindNetwork(patch=3, widths=(4, 4))).double()
    x = torch.randn(1, 1, 24, 24, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 12, 12], x)
    assert all(gradient[0, 0, 12 + i, 12 + j] != 0 for i, j in [(2, 0), (0, 2), (-2, 0), (0, -2), (2, 2)])


def test_a_larger_patch_than_the_network_hides_is_found_out() -> None:
    assert not check_blindness(awake(PatchBlindNetwork(patch=1, widths=(4, 4))), patch=3).blind


def test_an_enormous_pixel_leaves_its_own_output_bit_identical() -> None:
    network = awake(PatchBlindNetwork(widths=(4, 4))).eval()
    x = torch.randn(1, 1, 21, 18)
    changed = x.clone()
    changed[0, 0, 7, 9] = 1e6
    with torch.no_grad():
        before, after = network(x), network(changed)
    assert torch.equal(before[0, :, 7, 9], after[0, :, 7, 9])
    assert not torch.equal(before, after)


class Plain(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class GlobalPooling(nn.Module):
    """A blind network that scales its output by the mean of its features, as channel attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.blind = awake(PatchBlindNetwork(widths=(4, 4)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.blind(x)
        return y * y.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    "leaky",
    [
        Plain(nn.Conv2d(1, 4, 1), ResidualUNet((4, 4))),
        GlobalPooling(),
        Plain(awake(PatchBlindNetwork(widths=(4, 4))), nn.BatchNorm2d(2)),
    ],
    ids=["plain U-Net", "global pooling", "batch normalisation in training"],
)
def test_what_breaks_blindness_is_found_out(leaky: nn.Module) -> None:
    assert not check_blindness(leaky.train()).blind


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_phases_are_undone(d: int, n: int, rows: int, columns: int) -> None:
    x = torch.randn(n, 2, rows * d, columns * d)
    assert torch.equal(from_phases(to_phases(x, d), d), x)


def test_a_phase_holds_pixels_d_apart() -> None:
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    assert torch.equal(to_phases(x, 3)[0, 0], x[0, 0, ::3, ::3])


@pytest.mark.parametrize("patch", [0, 2, -1])
def test_a_patch_without_a_centre_is_refused(patch: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        PatchBlindNetwork(patch=patch)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 40)])
def test_any_size(size: tuple[int, int]) -> None:
    assert PatchBlindNetwork(widths=(4, 4))(torch.zeros(1, 1, *size)).shape == (1, 2, *size)
