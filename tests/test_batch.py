import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from diffdenoise import batch
from diffdenoise.batch import Wanted, blocked, denoise_scans
from diffdenoise.denoiser import Denoiser
from diffdenoise.errors import ConfigError, ScanError
from diffdenoise.inference import Denoised, Sampler
from diffdenoise.model import Round
from diffdenoise.model_file import load_model
from diffdenoise.noise.estimate import constant_level
from diffdenoise.noise.models import rician
from diffdenoise.phantom import mni_slices
from diffdenoise.presets import make_config
from diffdenoise.scans.files import Found, find, result_path, write_scan
from diffdenoise.scans.scan import MAPS, Provenance, Scan
from diffdenoise.second_opinion import SecondOpinion, Shares
from tests.conftest import noisy_disks
from tests.scans.dicom_checks import series


class Scaled(nn.Module):
    """Everything let through, brighter."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


@pytest.mark.parametrize("floor", ["remove", "keep"])
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_wrong_brightness_is_told_and_a_floor_that_was_taken_off_is_not_one(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, floor: str, factor: float
) -> None:
    clean = torch.from_numpy(mni_slices(60, 2, 10))
    np.save(tmp_path / "scan.npy", 500 * rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy())
    config = make_config("fast", {"noise_floor": floor})
    model = replace(load_model(smoke_model), rounds=(Round(None, Scaled(factor)),), config=config)
    found, _ = find([tmp_path / "scan.npy"])
    with caplog.at_level(logging.WARNING, logger="diffdenoise"):
        denoise_scans(Denoiser(model, "cpu"), found, tmp_path / "out", Wanted(), lambda what, done, total: None)
    assert ("brighter or darker" in caplog.text) == (factor > 1)
    sidecar = json.loads((tmp_path / "out" / "scan.npy.json").read_text())
    assert ("noise_floor" in sidecar["settings"]) == (floor == "remove")


def test_the_record_says_how_often_a_slice_was_seen(smoke_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", noisy_disks(slices=1))
    found, _ = find([tmp_path / "scan.npy"])
    for turns, said in ((8, "ensemble"), (2, "ensemble"), (1, "student")):
        config = make_config("smoke", {"student": {"turns": turns}})
        denoiser = Denoiser(replace(load_model(smoke_model), config=config), "cpu")
        out = tmp_path / str(turns)
        denoise_scans(denoiser, found, out, Wanted(), lambda what, done, total: None)
        settings = json.loads((out / "scan.npy.json").read_text())["settings"]
        assert (settings["sampler"], settings.get("turns")) == (said, 2 if turns == 2 else None)


def test_the_record_says_how_much_a_second_opinion_counted(
    smoke_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The larger of what the fit and the scan bear out; and with that in its record a result counts as done."""
    monkeypatch.setattr(SecondOpinion, "borne_out", lambda *_: Shares(0.4, 0.9))
    np.save(tmp_path / "scan.npy", noisy_disks(slices=1))
    found, _ = find([tmp_path / "scan.npy"])
    second = SecondOpinion(Shares(0.5, 0.5), constant_level(0.1))
    denoiser = Denoiser(replace(load_model(smoke_model), second_opinion=second), "cpu")
    results = [
        denoise_scans(denoiser, found, tmp_path / "out", Wanted(removed=True), lambda what, done, total: None)
        for _ in range(2)
    ]
    assert (len(results[0].written), len(results[1].unchanged)) == (2, 1)
    record, removed = (json.loads((tmp_path / "out" / f"scan{of}.npy.json").read_text()) for of in ("", "_removed"))
    assert record["found"] == {"second_opinion": {"object": 0.5, "background": 0.9}}
    assert "found" not in removed


def test_what_many_results_have_is_told_once_with_their_number(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        np.save(tmp_path / f"scan{number}.npy", noisy_disks(seed=number, slices=1))
    np.save(tmp_path / "empty.npy", np.zeros((32, 32)))
    found, _ = find([tmp_path])
    config = make_config("fast", {"noise_floor": "keep"})
    model = replace(load_model(smoke_model), rounds=(Round(None, Scaled(1.5)),), config=config)
    with caplog.at_level(logging.INFO, logger="diffdenoise"):
        denoise_scans(Denoiser(model, "cpu"), found, tmp_path / "out", Wanted(), lambda what, done, total: None)
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("1 of 6 scans (empty.npy): no noise")
    assert second.startswith("5 of 6 scans (scan")
    assert "and 2 more): the result is brighter or darker than the scan, by up to" in second


def test_time_counts_from_before_the_first_scan(smoke_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((32, 32)))
    found, _ = find([tmp_path])
    told: list[tuple[str, int, int]] = []
    tell = lambda *step: told.append(step)  # noqa: E731
    denoise_scans(Denoiser(load_model(smoke_model), "cpu"), found, tmp_path / "out", Wanted(), tell)
    assert (told[0], told[-1]) == (("Denoising", 0, 1), ("Denoising", 1, 1))


def test_an_interruption_does_not_keep_what_was_noticed_from_being_told(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(what: str, done: int, total: int) -> None:
        if what == "Denoising" and done:
            raise KeyboardInterrupt

    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.zeros((32, 32)))
    found, _ = find([tmp_path])
    with caplog.at_level(logging.INFO, logger="diffdenoise"), pytest.raises(KeyboardInterrupt):
        denoise_scans(Denoiser(load_model(smoke_model), "cpu"), found, tmp_path / "out", Wanted(), interrupted)
    assert "1 of 2 scans (a.npy)" in caplog.text


@pytest.mark.parametrize(("steps", "coarse"), [(0.7, True), (4, False)])
def test_integers_that_are_coarser_than_the_noise_are_told_of_and_floats_are_not(
    smoothing: Denoiser, tmp_path: Path, caplog: pytest.LogCaptureFixture, steps: float, coarse: bool
) -> None:
    """Whatever else the image: surroundings without noise are not looked at."""
    whole = np.zeros((2, 128, 128))
    whole[:, 32:96, 32:96] = np.rint(10 * steps + steps * np.random.default_rng(0).standard_normal((2, 64, 64)))
    for name, stored in {"float": whole, "integer": whole.astype(np.int16)}.items():
        np.save(tmp_path / f"{name}.npy", stored)
    nibabel.save(nibabel.Nifti1Image((10 * whole).astype(np.int16), np.eye(4)), tmp_path / "fine.nii")
    found, _ = find([tmp_path])
    denoise_scans(smoothing, found, tmp_path / "out", Wanted(), lambda what, done, total: None)
    assert ("1 of 3 scans (integer.npy): hardly more is removed than the step" in caplog.text) == coarse
    assert ("hardly more is removed" in caplog.text) == coarse


def test_a_map_of_an_earlier_result_is_told(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "scan.npy", noisy_disks(1)[0])
    found, _ = find([tmp_path / "scan.npy"])
    denoiser = Denoiser(load_model(smoke_model), "cpu")
    for wanted in (Wanted(removed=True), Wanted(removed=True), Wanted(strength=0.5)):
        assert "earlier" not in caplog.text
        denoise_scans(denoiser, found, tmp_path / "out", wanted, lambda what, done, total: None)
    assert "scan_removed.npy: of an earlier result" in caplog.text


def test_a_result_under_an_earlier_name_is_told_and_one_of_a_copy_beside_is_not(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("a/x.npy", "b/x.npy", "c/x.npy")):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / name, noisy_disks(1, 24, 20, seed=number)[0])
    (tmp_path / "c" / "d").mkdir()
    shutil.copy(tmp_path / "c" / "x.npy", tmp_path / "c" / "d" / "x.npy")
    denoiser = Denoiser(load_model(smoke_model), "cpu")
    for out, inputs, told in (("1", ["a/x.npy"], False), ("1", ["a/x.npy", "b/x.npy"], True), ("2", ["c"], False)):
        found, _ = find([tmp_path / name for name in inputs])
        denoise_scans(denoiser, found, tmp_path / out, Wanted(), lambda what, done, total: None)
        assert ("1/x.npy: of a scan whose result has another name now" in caplog.text) == told
        caplog.clear()


def test_a_series_that_is_no_longer_alone_has_its_earlier_result_told(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell = lambda what, done, total: None  # noqa: E731
    denoiser = Denoiser(load_model(smoke_model), "cpu")
    for number, disc in enumerate(("cd1", "cd2")):
        series(tmp_path / disc / "DICOM", {"a": 0, "b": 1}, SeriesInstanceUID=f"1.2.{number}")
        found, _ = find(sorted(tmp_path.glob("cd?/DICOM")))
        denoise_scans(denoiser, found, tmp_path / "out", Wanted(), tell)
        assert ("out/DICOM: of a scan whose result" in caplog.text) == (disc == "cd2")


class Mean(nn.Module):
    """Of 3 x 3 pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x[:, :1], 3, 1, 1, count_include_pad=False)


@pytest.fixture
def smoothing(smoke_model: Path) -> Denoiser:
    """The student of seconds errs by more than the noise, and its map would be that of the noise alone."""
    model = load_model(smoke_model)
    return Denoiser(replace(model, rounds=(replace(model.rounds[0], student=Mean()),)), "cpu")


class Telling(Denoiser):
    """Tells by which samplers it was asked to denoise."""

    def denoise_slices(self, pixels: np.ndarray, sampler: Sampler = "auto", *more: Any, **named: Any) -> Denoised:
        self.asked = [*getattr(self, "asked", []), sampler]
        return super().denoise_slices(pixels, sampler, *more, **named)


def test_only_what_is_missing_of_a_scan_is_made_again_and_is_the_same(smoke_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", noisy_disks(1, 24, 20))
    found, _ = find([tmp_path / "scan.npy"])
    wanted, out = Wanted("auto", 3, True, True, True, strength=0.5), tmp_path / "out"
    make = lambda denoiser: denoise_scans(denoiser, found, out, wanted, lambda what, done, total: None)  # noqa: E731
    make(Denoiser(load_model(smoke_model), "cpu"))
    before = {path: path.read_bytes() for path in out.iterdir()}
    denoised, removed = (np.load(result_path(found[0], out, quantity)) for quantity in ("denoised", "removed"))
    np.testing.assert_array_equal(removed, np.load(tmp_path / "scan.npy") - denoised)
    everything = ["denoised", *MAPS]
    for lost in ([], *([one] for one in everything), ["denoised", "spread"], ["uncertainty", "removed"], everything):
        gone = [result_path(found[0], out, quantity) for quantity in lost]
        for path in gone:
            path.unlink()
        outcome = make(denoiser := Telling(load_model(smoke_model), "cpu"))
        assert (outcome.written, outcome.unchanged) == (gone, [] if lost else ["scan.npy"])
        assert {path: path.read_bytes() for path in out.iterdir()} == before
        needed = ["auto"] * ("denoised" in lost or "removed" in lost) + ["srds"] * ("spread" in lost)
        assert sorted(getattr(denoiser, "asked", [])) == needed


@pytest.mark.parametrize(
    ("wanted", "quantity"),
    [
        (Wanted("srds"), "denoised"),
        (Wanted("srds", removed=True), "removed"),
        (Wanted(spread=True), "spread"),
        (Wanted(uncertainty=True), "uncertainty"),
    ],
)
def test_of_another_seed_a_result_is_another_and_not_there_already(
    smoothing: Denoiser, tmp_path: Path, wanted: Wanted, quantity: str
) -> None:
    np.save(tmp_path / "scan.npy", noisy_disks(1, 24, 20))
    (item,), _ = find([tmp_path / "scan.npy"])
    out, made = tmp_path / "out", []
    path = result_path(item, out, quantity)
    for seed in (0, 1, 0):
        outcome = denoise_scans(smoothing, [item], out, replace(wanted, seed=seed), lambda what, done, total: None)
        assert path in outcome.written
        assert not outcome.unchanged
        made.append(path.read_bytes())
    assert made[0] == made[2] != made[1]


def test_a_spread_that_is_asked_for_later_leaves_the_result_alone(smoke_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", noisy_disks(1, 24, 20))
    (item,), _ = find([tmp_path / "scan.npy"])
    out, denoiser = tmp_path / "out", Denoiser.load(smoke_model, "cpu")
    denoise_scans(denoiser, [item], out, Wanted(), lambda what, done, total: None)
    outcome = denoise_scans(denoiser, [item], out, Wanted(spread=True, seed=3), lambda what, done, total: None)
    assert outcome.written == [result_path(item, out, "spread")]
    record = json.loads((out / "scan_spread.npy.json").read_text())
    assert (record["settings"]["sampler"], record["settings"]["seed"]) == ("srds", 3)


def test_the_map_that_is_written_is_that_of_the_strength_and_the_seed(smoothing: Denoiser, tmp_path: Path) -> None:
    noisy = noisy_disks(2)
    np.save(tmp_path / "scan.npy", noisy)
    found, _ = find([tmp_path / "scan.npy"])
    wanted = Wanted(seed=3, uncertainty=True, strength=0.5)
    denoise_scans(smoothing, found, tmp_path / "out", wanted, lambda what, done, total: None)
    written = np.load(result_path(found[0], tmp_path / "out", "uncertainty"))
    np.testing.assert_array_equal(written, smoothing.uncertainty(noisy, strength=0.5, seed=3))
    assert not np.allclose(written, smoothing.uncertainty(noisy, seed=3), rtol=1e-3)


def test_the_map_of_uncertainty_is_not_of_samples() -> None:
    with pytest.raises(ConfigError, match="spread"):
        Wanted(sampler="srds", uncertainty=True)


@pytest.mark.parametrize("flat", [True, False])
def test_only_a_scan_without_noise_is_said_to_have_none(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, flat: bool
) -> None:
    """Not one of which the model was told to take nothing away."""
    pixels = np.kron(np.eye(4, dtype=np.float32), np.ones((16, 16), np.float32)) if flat else noisy_disks(1)[0]
    np.save(tmp_path / "scan.npy", pixels)
    model = replace(load_model(smoke_model), strength=0.0)
    found, _ = find([tmp_path / "scan.npy"])
    with caplog.at_level(logging.INFO, logger="diffdenoise"):
        denoise_scans(Denoiser(model, "cpu"), found, tmp_path / "out", Wanted(), lambda what, done, total: None)
    np.testing.assert_allclose(np.load(tmp_path / "out" / "scan.npy"), pixels, atol=1e-6)
    assert ("no noise is found" in caplog.text) == flat


def test_a_source_that_went_away_stops_neither_the_question_nor_the_others(smoke_model: Path, tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", noisy_disks(slices=1))
    found, _ = find([tmp_path])
    denoiser, out = Denoiser(load_model(smoke_model), "cpu"), tmp_path / "out"
    denoise_scans(denoiser, found, out, Wanted(), lambda what, done, total: None)
    (tmp_path / "a.npy").unlink()
    assert blocked(found, out, Wanted()) == []
    outcome = denoise_scans(denoiser, found, out, Wanted(), lambda what, done, total: None)
    assert [Path(error.path).name for error in outcome.failed] == ["a.npy"]
    assert outcome.unchanged == ["b.npy"]


def test_a_target_that_cannot_be_asked_about_is_told_before_the_training_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(item: Found, *_: object) -> None:
        if item.name == "a.npy":
            raise OSError("input/output error")

    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", noisy_disks(slices=1))
    found, _ = find([tmp_path])
    monkeypatch.setattr(batch, "check_target", no_disk)
    (error,) = blocked(found, tmp_path / "out", Wanted())
    assert "a.npy: its result cannot be written (input/output error)" in str(error)


def test_what_was_written_counts_though_a_later_map_fails(
    smoke_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(scan: Scan, out: Path, provenance: Provenance) -> Path:
        if provenance.quantity == "removed":
            raise ScanError(scan.name, "cannot be written", "Free some space.")
        return write_scan(scan, out, provenance)

    np.save(tmp_path / "a.npy", noisy_disks(slices=1))
    found, _ = find([tmp_path])
    monkeypatch.setattr(batch, "write_scan", write)
    denoiser, out = Denoiser(load_model(smoke_model), "cpu"), tmp_path / "out"
    outcome = denoise_scans(denoiser, found, out, Wanted(removed=True), lambda what, done, total: None)
    assert outcome.written == [out / "a.npy"]
    assert len(outcome.failed) == 1


@pytest.mark.parametrize(("masked", "floor"), [(True, "remove"), (False, "remove"), (True, "keep")])
def test_a_floor_that_could_not_be_taken_off_is_told(
    smoke_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, masked: bool, floor: str
) -> None:
    clean = torch.from_numpy(mni_slices(60, 2, 10))
    noisy = 500 * rician(clean, 0.06, torch.Generator().manual_seed(0)).numpy()
    np.save(tmp_path / "scan.npy", np.where(clean.numpy() < 0.1, 0, noisy) if masked else noisy)
    config = make_config("fast", {"noise_floor": floor})
    model = replace(load_model(smoke_model), rounds=(Round(None, Scaled(1.0)),), config=config)
    found, _ = find([tmp_path / "scan.npy"])
    with caplog.at_level(logging.INFO, logger="diffdenoise"):
        denoise_scans(Denoiser(model, "cpu"), found, tmp_path / "out", Wanted(), lambda what, done, total: None)
    assert ("floor of the noise is left on" in caplog.text) == (masked and floor == "remove")
