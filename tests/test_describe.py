from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table

from diffdenoise import Denoiser
from diffdenoise.batch import Wanted, denoise_scans
from diffdenoise.describe import describe
from diffdenoise.model_file import load_model, save_model
from diffdenoise.noise.models import poisson
from diffdenoise.noise.texture import draw, smoothed
from diffdenoise.normalisation import Mode, Normalisation
from diffdenoise.phantom import mni_slices
from diffdenoise.presets import make_config
from diffdenoise.scans.files import find
from tests.conftest import noisy_disks
from tests.scans.dicom_checks import series


@pytest.mark.parametrize(
    ("mode", "settings", "said"),
    [
        ("noise", {}, "estimated from each scan"),
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
    (line,) = (line for line in _lines(table) if line.strip().startswith("noise "))
    assert line.split(None, 1)[1].strip() == said


def test_axes_that_are_doubted_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.moveaxis(noisy_disks(6), 0, -1))
    (table,), _ = describe([tmp_path / "a.npy"])
    assert any(line.strip().startswith("warning") and "slices of" in line for line in _lines(table))


def test_grain_is_told_beside_the_texture(tmp_path: Path) -> None:
    texture = replace(smoothed(1.0), grain=0.15)
    noise = draw((4, 160, 160), texture, torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", noisy_disks(4, 160, 160, sigma=0.0) + 0.1 * noise.numpy())
    (table,), _ = describe([tmp_path / "a.npy"])
    (line,) = (line for line in _lines(table) if "setting grain" in line)
    assert line.split()[:2] == ["noise", "texture"]


def test_what_any_fit_decides_is_told_apart_from_what_three_stages_do(tmp_path: Path) -> None:
    noisy = poisson(torch.from_numpy(mni_slices(60, 6, 10)), 200, torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", noisy.numpy())
    (table,), _ = describe([tmp_path / "a.npy"])
    (any_fit,) = (line for line in _lines(table) if "setting stabilise" in line)
    (three,) = (line for line in _lines(table) if "setting blind_spot.patch" in line)
    assert any_fit.strip().startswith("with any fit")
    assert three.strip().startswith("with three stages")


def test_one_bad_path_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noisy_disks())
    tables, errors = describe([tmp_path / "gone.safetensors", tmp_path / "a.npy", tmp_path / "gone"])
    assert [table.title for table in tables] == ["a.npy"]
    assert len(errors) == 2


def _lines(table: Table) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


@pytest.mark.shared
def test_noise_of_mr_is_not_said_to_be_that_of_ct(shared_data: Path) -> None:
    """Alone, this scan's fits filtered back-projection a trifle better."""
    scan = sorted((shared_data / "mri_phantom_hazen" / "snr_pairs" / "Sola_BODY_AX").iterdir())[1]
    (table,), _ = describe([scan])
    (line,) = (line for line in _lines(table) if line.strip().startswith("noise texture"))
    assert "by a filter of k-space" in line


def test_a_result_that_is_a_folder_is_told_about_as_one_that_is_a_file(smoke_model: Path, tmp_path: Path) -> None:
    found, _ = find([series(tmp_path / "knee", {f"{n}": n for n in range(2)})])
    denoise_scans(Denoiser.load(smoke_model, "cpu"), found, tmp_path / "out", Wanted(), lambda *_: None)
    tables, errors = describe([tmp_path / "out" / "knee"])
    assert (len(tables), errors) == (1, [])


@pytest.mark.parametrize("place", [".", "/"])
def test_a_folder_without_a_name_of_its_own_is_asked_about_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    np.save(tmp_path / "a.npy", noisy_disks())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diffdenoise.describe.find", lambda paths, **_: find([tmp_path]))  # not the whole disk
    tables, errors = describe([Path(place)])
    assert (len(tables), errors) == (1, [])
