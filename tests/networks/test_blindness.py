import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diffdenoise.networks.blindness import check_blindness
from diffdenoise.networks.layers import ResidualUNet
from diffdenoise.networks.patch_blind import PatchBlindNetwork
from diffdenoise.networks.puca import PUCA
from tests.networks.blind_networks import CASES, NAMES, DilatedBranch, awake, small

# Of the pixels outside the patch; at least, over a small image and its corners.
SEEN = {"patch_blind": 0.4, "puca": 0.6, "half_plane": 0.4, "local_global": 0.6}


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(("name", "patch"), CASES)
def test_no_hidden_pixel_has_any_influence(name: str, patch: int, training: bool) -> None:
    report = check_blindness(awake(small(name, patch)).train(training), patch)
    assert report.largest_hidden == 0.0
    assert report.seen > SEEN[name]


@pytest.mark.parametrize(("name", "patch"), CASES)
def test_a_larger_patch_than_the_network_hides_is_found_out(name: str, patch: int) -> None:
    assert not check_blindness(awake(small(name, patch)), patch + 2).blind


@pytest.mark.parametrize(("name", "patch"), CASES)
def test_every_pixel_right_beside_the_patch_is_seen(name: str, patch: int) -> None:
    network, near = awake(small(name, patch)).double(), patch // 2 + 1
    # Of several images, for a ReLU may be shut on one.
    x = torch.randn(4, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x)[..., 12, 11].sum(), x)
    beside = [(i, j) for i, j in itertools.product(range(-near, near + 1), repeat=2) if max(abs(i), abs(j)) == near]
    assert all(gradient[:, 0, 12 + i, 11 + j].any() for i, j in beside)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(("name", "patch"), CASES)
def test_an_enormous_patch_leaves_its_own_output_bit_identical(name: str, patch: int, training: bool) -> None:
    network, reach = awake(small(name, patch)).train(training), patch // 2
    x = torch.randn(1, 1, 21, 18)
    for row, column in [(0, 0), (9, 7), (20, 17)]:
        changed = x.clone()
        changed[..., max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = 1e6
        with torch.no_grad():
            before, after = network(x), network(changed)
        assert torch.equal(before[..., row, column], after[..., row, column])
        assert not torch.equal(before, after)


def normalised_by_batch() -> nn.Module:
    return nn.Sequential(awake(small("patch_blind")), nn.BatchNorm2d(2))


@pytest.mark.parametrize(
    "leaky",
    [
        nn.Sequential(awake(nn.Conv2d(1, 4, 1)), awake(ResidualUNet((4, 4)))),
        awake(PUCA(widths=(4, 8), blocks=(1, 1), pooling="global")),
        awake(PUCA(widths=(4, 8), blocks=(1, 1), pooling="global", crop=12)).eval(),
        awake(DilatedBranch("reflect")),
        normalised_by_batch(),
    ],
    ids=["plain U-Net", "global pooling", "the same at inference", "mirror", "batch normalisation in training"],
)
def test_what_breaks_blindness_is_found_out(leaky: nn.Module) -> None:
    report = check_blindness(leaky)
    assert report.largest_hidden > 0.0
    assert not report.blind


@pytest.mark.parametrize("healed", [awake(DilatedBranch("zeros")), normalised_by_batch().eval()])
def test_the_cause_of_the_leak_is_what_it_is_said_to_be(healed: nn.Module) -> None:
    assert check_blindness(healed).blind


def test_what_cannot_be_computed_is_no_proof() -> None:
    network = awake(small("patch_blind"))
    assert isinstance(network, PatchBlindNetwork)
    network.tail[1].weight.data[0] = torch.nan
    assert not check_blindness(network).blind


def test_a_network_that_sees_nothing_is_not_called_blind() -> None:
    network = small("patch_blind")
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    report = check_blindness(network)
    assert report.largest_hidden == 0.0
    assert not report.blind


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8)
@given(height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_size(name: str, height: int, width: int) -> None:
    patch = 1 if name == "puca" else 5
    assert small(name, patch).eval()(torch.zeros(2, 1, height, width)).shape == (2, 2, height, width)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_tiny_images_are_blind_too(name: str, size: tuple[int, int]) -> None:
    assert check_blindness(awake(small(name)), size=size).largest_hidden == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_on_the_grid_gives_the_result_of_the_whole_image(name: str) -> None:
    network = awake(small(name)).double().eval()
    step, middle = int(network.alignment), 96
    x = torch.randn(1, 1, 2 * middle + 1, 24, dtype=torch.float64)  # the image itself does not end on the grid

    def rows(first: int, last: int) -> Tensor:
        with torch.no_grad():
            return network(x[..., first:last, :])[..., middle - first : middle - first + 8, :]

    whole = rows(0, 2 * middle + 1)
    torch.testing.assert_close(rows(step, 2 * middle), whole)
    assert not torch.allclose(rows(1, 2 * middle), whole)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_gradients_are_those_of_fp32(name: str) -> None:
    # On a CPU they may not be: half of the gradient of some dilated convolutions is wrong there, without a word.
    # Rounding takes a fifth of the first layer's at most, for it has gone through all others.
    network = awake(small(name, widths=(16, 32))).to(memory_format=torch.channels_last).train()
    x = torch.randn(2, 1, 24, 24).contiguous(memory_format=torch.channels_last)
    weights = [parameter for parameter in network.parameters() if parameter.ndim == 4]
    exact = torch.autograd.grad(network(x).square().mean(), weights)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(x).float().square().mean()
    rough = torch.autograd.grad(loss, weights)
    errors = torch.stack([(a - b).norm() for a, b in zip(rough, exact, strict=True)])
    sizes = torch.stack([gradient.norm() for gradient in exact])
    assert (errors < 0.3 * sizes).all()
    assert errors.norm() < 0.05 * sizes.norm()
