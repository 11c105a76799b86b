"""PUCA on phases against PUCA as the paper draws it: dilated convolutions, patch-unshuffle, pooling by parity class."""

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffdenoise.networks.nafnet import NAFBlock, simple_gate
from diffdenoise.networks.puca import PUCA
from tests.networks.blind_networks import awake

PLACES = list(itertools.product((0, 1), repeat=4))  # patch in the cell (down, right), pixel in the patch (row, column)


def patch_unshuffle(x: Tensor) -> Tensor:
    """The 2x2 patches of each 4x4 cell go to the channels, pixels keep their place in the patch."""
    result = x.new_empty(x.shape[0], x.shape[1], 4, x.shape[2] // 2, x.shape[3] // 2)
    for down, right, row, column in PLACES:
        result[:, :, 2 * down + right, row::2, column::2] = x[:, :, 2 * down + row :: 4, 2 * right + column :: 4]
    return result.flatten(1, 2)


def patch_shuffle(x: Tensor) -> Tensor:
    patches = x.unflatten(1, (-1, 4))
    result = x.new_empty(x.shape[0], patches.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    for down, right, row, column in PLACES:
        result[:, :, 2 * down + row :: 4, 2 * right + column :: 4] = patches[:, :, 2 * down + right, row::2, column::2]
    return result


def class_mean(x: Tensor, far: int) -> Tensor:
    """Mean over the pixels of equal parity up to `far` (even) away."""
    result = torch.empty_like(x)
    for row, column in itertools.product(range(x.shape[2]), range(x.shape[3])):
        rows = slice(row - far if row >= far else row % 2, row + far + 1, 2)
        columns = slice(column - far if column >= far else column % 2, column + far + 1, 2)
        result[:, :, row, column] = x[:, :, rows, columns].mean((2, 3))
    return result


def block_on_image(block: NAFBlock, x: Tensor, pooling: str) -> Tensor:
    normalise, widen, depthwise = block.spatial
    gated = simple_gate(
        F.conv2d(widen(normalise(x)), depthwise.weight, depthwise.bias, 1, 2, dilation=2, groups=depthwise.groups)
    )
    if pooling == "global":
        mean = gated.mean((2, 3), keepdim=True)
    else:
        mean = class_mean(gated, 1000 if block.training else 2 * (block.attention.window // 2))
    x = x + block.beta * block.project(gated * block.attention.scale(mean))
    return x + block.gamma * block.contract(simple_gate(block.expand(x)))


def literal_puca(network: PUCA, x: Tensor, pooling: str) -> Tensor:
    def stack(blocks: nn.Module, y: Tensor) -> Tensor:
        for block in blocks.children():
            y = block_on_image(block, y, pooling)
        return y

    body, skips = network.body, []
    y = network.head(x)
    for blocks, down in zip(body.down_blocks, body.downs, strict=False):
        skips.append(stack(blocks, y))
        y = patch_unshuffle(down[0](skips[-1]))
    y = stack(body.down_blocks[-1], y)
    for level in reversed(range(len(skips))):
        y = stack(body.up_blocks[level], body.ups[level][1](patch_shuffle(y)) + skips[level])
    return network.tail(y)


@pytest.mark.parametrize(("pooling", "training"), [("parity", True), ("parity", False), ("global", True)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_phases_change_nothing(pooling: str, training: bool, dtype: torch.dtype) -> None:
    network = PUCA(2, 2, widths=(4, 8, 12), blocks=(1, 2, 1), pooling=pooling, crop=8)  # type: ignore[arg-type]
    network = awake(network).train(training).to(dtype)
    x = torch.randn(2, 2, 16, 24, dtype=dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    with torch.no_grad():
        torch.testing.assert_close(network(x), literal_puca(network, x, pooling), rtol=tolerance, atol=tolerance)


def test_patch_shuffle_undoes_unshuffle() -> None:
    x = torch.randn(2, 3, 8, 12)
    assert torch.equal(patch_shuffle(patch_unshuffle(x)), x)
    assert torch.equal(patch_unshuffle(x)[:, 0, :2, :2], x[:, 0, :2, :2])


def test_images_of_a_batch_do_not_meet_in_global_pooling() -> None:
    network = awake(PUCA(widths=(4, 8), blocks=1, pooling="global"))
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (32, 66)}, "multiples of 4"),
        ({"widths": (4, 8), "blocks": (1, 1, 1)}, "levels"),
        ({"pooling": "max"}, "parity"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PUCA(**settings)


def test_the_attention_looks_one_and_a_half_crops_wide() -> None:
    network = PUCA(widths=(4, 8, 8), blocks=1, crop=64)
    pixels = [2 * 2**level * stack[0].attention.window for level, stack in enumerate(network.body.down_blocks)]
    assert pixels == [96, 96, 96]
