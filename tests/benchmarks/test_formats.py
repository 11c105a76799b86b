"""The table of formats: a check that fails where a file comes back changed, and the page made from its results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.formats.check import check_file, check_folder
from benchmarks.formats.judges import JUDGES, ask
from benchmarks.formats.made import make_files
from benchmarks.formats.page import outcome, write_page
from diffdenoise.scans import dicom_derive, dicom_pixels, nifti, tiff
from diffdenoise.scans.files import write_scan
from diffdenoise.scans.formats import FORMATS
from tests.scans.dicom_checks import bundled
from tests.scans.format_checks import PROVENANCE, REMOVED, read

ROOT = Path(__file__).parents[2]
REFUSED = {"colour.png", "colour.tif", "kspace_only.h5", "two_images.npz"}


def test_the_committed_page_is_made_from_the_committed_results(tmp_path: Path) -> None:
    write_page(ROOT / "benchmarks" / "results" / "formats", tmp_path)
    assert (tmp_path / "formats.md").read_text() == (ROOT / "docs" / "formats.md").read_text()


def test_the_page_begins_with_all_that_is_read() -> None:
    table = (ROOT / "docs" / "formats.md").read_text().split("\n\n")[1]
    named = {name.lower() for name in re.findall(r"`(\.\S+)`", table)}
    assert named == {".dcm", ".ima", *(suffix for form in FORMATS.values() for suffix in form.SUFFIXES)}


def committed() -> list[dict[str, Any]]:
    return json.loads((ROOT / "benchmarks" / "results" / "formats" / "files.json").read_text())


def test_no_committed_outcome_is_a_fault() -> None:
    records = committed()
    assert len(records) > 60
    assert not [record["file"] for record in records if outcome(record).startswith("**")]


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["formats_dicom", "formats_nifti_etc"])
def test_of_the_shared_files_the_same_becomes_as_is_committed(shared_data: Path, folder: str) -> None:
    outcomes = {record["file"]: outcome(record) for record in check_folder(shared_data / folder)}
    assert outcomes == {record["file"]: outcome(record) for record in committed() if record["folder"] == folder}


def test_files_of_all_formats_are_kept_or_refused(tmp_path: Path) -> None:
    outcomes = {record["file"]: outcome(record) for record in check_folder(make_files(tmp_path / "made"))}
    assert {name for name, said in outcomes.items() if said.startswith("refused")} == REFUSED
    assert {said for name, said in outcomes.items() if name not in REFUSED} == {"kept"}
    assert len(outcomes) > 25


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"])
def test_dicom_is_kept(name: str) -> None:
    assert outcome(check_file(bundled(name))) == "kept"


def _lose_geometry(dataset: Any, provenance: Any, whole: Any = dicom_derive.derive) -> None:
    whole(dataset, provenance)
    dataset.PixelSpacing = [1, 1]


def _lose_a_tag(dataset: Any, provenance: Any, whole: Any = dicom_derive.derive) -> None:
    whole(dataset, provenance)
    del dataset.PatientID


def _lose_a_step(dataset: Any, pixels: np.ndarray, scale: Any, whole: Any = dicom_pixels.replace) -> None:
    whole(dataset, pixels + 1, scale)


@pytest.mark.parametrize(
    ("place", "name", "broken", "said"),
    [
        (dicom_derive, "derive", _lose_geometry, "geometry"),
        (dicom_derive, "derive", _lose_a_tag, "PatientID"),
        (dicom_pixels, "replace", _lose_a_step, "unchanged pixels, changed pixels"),
    ],
)
def test_what_is_not_kept_is_told(
    place: Any, name: str, broken: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, broken)
    assert outcome(check_file(bundled("CT_small.dcm"))).startswith(f"**differs**: {said}")


def test_a_writer_that_writes_nothing_new_or_rounds_down_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_files(tmp_path)
    monkeypatch.setattr(tiff, "to_stored", lambda pixels, original: original)
    assert outcome(check_file(made / "lzw.tif")) == "**differs**: changed pixels"
    monkeypatch.setattr(nifti, "to_stored", lambda pixels, original, *scale: original)
    assert outcome(check_file(made / "double.nii")) == "**differs**: changed pixels"


@pytest.mark.parametrize("judge", JUDGES)
def test_judges_agree_with_derived_images(judge: str, tmp_path: Path) -> None:
    if JUDGES[judge].version() is None:
        pytest.skip("not installed here")
    pairs = []
    for path in (bundled("CT_small.dcm"), bundled("MR_small.dcm")):
        scan = read(path)
        noise = np.random.default_rng(0).normal(scale=3, size=scan.pixels.shape).astype(np.float32)
        pairs.append((path, write_scan(scan.with_pixels(scan.pixels + noise), tmp_path, PROVENANCE)))
        pairs.append((path, write_scan(scan.with_pixels(noise), tmp_path, REMOVED)))
    verdict = ask(judge, pairs)
    assert verdict["objections"] == {}
    assert verdict["agree"] == verdict["files"] == len(pairs)


@pytest.mark.parametrize("judge", JUDGES)
def test_judges_object_to_what_is_wrong(judge: str, tmp_path: Path) -> None:
    if JUDGES[judge].version() is None:
        pytest.skip("not installed here")
    import pydicom

    wrong = pydicom.dcmread(bundled("MR_small.dcm"))
    wrong.PixelSpacing, wrong.ImagePositionPatient = [9, 9], [1, 2, 3]
    del wrong.StudyInstanceUID
    wrong.save_as(tmp_path / "wrong.dcm")
    if judge.startswith("dcmdump"):
        (tmp_path / "wrong.dcm").write_bytes((tmp_path / "wrong.dcm").read_bytes()[:-900])
    assert set(ask(judge, [(bundled("MR_small.dcm"), tmp_path / "wrong.dcm")])["objections"]) == {"wrong.dcm"}


def test_a_judge_that_is_not_installed_is_not_asked_and_never_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    verdict = ask("dcm2niix", [(Path("a"), Path("b"))])
    assert not verdict["asked"]
    assert "agree" not in verdict
