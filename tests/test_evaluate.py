from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from diffdenoise import Denoiser
from diffdenoise.batch import Wanted, denoise_scans
from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.evaluate import evaluate_scans, figures_table, finite, grouped, mean_of, write_figures
from diffdenoise.scans.files import find
from tests.conftest import noisy_disks
from tests.scans.dicom_checks import bundled, changed_copy, series


def stored(path: Path, seed: int = 0, sigma: float = 0.05) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, noisy_disks(slices=1, sigma=sigma, seed=seed))
    return path


def test_two_files_are_a_pair_but_folders_go_by_names(tmp_path: Path) -> None:
    one, other = stored(tmp_path / "results" / "a.npy"), stored(tmp_path / "clean" / "b.npy", sigma=0)
    assert len(evaluate_scans(one, other, None, "unit")[0]) == 1
    rows, errors = evaluate_scans(one.parent, other.parent, None, "unit")
    assert not rows
    assert "no reference" in str(errors[0])


def test_a_noisy_input_that_is_missing_is_told_and_the_others_are_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        stored(tmp_path / "results" / f"{name}.npy")
        stored(tmp_path / "clean" / f"{name}.npy", sigma=0)
    stored(tmp_path / "noisy" / "b.npy", seed=2, sigma=0.1)
    rows, errors = evaluate_scans(tmp_path / "results", tmp_path / "clean", tmp_path / "noisy", "unit")
    assert ["noisy_psnr" in row for row in rows] == [False, True]
    assert "no noisy input" in str(errors[0])
    # Of each scan, and their mean, after; before, where it is known: a mean before of other scans would be none.
    assert figures_table(rows, "unit").row_count == 4
    with_all, _ = evaluate_scans(tmp_path / "results" / "b.npy", tmp_path / "clean", tmp_path / "noisy", "unit")
    assert figures_table(2 * with_all, "unit").row_count == 6


def test_what_is_wrong_among_the_references_is_told(tmp_path: Path) -> None:
    stored(tmp_path / "results" / "a.npy")
    stored(tmp_path / "clean" / "a.npy", sigma=0)
    for name, pixel in (("b.dcm", 1), ("c.dcm", 2)):  # of one UID
        pixels = np.full((64, 64), pixel, np.int16).tobytes()
        changed_copy(bundled("MR_small.dcm"), tmp_path / "clean" / name, PixelData=pixels)
    rows, errors = evaluate_scans(tmp_path / "results", tmp_path / "clean", None, "unit")
    assert len(rows) == 1
    assert "other pixels" in str(errors[0])


def test_series_right_in_the_folders_match_by_what_they_are(tmp_path: Path) -> None:
    for folder in ("results", "clean"):
        for number in (1, 2):
            tags = {"SeriesDescription": f"T{number}", "SeriesNumber": number, "SeriesInstanceUID": f"1.2.{number}"}
            series(tmp_path / folder, {f"{number}{name}": n for n, name in enumerate("abcdefgh")}, **tags)
    rows, errors = evaluate_scans(tmp_path / "results", tmp_path / "clean", None, "fastMRI")
    assert not errors
    assert len(rows) == 2


@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
def test_the_range_of_8_bit_images_is_theirs_in_any_format_or_a_number(tmp_path: Path, name: str) -> None:
    image = (200 * noisy_disks(slices=1)[0].clip(0, 1)).astype(np.uint8)
    for path, pixels in ((tmp_path / f"x{name}", image + 5), (tmp_path / name, image)):
        np.save(path, pixels) if path.suffix == ".npy" else tifffile.imwrite(path, pixels)
    for span, top in (("unit", 255), (100.0, 100)):
        (row,), errors = evaluate_scans(tmp_path / f"x{name}", tmp_path / name, None, span)
        assert not errors
        assert row["psnr"] == pytest.approx(20 * np.log10(top / 5))


def test_equal_images_have_no_figure_in_json_and_a_reference_is_no_noisy_input(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.npy")
    (row,), _ = evaluate_scans(path, path, None, "unit")
    assert json.loads(json.dumps(finite(row)))["psnr"] is None
    assert "reference itself" in str(evaluate_scans(path, path, path, "unit")[1][0])


def test_a_reference_that_is_a_file_is_that_of_all_results_and_none_of_them(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for number in range(3):
        stored(results / f"{number}.npy", sigma=0.05 * (number + 1))
    clean, noisy = stored(results / "clean.npy", sigma=0), stored(tmp_path / "noisy.npy", sigma=0.2)
    rows, errors = evaluate_scans(results, clean, noisy, "unit")
    assert not errors
    assert [row["scan"] for row in rows] == ["0.npy", "1.npy", "2.npy"]
    assert rows[0]["psnr"] > rows[1]["psnr"] > rows[2]["psnr"] > rows[0]["noisy_psnr"] == rows[2]["noisy_psnr"]
    assert str(figures_table(rows, "unit").title).endswith("all against " + str(clean))
    assert "against" not in str(figures_table(rows[:1], "unit").title)


def test_errors_with_the_same_fault_are_one(tmp_path: Path) -> None:
    for number in range(5):
        stored(tmp_path / "results" / f"{number}.npy")
    np.save(tmp_path / "results" / "5.npy", noisy_disks(slices=2))
    rows, errors = evaluate_scans(tmp_path / "results", stored(tmp_path / "other" / "x.npy").parent, None, "unit")
    assert not rows
    assert len(errors) == 6
    (told,) = grouped(errors)
    assert str(told).startswith(f"{tmp_path}/results/0.npy, ")
    assert "2.npy and 3 more: has no reference of the same name. " in str(told)
    _, errors = evaluate_scans(tmp_path / "results", tmp_path / "other" / "x.npy", None, "unit")
    assert ["has shape (2, " in str(error) for error in errors] == [True]
    left, failed = LeftAlone("a", "is so", "Do."), ScanError("b", "is so", "Do.")
    assert [type(error) for error in grouped([left, failed])] == [LeftAlone, ScanError]


def test_figures_in_json_tell_the_mean_the_ranges_and_what_failed(tmp_path: Path) -> None:
    for name, sigma in (("a", 0.1), ("b", 0.2), ("c", 0.1)):
        stored(tmp_path / "results" / f"{name}.npy", sigma=sigma)
    tops = {name: np.load(stored(tmp_path / "clean" / f"{name}.npy", seed, 0)).max() for seed, name in enumerate("ab")}
    rows, errors = evaluate_scans(tmp_path / "results", tmp_path / "clean", None, "fastMRI")
    left = LeftAlone("mask.npy", "is a mask", "Leave it.")
    write_figures(tmp_path / "f.json", rows, [*errors, *errors, left], "fastMRI")
    said = json.loads((tmp_path / "f.json").read_text())
    assert said["data_range"] == "fastMRI"
    assert {row["scan"]: row["data_range"] for row in said["scans"]} == {f"{name}.npy": tops[name] for name in "ab"}
    assert said["scans"][1]["reference"] == str(tmp_path / "clean" / "b.npy")
    assert said["mean"]["psnr"] == pytest.approx((rows[0]["psnr"] + rows[1]["psnr"]) / 2)
    assert said["mean"].keys() == {"psnr", "ssim", "psnr_foreground", "ssim_foreground"}
    (failed,) = said["errors"]
    assert failed["path"] == str(tmp_path / "results" / "c.npy")
    assert failed["fault"] == "has no reference of the same name"
    assert mean_of([]) == {}


@pytest.mark.parametrize("rows", [16, 24])
def test_volumes_that_are_cut_along_other_axes_are_not_compared(tmp_path: Path, rows: int) -> None:
    """An identity in the place of the scan's own voxel sizes makes other slices, of a cube in the same shape."""
    volume = np.random.default_rng(0).random((16, 16, rows), dtype=np.float32)
    for name, sizes in (("a.nii", (1.2, 1, 1)), ("b.nii", (1, 1, 1))):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([*sizes, 1])), tmp_path / name)
    rows_, (error,) = evaluate_scans(tmp_path / "a.nii", tmp_path / "b.nii", None, "unit")
    assert not rows_
    assert "largest voxels along another axis" in str(error)


def test_results_are_no_noisy_inputs(smoke_model: Path, tmp_path: Path) -> None:
    """In a data set that holds both, a result would be compared with itself."""
    data, name = tmp_path / "data", "sub-1_T1w.nii"
    (data / "sub-1" / "anat").mkdir(parents=True)
    (data / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    volume = nibabel.Nifti1Image(noisy_disks().T, np.eye(4))
    nibabel.save(volume, data / "sub-1" / "anat" / name)
    nibabel.save(nibabel.Nifti1Image(noisy_disks(sigma=0).T, np.eye(4)), tmp_path / name)
    found, _ = find([data])
    denoise_scans(Denoiser.load(smoke_model, "cpu"), found, data / "work", Wanted(), lambda *_: None)
    (result,) = (data / "work").rglob("*.nii")
    (row,), _ = evaluate_scans(result, tmp_path / name, data, "unit")
    assert row["noisy_psnr"] != row["psnr"]


@pytest.mark.parametrize("share", [0.3, 0.0])
def test_the_noise_that_is_kept_is_that_of_the_result(tmp_path: Path, share: float) -> None:
    clean, noisy, result = stored(tmp_path / "clean.npy", sigma=0), stored(tmp_path / "noisy.npy"), tmp_path / "a.npy"
    truth, before = np.load(clean), np.load(noisy)
    np.save(result, truth + np.float32(share) * (before - truth))
    (row,), errors = evaluate_scans(result, clean, noisy, "unit")
    assert not errors
    assert row["noise_kept"] == pytest.approx(share, abs=1e-3)
    if share:
        assert row["psnr"] - row["noisy_psnr"] == pytest.approx(-20 * np.log10(share), abs=0.01)
