import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from diffdenoise import Denoiser
from diffdenoise.batch import Wanted, denoise_scans
from diffdenoise.describe import Description, describe, write_descriptions
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
    (described,), _ = describe([path])
    (line,) = (line for line in _lines(described) if line.strip().startswith("noise "))
    assert line.split(None, 1)[1].strip() == said


def test_axes_that_are_doubted_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.moveaxis(noisy_disks(6), 0, -1))
    (table,), _ = describe([tmp_path / "a.npy"])
    assert any(line.strip().startswith("warning") and "slices of" in line for line in _lines(table))


def test_grain_is_told_beside_the_texture(tmp_path: Path) -> None:
    texture = replace(smoothed(1.0), grain=0.15)
    noise = draw((4, 160, 160), texture, torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", noisy_disks(4, 160, 160, sigma=0.0) + 0.1 * noise.numpy())
    (described,), _ = describe([tmp_path / "a.npy"])
    (line,) = (line for line in _lines(described) if "setting grain" in line)
    assert line.split()[:2] == ["noise", "texture"]


def test_what_any_fit_decides_is_told_apart_from_what_three_stages_do(tmp_path: Path) -> None:
    noisy = poisson(torch.from_numpy(mni_slices(60, 6, 10)), 200, torch.Generator().manual_seed(0))
    np.save(tmp_path / "a.npy", noisy.numpy())
    (described,), _ = describe([tmp_path / "a.npy"])
    (any_fit,) = (line for line in _lines(described) if "setting stabilise" in line)
    (three,) = (line for line in _lines(described) if "setting blind_spot.patch" in line)
    assert any_fit.strip().startswith("with any fit")
    assert three.strip().startswith("with three stages")


def test_one_bad_path_does_not_keep_the_others_from_being_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noisy_disks())
    described, errors = describe([tmp_path / "gone.safetensors", tmp_path / "a.npy", tmp_path / "gone"])
    assert [one.title for one in described] == ["a.npy"]
    assert len(errors) == 2


def _lines(described: Description) -> list[str]:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(described.table())
    return captured.get().splitlines()


@pytest.mark.parametrize(
    ("value", "said"), [(5, "all pixels are 5"), (0, "all pixels are 0 (or NaN"), (np.nan, "all pixels are 0 (or NaN")]
)
def test_of_an_image_with_a_single_value_that_is_said_and_nothing_about_noise(
    tmp_path: Path, value: float, said: str
) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 32, 32), value, np.float32))
    (described,), errors = describe([tmp_path / "a.npy"])
    assert not errors
    assert described.facts["range"].startswith(f"none: {said}")
    assert said in described.facts["warning"]
    assert not any("noise" in key or "stages" in key for key in described.facts)
    assert [warning["fault"] for warning in described.data["warnings"]] == ["flat"]


def test_json_holds_what_is_told_as_plain_data(smoke_model: Path, tmp_path: Path) -> None:
    clipped = noisy_disks(4, 96, 96, sigma=0.1).clip(0.2)
    np.save(tmp_path / "a.npy", clipped)
    described, errors = describe([tmp_path / "a.npy", smoke_model, tmp_path / "gone"])
    write_descriptions(tmp_path / "i.json", described, errors)
    said = json.loads((tmp_path / "i.json").read_text())
    (scan,), (model,), (error,) = said["scans"], said["models"], said["errors"]
    assert (scan["path"], scan["scan"], scan["format"]) == (str(tmp_path / "a.npy"), "a.npy", "npy")
    assert (scan["shape"], scan["frames"], scan["range"]) == ([4, 96, 96], 1, [clipped.min(), clipped.max()])
    facts = described[0].facts
    assert scan["noise"]["kind"] == facts["noise kind"]
    low, high = scan["noise"]["over_brightness"]
    assert facts["noise level"] == f"{scan['noise']['level']:.3g} ({low:.3g} to {high:.3g} over brightness)"
    assert scan["told"][0] == facts["noise"]
    assert "\n".join(warning["message"] for warning in scan["warnings"]) == facts["warning"]
    assert scan["warnings"][0]["fault"] == "clipped"
    assert (model["path"], model["config"]["preset"]) == (str(smoke_model), "smoke")
    assert error["path"] == str(tmp_path / "gone")


@pytest.mark.shared
def test_noise_of_mr_is_not_said_to_be_that_of_ct(shared_data: Path) -> None:
    """Alone, this scan's fits filtered back-projection a trifle better."""
    scan = sorted((shared_data / "mri_phantom_hazen" / "snr_pairs" / "Sola_BODY_AX").iterdir())[1]
    (described,), _ = describe([scan])
    (line,) = (line for line in _lines(described) if line.strip().startswith("noise texture"))
    assert "by a filter of k-space" in line


def test_a_result_that_is_a_folder_is_told_about_as_one_that_is_a_file(smoke_model: Path, tmp_path: Path) -> None:
    found, _ = find([series(tmp_path / "knee", {f"{n}": n for n in range(2)})])
    denoise_scans(Denoiser.load(smoke_model, "cpu"), found, tmp_path / "out", Wanted(), lambda *_: None)
    described, errors = describe([tmp_path / "out" / "knee"])
    assert (len(described), errors) == (1, [])


@pytest.mark.parametrize("place", [".", "/"])
def test_a_folder_without_a_name_of_its_own_is_asked_about_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    np.save(tmp_path / "a.npy", noisy_disks())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diffdenoise.describe.find", lambda paths, **_: find([tmp_path]))  # not the whole disk
    described, errors = describe([Path(place)])
    assert (len(described), errors) == (1, [])
