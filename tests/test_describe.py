from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from diffdenoise.describe import describe
from diffdenoise.model_file import load_model, save_model
from diffdenoise.noise.texture import draw, smoothed
from diffdenoise.normalisation import Mode, Normalisation
from diffdenoise.presets import make_config
from tests.conftest import noisy_disks


@pytest.mark.parametrize(
    ("mode", "settings", "said"),
    [
        ("fixed", {}, "not asked for"),
        ("noise", {}, "estimated from each scan"),
        ("fixed", {"stabilise": True}, "estimated from each scan"),
        ("fixed", {"student": {"learns_from": "teacher"}}, "estimated from each scan"),
        ("fixed", {"sigma": 0.1}, "sigma 0.1, given"),
    ],
)
def test_it_says_how_the_noise_is_known(
    smoke_model: Path, tmp_path: Path, mode: Mode, settings: dict, said: str
) -> None:
    model = load_model(smoke_model)
    config = make_config("smoke", {"student": {"learns_from": "recorrupted"}, **settings})
    path = save_model(replace(model, config=config, normalisation=Normalisation(mode)), tmp_path / "m.safetensors")
    (table,), _ = describe([path])
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    (line,) = (line for line in captured.get().splitlines() if line.strip().startswith("noise "))
    assert line.split(None, 1)[1].strip() == said


def test_grain_is_told_beside_the_texture(tmp_path: Path) -> None:
    texture = replace(smoothed(1.0), grain=0.15)
    noise = draw((4, 160, 160), texture, torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", noisy_disks(4, 160, 160, sigma=0.0) + 0.1 * noise.numpy())
    (table,), _ = describe([tmp_path / "a.npy"])
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    (line,) = (line for line in captured.get().splitlines() if "setting grain" in line)
    assert line.split()[:2] == ["noise", "texture"]


def test_one_bad_path_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noisy_disks())
    tables, errors = describe([tmp_path / "gone.safetensors", tmp_path / "a.npy", tmp_path / "gone"])
    assert [table.title for table in tables] == ["a.npy"]
    assert len(errors) == 2
