from __future__ import annotations

import shutil
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from diffdenoise.scans.dicom_derive import is_ours
from diffdenoise.scans.files import find, is_done, read_scan, write_scan
from diffdenoise.scans.scan import Provenance, Scan
from tests.scans.dicom_checks import bundled, changed_copy, multi_frame, series
from tests.scans.format_checks import read

MAP = Provenance("0.1.0", "f00d", {"sampler": "student"}, "uncertainty")
PARAMETRIC = "Parametric Map Storage"


def four(tmp_path: Path) -> Scan:
    folder = series(tmp_path / "in" / "knee", {"c.dcm": 0, "a": 1, "d.dcm": 2, "b.dcm": 3})
    (found,), errors = find([folder])
    assert not errors
    return read_scan(found)


def map_of(scan: Scan) -> Scan:
    return scan.with_pixels(np.random.default_rng(0).random(scan.pixels.shape).astype(np.float32))


def test_each_frame_is_where_its_source_is_and_holds_its_numbers_to_the_last_bit(tmp_path: Path) -> None:
    scan = four(tmp_path)
    wanted = map_of(scan)
    (file,) = write_scan(wanted, tmp_path / "out", MAP).iterdir()
    dataset = pydicom.dcmread(file)
    assert (dataset.SOPClassUID.name, is_ours(dataset)) == (PARAMETRIC, True)
    sources = [pydicom.dcmread(path) for path in scan.paths]
    numbers = {source.SOPInstanceUID: number for number, source in enumerate(sources)}
    frames = dataset.PerFrameFunctionalGroupsSequence
    refers = [frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for frame in frames]
    order = [numbers[uid] for uid in refers]
    assert sorted(order) == list(range(len(sources)))  # that of the patient's axes, whichever way the series ran
    np.testing.assert_array_equal(dataset.pixel_array, wanted.pixels[order])
    np.testing.assert_array_equal(read(file).pixels, wanted.pixels)  # along the normal, like the series itself
    for frame, number in zip(frames, order, strict=True):
        assert frame.PlanePositionSequence[0].ImagePositionPatient == sources[number].ImagePositionPatient
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset.get(keyword) == sources[0].get(keyword), keyword
    volume = highdicom.imread(file).get_volume()
    assert volume.spatial_shape == scan.pixels.shape


def test_made_again_it_is_the_same_file_and_another_model_makes_another_instance(tmp_path: Path) -> None:
    scan = map_of(four(tmp_path))
    first, again = (next(write_scan(scan, tmp_path / name, MAP).iterdir()) for name in ("1", "2"))
    assert first.read_bytes() == again.read_bytes()
    assert is_done(scan, tmp_path / "1", MAP)
    other = next(write_scan(scan, tmp_path / "3", Provenance("0.1.0", "beef", MAP.settings, MAP.quantity)).iterdir())
    assert pydicom.dcmread(other).SOPInstanceUID != pydicom.dcmread(first).SOPInstanceUID
    assert pydicom.dcmread(other).SeriesInstanceUID != pydicom.dcmread(first).SeriesInstanceUID


def test_numbers_of_ct_are_hounsfield_units(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_scan(map_of(read(bundled("CT_small.dcm"))), tmp_path, MAP))
    (group,) = dataset.SharedFunctionalGroupsSequence
    (mapping,) = group.RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"


def no_space(tmp_path: Path) -> Path:
    return changed_copy(bundled("MR_small.dcm"), tmp_path / "a.dcm", FrameOfReferenceUID="")


def frames_without_a_place(tmp_path: Path) -> Path:
    return multi_frame(tmp_path / "a.dcm")


@pytest.mark.parametrize("make", [no_space, frames_without_a_place])
def test_what_lies_in_no_patients_space_gets_a_map_of_its_own_class(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = make(tmp_path)
    wanted = map_of(read(source))
    result = write_scan(wanted, tmp_path / "out", MAP)
    assert pydicom.dcmread(result).SOPClassUID == pydicom.dcmread(source).SOPClassUID
    np.testing.assert_allclose(read(result).pixels, wanted.pixels, atol=1e-4)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian: dicom3tools)")
@pytest.mark.parametrize("top", [0.01, 1.0, 1000.0])
def test_dciodvfy_finds_no_error(top: float, tmp_path: Path) -> None:
    import subprocess

    scan = map_of(four(tmp_path))
    (file,) = write_scan(scan.with_pixels(top * scan.pixels), tmp_path / "out", MAP).iterdir()
    said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
    assert "Error" not in said.stderr + said.stdout
