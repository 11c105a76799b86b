import copy

import pytest
import torch
from torch import Tensor, nn

from diffdenoise.presets import PRESETS
from diffdenoise.training.replayed import MOST, Replayed
from diffdenoise.training.student import make_student

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def test_where_nothing_is_learned_it_is_the_network() -> None:
    network = nn.Conv2d(1, 1, 3)
    replayed, x = Replayed(network), torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(replayed(x), network(x))
    network.eval()
    assert torch.equal(replayed(x), network(x))
    assert not replayed.recorded


def gradients(call: object, network: nn.Module, x: Tensor) -> list[Tensor]:
    network.zero_grad(set_to_none=True)
    call(x).float().square().mean().backward()  # type: ignore[operator]
    return [parameter.grad.clone() for parameter in network.parameters()]


@needs_gpu
@pytest.mark.parametrize("low", [False, True], ids=["float32", "bf16"])
def test_on_a_gpu_output_and_gradients_are_those_of_the_network(low: bool) -> None:
    """Of other batches than the one that was recorded, and of weights that have changed since."""
    torch.manual_seed(0)
    network = make_student(PRESETS["fast"].student).cuda().train()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    plain, replayed = copy.deepcopy(network), Replayed(network)
    for size in (32, 32, 48, 32):
        x = torch.rand(2, 1, size, size, device="cuda")
        with torch.autocast("cuda", torch.bfloat16, enabled=low):
            assert torch.allclose(replayed(x).float(), plain(x).float(), atol=2e-2 if low else 1e-4)
            for one, other in zip(gradients(replayed, network, x), gradients(plain, plain, x), strict=True):
                assert (one - other).norm() <= (0.05 if low else 1e-3) * other.norm() + 1e-6
        with torch.no_grad():
            for weights in (network.parameters(), plain.parameters()):
                for parameter in weights:
                    parameter.mul_(0.9)
    assert len(replayed.recorded) == 2


@needs_gpu
def test_shapes_beyond_the_first_few_are_not_recorded() -> None:
    network = nn.Conv2d(1, 1, 3, padding=1).cuda()
    replayed = Replayed(network)
    for size in range(16, 16 + MOST + 3):
        x = torch.rand(1, 1, size, size, device="cuda")
        assert torch.allclose(replayed(x), network(x), atol=1e-5)
    assert len(replayed.recorded) == MOST


@needs_gpu
def test_closed_it_gives_its_memory_back() -> None:
    network = make_student(PRESETS["fast"].student).cuda().train()
    replayed, x = Replayed(network), torch.rand(8, 1, 128, 128, device="cuda")
    before = torch.cuda.memory_reserved()
    replayed(x).mean().backward()
    held = torch.cuda.memory_reserved()
    replayed.close()
    assert torch.cuda.memory_reserved() - before < 0.2 * (held - before)
