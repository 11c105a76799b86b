import pytest
import torch

from diffdenoise.networks.nafnet import NAFNet
from diffdenoise.training.start import FILE, load_start
from tests.conftest import noisy_disks


def test_the_shipped_weights_denoise_before_any_training() -> None:
    clean, noisy = (torch.from_numpy(noisy_disks(sigma=sigma))[:, None] for sigma in (0.0, 0.1))
    network = NAFNet().eval()
    load_start(network)
    with torch.no_grad():
        result = network(noisy)
    assert ((result - clean) ** 2).mean() < 0.2 * ((noisy - clean) ** 2).mean()


def test_neighbours_have_no_say_at_the_start() -> None:
    image, other = torch.randn(2, 1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    alone, among = NAFNet().eval(), NAFNet(seen=3).eval()
    load_start(alone)
    load_start(among)
    with torch.no_grad():
        torch.testing.assert_close(among(torch.cat([image, other, other], dim=1)), alone(image))


def test_a_network_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="another size"):
        load_start(NAFNet(width=32))


def test_they_are_small() -> None:
    assert FILE.stat().st_size < 400_000
