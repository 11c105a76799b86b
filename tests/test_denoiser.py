import json
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from diffdenoise import Denoiser, inference
from diffdenoise.denoiser import _scan_of, _sources, sources_of
from diffdenoise.diagnosis import Diagnosis, diagnose_alone
from diffdenoise.errors import ConfigError, DiffdenoiseError, ScanError
from diffdenoise.model import Round
from diffdenoise.model_file import load_model
from diffdenoise.phantom import mni_slices
from diffdenoise.pipeline import Fit
from diffdenoise.preparation import MEASURING, READING
from diffdenoise.scans.files import find, read_scan
from diffdenoise.scans.scan import Scan
from diffdenoise.uncertainty import uncertainty_of
from tests.conftest import noisy_disks


@pytest.fixture(scope="module")
def denoiser(smoke_model: Path) -> Denoiser:
    return Denoiser.load(smoke_model, device="cpu")


@pytest.mark.parametrize("shape", [(40, 48), (3, 40, 48), (2, 3, 20, 24)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16])
def test_arrays_keep_shape_and_dtype(denoiser: Denoiser, shape: tuple[int, ...], dtype: type) -> None:
    image = (200 * np.resize(noisy_disks(), shape)).clip(0, 255).astype(dtype)
    before = image.copy()
    result = denoiser.denoise(image)
    assert result.shape == image.shape
    assert result.dtype == image.dtype
    uncertainty = denoiser.uncertainty(image)
    assert (uncertainty.shape, uncertainty.dtype) == (image.shape, np.float32)
    assert np.array_equal(image, before)


def test_integers_are_saturated_never_wrapped(denoiser: Denoiser) -> None:
    image = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (64, 64))
    image[:32] = 255
    result = denoiser.denoise(image)
    assert result[4:24].min() > 100


def test_numbers_that_floats_do_not_hold_come_back(denoiser: Denoiser) -> None:
    image = noisy_disks(slices=1)[0]
    whole = (image * 1e6).astype(np.int32)
    whole[:20, :20] = np.iinfo(np.int32).max
    assert denoiser.denoise(whole).min() > -(2**24)
    assert (denoiser.denoise(np.full((20, 20), 2**24 + 1, np.int32)) == 2**24 + 1).all()


def test_noise_that_floats_would_lose_is_not_looked_for_in_vain(denoiser: Denoiser) -> None:
    noisy = noisy_disks().astype(np.float64)
    for work in (denoiser.denoise, denoiser.uncertainty):
        with pytest.raises(ScanError, match=r"The array: .* round away .* Subtract a constant"):
            work(1e9 + noisy)
    assert not np.array_equal(denoiser.denoise(1e3 + noisy), 1e3 + noisy)


@pytest.mark.parametrize("strength", [0, -1, 2, float("nan")])
def test_a_strength_that_is_no_share_is_refused(denoiser: Denoiser, strength: float) -> None:
    with pytest.raises(ConfigError, match="strength"):
        denoiser.denoise(noisy_disks(slices=1), strength=strength)
    with pytest.raises(ConfigError, match="strength"):
        denoiser.uncertainty(noisy_disks(slices=1), strength=strength)


def test_a_weaker_strength_leaves_that_share_in(denoiser: Denoiser) -> None:
    noisy = noisy_disks(slices=1)
    full, half = denoiser.denoise(noisy), denoiser.denoise(noisy, strength=0.5)
    np.testing.assert_allclose(half, (noisy + full) / 2, atol=1e-6)


def test_a_scan_gives_a_scan(denoiser: Denoiser) -> None:
    scan = Scan(noisy_disks(), "a.npy", "npy")
    result = denoiser.denoise(scan)
    assert result.name == "a.npy"
    assert not np.array_equal(result.pixels, scan.pixels)


def test_a_narrow_scan_is_not_taken_for_a_colour_picture(denoiser: Denoiser) -> None:
    narrow = np.resize(noisy_disks(), (6, 30, 3))
    scan = Scan(narrow, "a.npy", "npy")
    assert denoiser.uncertainty(scan).shape == denoiser.denoise(scan).pixels.shape == narrow.shape
    with pytest.raises(ScanError, match="colour"):
        denoiser.uncertainty(narrow)


def test_it_fits_on_paths_and_on_scans_as_on_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "noisy.npy", noisy_disks())
    (found,), _ = find([tmp_path])
    given = [tmp_path, noisy_disks(), read_scan(found), [read_scan(found)]]
    fitted = [Denoiser.fit(images, preset="smoke", device="cpu") for images in given]
    assert len({denoiser.model.fingerprint() for denoiser in fitted}) == 1


@pytest.mark.parametrize("known", [{"sigma": 0.05}, {"counts": 300.0}])
def test_the_noise_that_is_told_is_that_of_the_model(known: dict[str, float]) -> None:
    fitted = Denoiser.fit(noisy_disks(), preset="fast", overrides={"student": {"steps": 2}}, device="cpu", **known)
    assert {name: getattr(fitted.model.config, name) for name in known} == known


def test_a_fit_that_is_kept_in_a_folder_is_not_made_again_and_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    fit = partial(Denoiser.fit, noisy_disks(), preset="smoke", folder=tmp_path / "run", device="cpu")
    first = fit(progress=lambda *how_far: told.append(how_far))
    assert {done / total for _, done, total in told} >= {1.0}
    weights = tmp_path / "run" / "student" / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    assert fit().model.fingerprint() == first.model.fingerprint()
    assert weights.stat().st_mtime_ns == made


def test_what_lies_beside_the_images_of_a_folder_does_not_stop_a_fit_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="diffdenoise")
    np.save(tmp_path / "a.npy", noisy_disks())
    (tmp_path / "broken.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-9])
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    (skipped,) = Denoiser.fit(tmp_path, preset="smoke", device="cpu").skipped
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("WARNING", f"Left out: {skipped}") in told
    assert "broken.npy" in skipped
    assert any(level == "INFO" and said.startswith(f"Left alone: {tmp_path / 'colour.tif'}") for level, said in told)
    with pytest.raises(ScanError, match="greyscale"):
        Denoiser.fit(tmp_path / "colour.tif", preset="smoke", device="cpu")


def test_a_scan_with_holes_is_refused_as_an_array_is(denoiser: Denoiser) -> None:
    scan = Scan(np.full((1, 40, 48), np.nan, np.float32), "a.npy", "npy")
    with pytest.raises(ScanError, match=r"a\.npy: holds NaN"):
        Denoiser.fit(scan, preset="smoke", device="cpu")
    for use in (denoiser.denoise, denoiser.uncertainty):
        with pytest.raises(ScanError, match=r"a\.npy: holds NaN"):
            use(scan)


@pytest.mark.parametrize(("divided_by", "warned"), [(1, False), (4, False), (255, True)])
def test_of_a_scan_in_another_unit_than_the_fixed_one_of_the_model_it_is_said(
    caplog: pytest.LogCaptureFixture, divided_by: float, warned: bool
) -> None:
    grey = (200 * noisy_disks().clip(0, 1)).astype(np.uint8)
    model = Denoiser.fit(grey, preset="smoke", device="cpu")
    caplog.clear()
    model.denoise((grey / divided_by).astype(np.float32))
    assert ("far wider or narrower" in caplog.text) == warned


def test_a_series_is_fitted_and_denoised_as_one_and_a_model_of_it_takes_single_volumes() -> None:
    clean = mni_slices(60, 2, 10)[:, 40:140, 40:140]
    noise = np.random.default_rng(0).standard_normal((6, *clean.shape)).astype(np.float32)
    series = clean + 0.1 * noise
    fitted = Denoiser.fit(series, preset="fast", overrides={"student": {"steps": 2}}, device="cpu")
    assert fitted.model.config.student.series
    error = [np.var(fitted.denoise(given) - clean) for given in (series, series[0])]
    assert error[0] < 0.5 * error[1] < 0.5 * 0.1**2
    assert fitted.uncertainty(series).shape == series.shape


def test_srds_is_another_result_and_its_seed_matters(denoiser: Denoiser) -> None:
    noisy = noisy_disks(slices=1, seed=3)
    first, other = (denoiser.denoise(noisy, sampler="srds", seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, denoiser.denoise(noisy))


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (np.zeros(5), ScanError),
        (np.zeros((0, 5)), ScanError),
        (np.zeros((8, 8), complex), ScanError),
        (np.zeros((8, 8), bool), ScanError),
        (np.full((20, 20), np.nan), ScanError),
        (np.full((20, 20), np.inf, np.float16), ScanError),
        (np.zeros((20, 20, 3), np.uint8), ScanError),
        (1e9 + noisy_disks().astype(np.float64), ScanError),
        (np.full((20, 20), np.iinfo(np.int64).min), ScanError),
        ([], ConfigError),
        ([[1.0, 2.0], [3.0, 4.0]], ConfigError),
        (["a.png", np.zeros((20, 20))], ConfigError),
        ("no/such/file.png", ScanError),
        (np.zeros((4, 4)), ConfigError),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(image: object, error: type[DiffdenoiseError]) -> None:
    with pytest.raises(error):
        Denoiser.fit(image, preset="smoke", device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ([np.ones((40, 40)), np.ones((40, 40))], "one after the other"),
        (np.ma.masked_less(np.arange(1600.0).reshape(40, 40), 5), "filled"),
    ],
)
def test_what_an_array_would_lose_is_refused(denoiser: Denoiser, image: Any, says: str) -> None:
    for method in (denoiser.denoise, denoiser.uncertainty):
        with pytest.raises(ScanError, match=says):
            method(image)


def test_equal_values_of_another_kind_are_another_source() -> None:
    """8-bit values are scaled by fixed numbers, others by their noise: a fit of the one is none of the other."""
    image = np.arange(400, dtype=np.uint8).reshape(20, 20)
    assert _sources(image)[0].key != _sources(image.astype(np.float32))[0].key


def test_an_array_of_hounsfield_units_is_known_for_one() -> None:
    body = mni_slices(60, 2, 10)
    assert _scan_of(np.where(body > 0, 40 * body, -1000).astype(np.int16)).units == "HU"
    assert _scan_of((1000 * body).astype(np.int16)).units == "arbitrary"


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="not available"):
        Denoiser.fit(noisy_disks(), preset="smoke", device="tpu")


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), "0s"])
def test_a_budget_that_is_no_time_is_refused(budget: float | str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Denoiser.fit(noisy_disks(), preset="smoke", budget=budget, device="cpu")


@pytest.mark.parametrize("machine", ["CT", "MR"])
def test_noise_is_judged_by_the_machine_that_made_a_scan(
    denoiser: Denoiser, monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    asked = []

    def seen(*of: Any, **named: Any) -> Diagnosis:
        asked.append(of[-1])
        return diagnose_alone(*of, **named)

    monkeypatch.setattr(inference, "diagnose_alone", seen)
    scan = Scan(noisy_disks(slices=1), "a", "npy", modality=machine)
    denoiser.denoise(scan)
    denoiser.uncertainty(scan)
    assert asked == [machine, machine]
    denoiser.denoise(scan.pixels)
    assert asked[2:] == [""]


def test_a_fit_is_known_by_what_is_said_of_its_files_too(tmp_path: Path) -> None:
    """A modality beside a file decides what its noise can be."""
    nibabel.save(nibabel.Nifti1Image(noisy_disks().T, np.eye(4)), tmp_path / "a.nii")
    keys = []
    for said in (None, {"Modality": "MR"}, {"Modality": "CT"}):
        if said:
            (tmp_path / "a.json").write_text(json.dumps(said))
        (source,) = sources_of(find([tmp_path / "a.nii"])[0])
        keys.append(source.key)
    assert len(set(keys)) == 3


def test_budget_and_seed_reach_the_fit(monkeypatch: pytest.MonkeyPatch, smoke_model: Path) -> None:
    told: list[tuple[Any, ...]] = []
    fitted = Fit(load_model(smoke_model), [])
    monkeypatch.setattr("diffdenoise.denoiser.fit", lambda *given: told.append(given) or fitted)
    Denoiser.fit(noisy_disks(), budget="2m", seed=3, device="cpu")
    ((_, config, _, device, seconds, _),) = told
    assert (config.preset, config.seed, device, seconds) == ("fast", 3, "cpu", 120)


@pytest.mark.parametrize("frames", [1, 4])
def test_the_map_goes_by_the_strength_the_seed_and_the_frames(smoke_model: Path, frames: int) -> None:
    class Mean(nn.Module):  # the student of seconds errs by more than the noise: its map would be that of the noise
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(x[:, :1], 3, 1, 1, count_include_pad=False)

    denoiser = Denoiser(replace(load_model(smoke_model), rounds=(Round(None, Mean()),)), "cpu")
    noise = np.random.default_rng(0).standard_normal((frames, 2, 40, 48)).astype(np.float32)
    image = noisy_disks(slices=2, sigma=0) + 0.05 * noise
    pixels = image.reshape(-1, 40, 48)
    of = partial(uncertainty_of, denoiser.model, pixels)
    expected = of(7, frames=frames, strength=0.4)
    scan = Scan(pixels, "a", "npy", frames=frames)
    for given in (image if frames > 1 else image[0], scan):
        found = denoiser.uncertainty(given, strength=0.4, seed=7)
        np.testing.assert_array_equal(found.reshape(pixels.shape), expected)
    others = [of(7, frames=frames), of(0, frames=frames, strength=0.4)]
    others += [of(7, strength=0.4)] * (frames > 1)
    assert not any(np.allclose(other, expected, rtol=1e-3) for other in others)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_fit_without_a_folder_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """No scan of a patient in the folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    there = []

    def progress(what: str, done: int, total: int) -> None:
        there.extend(tmp_path.rglob("*.npy"))
        if stopped and what not in (READING, MEASURING):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) if stopped else nullcontext():
        overrides = {"student": {"steps": 2}}
        Denoiser.fit(noisy_disks(), preset="fast", overrides=overrides, device="cpu", progress=progress)
    assert there
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("learned", "modality", "told"),
    [
        ("MR", "CT", True),
        ("CR/DX, MR", "CT", True),
        ("CT, MR", "CT", False),
        ("MR", "MR", False),
        ("CR/DX", "DX", False),
        ("MR", "", False),
        (None, "CT", False),
    ],
)
def test_a_scan_of_another_modality_than_the_model_learned_from_is_told(
    smoke_model: Path, caplog: pytest.LogCaptureFixture, learned: str | None, modality: str, told: bool
) -> None:
    model = load_model(smoke_model)
    history = {**model.history, "modality": learned} if learned else model.history
    scan = Scan(noisy_disks(slices=1), "a", "dicom", modality=modality)
    Denoiser(replace(model, history=history), "cpu").denoise(scan)
    assert (f"of {modality}, and the model was fitted on {learned} alone" in caplog.text) == told
