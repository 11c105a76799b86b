import pytest
import torch
from torch import nn

from diffdenoise.presets import PRESETS
from diffdenoise.training.start import FILE, load_start
from diffdenoise.training.student import make_student
from tests.conftest import noisy_disks


def student(**changes: object) -> nn.Module:
    return make_student(PRESETS["fast"].student.model_copy(update={"neighbours": 0, **changes})).eval()


def test_the_shipped_weights_denoise_before_any_training() -> None:
    clean, noisy = (torch.from_numpy(noisy_disks(sigma=sigma))[:, None] for sigma in (0.0, 0.1))
    network = student()
    load_start(network)
    with torch.no_grad():
        result = network(noisy)
    assert ((result - clean) ** 2).mean() < 0.2 * ((noisy - clean) ** 2).mean()


def test_neighbours_have_no_say_at_the_start() -> None:
    image, other = torch.randn(2, 1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    alone, among = student(), student(neighbours=1)
    load_start(alone)
    load_start(among)
    with torch.no_grad():
        torch.testing.assert_close(among(torch.cat([image, other, other], dim=1)), alone(image))


@pytest.mark.parametrize("changes", [{"width": 32}, {"network": "drunet"}])
def test_another_network_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="another size"):
        load_start(student(**changes))


def test_they_are_small() -> None:
    assert FILE.stat().st_size < 400_000
