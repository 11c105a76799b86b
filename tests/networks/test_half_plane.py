import pytest
import torch

from diffdenoise.networks.blindness import check_blindness
from diffdenoise.networks.half_plane import HalfPlaneNetwork, UpwardUNet, move_down
from tests.networks.blind_networks import awake


def test_rows_move_down_even_out_of_the_image() -> None:
    x = torch.arange(6.0).reshape(1, 1, 3, 2)
    assert torch.equal(move_down(x, 1)[0, 0], torch.tensor([[0.0, 0], [0, 1], [2, 3]]))
    assert not move_down(x, 7).any()


@pytest.mark.parametrize("row", [0, 5, 6, 7, 11])
def test_the_unet_sees_its_own_row_and_those_above(row: int) -> None:
    network = awake(UpwardUNet((4, 4, 4), 1)).double()
    x = torch.randn(1, 4, 12, 12, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, :, row, 6].sum(), x)
    assert not gradient[..., row + 1 :, :].any()
    assert gradient[..., row, :].any()


def test_what_a_phase_network_never_sees_is_seen() -> None:
    network = awake(HalfPlaneNetwork(patch=1, widths=(8, 8, 8))).double()
    x = torch.randn(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 16, 16], x)
    around = gradient[0, 0, 16 - 6 : 16 + 7, 16 - 6 : 16 + 7]
    assert (around != 0).sum() == 13 * 13 - 1


@pytest.mark.parametrize("patch", [7, 21])
def test_any_odd_patch(patch: int) -> None:
    report = check_blindness(awake(HalfPlaneNetwork(patch=patch, widths=(4, 4, 4))), patch)
    assert report.blind
    assert not check_blindness(awake(HalfPlaneNetwork(patch=patch, widths=(4, 4, 4))), patch + 2).blind


def test_a_larger_patch_costs_no_parameter() -> None:
    sizes = {sum(p.numel() for p in HalfPlaneNetwork(patch=patch, widths=(4, 4)).parameters()) for patch in (1, 9)}
    assert len(sizes) == 1


@pytest.mark.parametrize("patch", [0, 2, -1])
def test_a_patch_without_a_centre_is_refused(patch: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        HalfPlaneNetwork(patch=patch)
