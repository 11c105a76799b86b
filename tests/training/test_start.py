import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diffdenoise.noise.estimate import NoiseLevel, constant_level
from diffdenoise.noise.models import correlated
from diffdenoise.noise.texture import WHITE, smoothed
from diffdenoise.presets import PRESETS
from diffdenoise.training import start as starting
from diffdenoise.training.start import FOLDER, REACH, STARTS, Start, load_start, start_for, start_key
from diffdenoise.training.student import make_student
from tests.conftest import noisy_disks


def student(**changes: object) -> nn.Module:
    return make_student(PRESETS["fast"].student.model_copy(update={"neighbours": 0, **changes})).eval()


def of_noise(start: Start) -> tuple[torch.Tensor, torch.Tensor]:
    """(images, their noise), each (N, 1, H, W), of the kind that a start is for."""
    clean = torch.from_numpy(noisy_disks(sigma=0.0))[:, None]
    width = 0.0 if start.white else 1.0
    return clean, correlated(torch.zeros_like(clean), start.sigma, width, torch.Generator().manual_seed(0))


def left(start: Start, clean: torch.Tensor, noise: torch.Tensor) -> float:
    """Mean square error of what these weights make of noisy images, over that of the images."""
    network = student()
    load_start(network, start)
    with torch.no_grad():
        return float(((network(clean + noise) - clean) ** 2).mean() / (noise**2).mean())


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
def test_of_the_shipped_weights_those_for_a_noise_denoise_it_best_before_any_training(start: Start) -> None:
    """Or nearly so: disks are not what they have learned from."""
    clean, noise = of_noise(start)
    found = {other: left(other, clean, noise) for other in STARTS}
    assert found[start] < (0.2 if start.white else 0.4)
    assert found[start] < 1.2 * min(found.values())
    assert found[start] < 0.8 * max(found.values())


@given(sigma=st.floats(1e-4, 10), white=st.booleans())
def test_a_fit_begins_with_those_that_are_nearest(sigma: float, white: bool) -> None:
    texture = WHITE if white else smoothed(1.0)
    level = NoiseLevel((0.0, 1.0), (sigma, sigma), texture=texture)
    start = start_for([level])
    assert start.white == white
    ratio = max(start.sigma / sigma, sigma / start.sigma)
    assert all(ratio <= max(other.sigma / sigma, sigma / other.sigma) * (1 + 1e-9) for other in STARTS)


def test_they_leave_no_noise_between_them_unlearned() -> None:
    sigmas = sorted({start.sigma for start in STARTS})
    assert all(high / low <= REACH**2 for low, high in pairwise(sigmas))


def test_without_any_noise_there_is_something_to_begin_with() -> None:
    assert start_for([constant_level(0.0)]) in STARTS


def test_a_fit_from_other_weights_is_another_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PRESETS["fast"].student
    assert start_key(settings.model_copy(update={"start": "random"})) is None
    shutil.copytree(FOLDER, tmp_path / "start")
    before = start_key(settings)
    monkeypatch.setattr(starting, "FOLDER", tmp_path / "start")
    assert start_key(settings) == before
    (tmp_path / "start" / f"{STARTS[0].name}.safetensors").write_bytes(b"other")
    assert start_key(settings) != before


def test_neighbours_have_no_say_at_the_start() -> None:
    image, other = torch.randn(2, 1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    alone, among = student(), student(neighbours=1)
    load_start(alone, STARTS[0])
    load_start(among, STARTS[0])
    with torch.no_grad():
        torch.testing.assert_close(among(torch.cat([image, other, other], dim=1)), alone(image))


@pytest.mark.parametrize("changes", [{"width": 32}, {"network": "drunet"}])
def test_another_network_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="another size"):
        load_start(student(**changes), STARTS[0])


def test_they_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1_500_000
