import pytest
import torch

from diffdenoise.networks.local_global import LocalGlobalNetwork
from tests.networks.blind_networks import awake


@pytest.mark.parametrize("patch", [0, 2, -1])
def test_a_patch_without_a_centre_is_refused(patch: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        LocalGlobalNetwork(patch=patch)


@pytest.mark.parametrize(("patch", "kernel"), [(1, 3), (3, 5), (5, 9), (9, 17)])
def test_the_local_kernel_is_twice_the_patch(patch: int, kernel: int) -> None:
    network = LocalGlobalNetwork(patch=patch, widths=(4, 4))
    assert network.local.head.kernel_size == (kernel, kernel)
    assert network.wide.dilation == 2 * network.local.dilation
    assert network.alignment == 2 * network.wide.dilation


def test_the_global_branch_sees_what_the_local_one_misses_around_a_step() -> None:
    network = awake(LocalGlobalNetwork(patch=5, widths=(4, 4))).double()
    x = torch.randn(1, 1, 56, 56, dtype=torch.float64, requires_grad=True)
    missed = (..., slice(28 - 2, 28 + 3), slice(28 + 7 - 2, 28 + 7 + 3))
    seen = [torch.autograd.grad(branch(x)[0, :, 28, 28].sum(), x)[0] for branch in (network.local, network.wide)]
    assert not seen[0][missed].any()
    assert (seen[1][missed] != 0).all()
    assert (seen[1] != 0).sum() > (seen[0] != 0).sum() / 4
