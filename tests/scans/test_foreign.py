from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.evaluate import evaluate_scans
from diffdenoise.scans.files import find, is_done, read_scan, write_scan
from tests.scans.format_checks import PROVENANCE, REMOVED, read

NIBABELS_OWN = Path(nibabel.__file__).parent / "tests" / "data"  # its wheel carries small files of most formats
PHANTOM, MINC, AFNI = "phantom_EPI_asc_CLEAR_2_1", "minc2_1_scale.mnc", "example4d+orig"


def copied(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        shutil.copy(NIBABELS_OWN / name, folder)
    return folder / names[0]


@pytest.fixture(params=[(f"{PHANTOM}.PAR", f"{PHANTOM}.REC"), (MINC,), (f"{AFNI}.HEAD", f"{AFNI}.BRIK.gz")])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if not all((NIBABELS_OWN / name).exists() for name in request.param):
        pytest.skip("nibabel came without its data")
    return copied(tmp_path / "in", *request.param)


def test_it_becomes_nifti_in_the_same_place(source: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in source.parent.iterdir()}
    scan, original = read(source), nibabel.load(source)
    assert scan.frames == (original.shape[3] if len(original.shape) > 3 else 1)
    stem = source.name.removesuffix(source.suffix)
    for provenance, name in ((PROVENANCE, f"{stem}.nii.gz"), (REMOVED, f"{stem}_removed.nii.gz")):
        written = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", provenance)
        result = nibabel.load(written)
        assert written.name == name
        np.testing.assert_allclose(result.affine, original.affine, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(result.get_fdata(), original.get_fdata() + 1, rtol=1e-6, atol=1e-6)
        zooms = original.header.get_zooms()
        assert result.header.get_zooms() == pytest.approx([float(size) for size in zooms], rel=1e-6)
    assert {path: path.read_bytes() for path in source.parent.iterdir()} == before


@pytest.mark.parametrize(("code", "unit"), [(77001, "msec"), (77002, "sec"), (77003, "hz")])
def test_time_is_in_the_unit_that_afni_names(tmp_path: Path, code: int, unit: str) -> None:
    if not (NIBABELS_OWN / f"{AFNI}.HEAD").exists():
        pytest.skip("nibabel came without its data")
    source = copied(tmp_path / "in", f"{AFNI}.HEAD", f"{AFNI}.BRIK.gz")
    text = source.read_text()
    assert " 3 25 77002 " in text
    source.write_text(text.replace(" 3 25 77002 ", f" 3 25 {code} "))
    header = nibabel.load(write_scan(read(source), tmp_path / "out", PROVENANCE)).header
    assert header.get_xyzt_units() == ("mm", unit)
    assert header.get_zooms()[3] == nibabel.load(source).header.get_zooms()[3]


def test_a_folder_of_them_is_found_once_each(source: Path) -> None:
    found, errors = find([source.parent])
    assert not errors
    assert [item.name for item in found] == [source.name]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.PAR"
    lonely.write_text("# header without pixels")
    with pytest.raises(ScanError, match=r"no \.REC file beside it"):
        read(lonely)
    with pytest.raises(ScanError, match=r"ends in \.Par, .*Rename it"):  # nibabel would read lonely.par
        read(lonely.rename(tmp_path / "lonely.Par"))
    with h5py.File(tmp_path / "broken.mnc", "w"):
        pass
    found, _ = find([tmp_path / "broken.mnc"])
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(found[0])


@pytest.mark.parametrize("way", ["storage", "link"])
def test_minc_files_that_lead_to_another_file_are_refused(tmp_path: Path, way: str) -> None:
    if not (NIBABELS_OWN / MINC).exists():
        pytest.skip("nibabel came without its data")
    whole = copied(tmp_path / "whole", MINC)
    shutil.copy(whole, tmp_path / "led.mnc")
    read(tmp_path / "led.mnc")
    with h5py.File(tmp_path / "led.mnc", "r+") as file:
        place = file["minc-2.0/image/0"]
        image = place.pop("image")
        if way == "link":
            place["image"] = h5py.ExternalLink(whole, "/minc-2.0/image/0/image")
        else:
            place.create_dataset("image", image.shape, image.dtype, external=[(str(whole), 0, image.nbytes)])
    with pytest.raises(ScanError, match="in another file"):
        read(tmp_path / "led.mnc")


def test_results_are_evaluated_against_references_in_the_format_they_came_in(source: Path, tmp_path: Path) -> None:
    np.save(source.parent / "other.npy", np.random.default_rng(0).random((2, 20, 20)))
    found, _ = find([source.parent])
    for item in found:
        write_scan(read_scan(item), tmp_path / "out", PROVENANCE)
    rows, errors = evaluate_scans(tmp_path / "out", source.parent, None, "fastMRI")
    assert not errors
    assert len(rows) == 2


def test_pixels_that_changed_beside_their_header_are_denoised_again(tmp_path: Path) -> None:
    if not (NIBABELS_OWN / f"{PHANTOM}.REC").exists():
        pytest.skip("nibabel came without its data")
    header = copied(tmp_path / "in", f"{PHANTOM}.PAR", f"{PHANTOM}.REC")
    (item,), _ = find([header])
    write_scan(read_scan(item), tmp_path / "out", PROVENANCE)
    assert is_done(item, tmp_path / "out", PROVENANCE)
    pixels = header.with_suffix(".REC")
    pixels.write_bytes(bytes(1000) + pixels.read_bytes()[1000:])
    assert not is_done(item, tmp_path / "out", PROVENANCE)


def test_phase_images_among_those_of_a_par_file_are_left_alone(tmp_path: Path) -> None:
    if not (NIBABELS_OWN / "fieldmap.PAR").exists():
        pytest.skip("nibabel came without its data")
    source = copied(tmp_path / "in", "fieldmap.PAR")  # magnitude and phase
    found, told = find([source.parent])
    assert not found
    assert isinstance(told[0], LeftAlone)
    assert "phase" in told[0].fault
    source.with_suffix(".REC").write_bytes(b"0")
    with pytest.raises(ScanError, match="phase"):
        read(source)


def test_what_shares_only_the_suffix_is_left_alone(source: Path) -> None:
    (source.parent / "bold_mcf.par").write_text("0.0 0.001 -0.002 0.1 0.2 0.3\n" * 5)  # FSL's table of movement
    (source.parent / "notes.head").write_text("to be read first\n")
    found, errors = find([source.parent])
    assert [item.paths[0] for item in found] == [source]
    assert {(type(error), Path(error.path).name) for error in errors} == {
        (LeftAlone, "bold_mcf.par"),
        (LeftAlone, "notes.head"),
    }
