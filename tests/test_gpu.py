"""What is promised of every device, on a GPU; skipped where there is none."""

import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from diffdenoise import Denoiser
from diffdenoise.cli import main
from diffdenoise.collaborative import collaborative
from diffdenoise.config import BlindSpotSettings
from diffdenoise.noise.texture import smoothed
from diffdenoise.training.blind_spot import make_blind_spot
from diffdenoise.training.stage import Stage
from tests.conftest import noisy_disks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

BRIEF: dict[str, dict[str, Any]] = {stage: {"steps": 20} for stage in ("blind_spot", "diffusion", "student")}
FAST = {"student": {"steps": 60, "neighbours": 0}}
THREE_STAGES = BRIEF | {"teacher": {"steps": 2}}
PAPER: dict[str, dict[str, Any]] = {
    "blind_spot": {"steps": 5, "widths": (16, 32), "blocks": (1, 1), "crop": 32},
    "diffusion": {"steps": 5, "widths": (32, 64), "blocks": 1, "crop": 32},
    "teacher": {"steps": 2},
    "student": {"steps": 5, "encoder": (1, 1), "middle": 1, "decoder": (1, 1), "crop": 32},
}


def close(one: np.ndarray, other: np.ndarray, noise: float = 0.05) -> bool:
    """Within a tenth of the noise: networks compute in bf16 on one device and perhaps not on the other."""
    return one.shape == other.shape and float(np.sqrt(np.mean((one - other) ** 2))) < 0.1 * noise


@pytest.mark.parametrize(
    ("preset", "overrides", "samplers"),
    [
        ("fast", FAST, ("auto", "student", "ensemble", "second_opinion")),
        ("gpu", THREE_STAGES, ("auto", "student", "srds")),
        ("paper", PAPER, ("student", "srds")),
    ],
)
def test_a_model_of_a_gpu_serves_on_a_cpu(tmp_path: Path, preset: str, overrides: dict, samplers: tuple) -> None:
    noisy = noisy_disks(slices=4, rows=64, columns=72)
    fitted = Denoiser.fit(noisy, preset=preset, overrides=overrides, device="cuda", seed=1)
    path = fitted.save(tmp_path / "model.safetensors")
    there, here = (Denoiser.load(path, device=device) for device in ("cuda", "cpu"))
    for sampler in samplers:
        results = [one.denoise(noisy, sampler=sampler, seed=3) for one in (fitted, there, here)]
        assert np.isfinite(results[0]).all(), sampler
        assert close(results[0], results[1], 0.01), sampler
        assert close(results[0], results[2]), sampler


def test_the_map_of_uncertainty_is_that_of_a_cpu(smoke_model: Path) -> None:
    noisy = noisy_disks()
    maps = [Denoiser.load(smoke_model, device=device).uncertainty(noisy) for device in ("cuda", "cpu")]
    assert np.linalg.norm(maps[0] - maps[1]) < 0.1 * np.linalg.norm(maps[1])


@pytest.mark.parametrize("texture", [smoothed(0), smoothed(1.2)], ids=["white", "correlated"])
def test_collaborative_filtering_is_that_of_a_cpu(texture: Any) -> None:
    noisy = torch.from_numpy(noisy_disks(slices=1, rows=70, columns=90))[None]
    images = noisy, torch.nn.functional.avg_pool2d(noisy, 3, 1, 1), torch.full_like(noisy, 0.05)
    there, here = (collaborative(*(x.to(device) for x in images), texture).cpu() for device in ("cuda", "cpu"))
    assert close(there.numpy(), here.numpy())


@pytest.mark.parametrize("name", ["patch_blind", "puca", "half_plane", "local_global"])
def test_a_blind_spot_network_stays_blind(name: Any) -> None:
    """Up to rounding: fast convolutions (Winograd) sum over pixels that their kernels then leave out."""
    settings = BlindSpotSettings(steps=1, batch=1, crop=32, learning_rate=1, network=name, patch=1)
    network = make_blind_spot(settings).cuda().eval()
    x = torch.randn(1, 1, 40, 44, device="cuda")
    for row, column in ((0, 0), (20, 21), (39, 43), (0, 22)):
        changed = x.clone()
        changed[..., row, column] += 10
        with torch.no_grad():
            follows = (network(changed) - network(x)).abs()
        assert follows[..., row, column].max() < 0.02 * follows.max()


def test_ahead_and_replayed_the_same_is_learned_as_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the order in which a GPU sums."""

    def fitted() -> np.ndarray:
        made = Denoiser.fit(noisy_disks(), preset="smoke", device="cuda", overrides={"student": {"steps": 40}})
        return made.denoise(noisy_disks())

    usual = fitted()
    monkeypatch.setattr(Stage, "start_ahead", lambda self: None)
    monkeypatch.setattr(Stage, "forward", lambda self, *inputs: self.network(*inputs))
    assert close(usual, fitted(), 0.02)


def test_a_budget_is_kept(tmp_path: Path) -> None:
    start = time.monotonic()
    Denoiser.fit(noisy_disks(slices=4, rows=64, columns=72), preset="fast", budget=12, device="cuda")
    assert time.monotonic() - start < 20


def test_the_command_line_takes_the_gpu_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = noisy_disks(slices=4, rows=64, columns=72)
    nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)).to_filename(tmp_path / "scan.nii.gz")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "out"), "--budget", "12s"])
    assert ended.value.code == 0, capsys.readouterr()
    result = next((tmp_path / "out").rglob("*.nii.gz"))
    assert np.isfinite(nibabel.load(result).get_fdata()).all()
