from __future__ import annotations

import shutil
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from diffdenoise.errors import ScanError
from diffdenoise.scans.dicom_derive import is_ours
from diffdenoise.scans.files import find, is_done, read_scan, write_scan
from diffdenoise.scans.scan import Provenance, Scan
from tests.scans.dicom_checks import bundled, changed_copy, multi_frame, raw, series
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


KANJI = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm"])
@pytest.mark.parametrize(
    "values",
    [
        {"SpecificCharacterSet": b"\\ISO 2022 IR 87", "PatientName": KANJI},
        {"SpecificCharacterSet": b"\\ISO 2022 IR 149"},
        {"SpecificCharacterSet": b"", "PatientName": b"M\xfcller^A"},
        {"SpecificCharacterSet": b"ISO_IR 6"},
        {"SpecificCharacterSet": b"ISO 2022 IR 100"},
        {"PatientSex": b"U"},
        {"PatientBirthDate": b"19600000"},
        {"StudyDate": b"unknown", "StudyTime": b"99:99"},
        {"SliceThickness": None},
        {"SliceThickness": b"thin", "SpacingBetweenSlices": b"wide"},
        {"SeriesNumber": b"A1"},
    ],
)
def test_headers_that_break_the_standard_where_many_do_still_get_a_map(
    tmp_path: Path, name: str, values: dict[str, bytes | None]
) -> None:
    path = changed_copy(bundled(name), tmp_path / "a.dcm", FrameOfReferenceUID="1.2.3")
    wanted = map_of(read(raw(path, **values)))
    result = pydicom.dcmread(write_scan(wanted, tmp_path / "out", MAP))
    assert result.SOPClassUID.name == PARAMETRIC
    np.testing.assert_array_equal(result.pixel_array, wanted.pixels[0])
    name_of = lambda file: file.get_item("PatientName").value  # noqa: E731
    assert name_of(result) == name_of(pydicom.dcmread(path)) == values.get("PatientName", name_of(result))


WHEN = [f"{name}{kind}" for name in ("Content", "Study", "Series") for kind in ("Date", "Time")]


def test_a_map_always_says_when_by_its_source_if_that_says_so(tmp_path: Path) -> None:
    path = changed_copy(bundled("MR_small.dcm"), tmp_path / "a.dcm", **dict.fromkeys(WHEN, ""))
    changed_copy(path, path, FrameOfReferenceUID="1.2.3", AcquisitionDate="20010203", AcquisitionTime="040506")
    result = pydicom.dcmread(write_scan(map_of(read(path)), tmp_path / "out", MAP))
    assert (result.ContentDate, result.ContentTime) == ("20010203", "040506")
    others = ("AcquisitionDate", "AcquisitionTime", "InstanceCreationDate", "InstanceCreationTime")
    changed_copy(path, path, **dict.fromkeys(others, ""))
    result = pydicom.dcmread(write_scan(map_of(read(path)), tmp_path / "new", MAP))
    assert result.SOPClassUID.name == PARAMETRIC
    assert all(result.get(keyword) for keyword in ("ContentDate", "ContentTime"))


def test_where_no_map_can_be_made_of_the_headers_there_are_images_of_the_sources_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("some rule of the standard")

    scan = four(tmp_path)
    wanted = map_of(scan)
    monkeypatch.setattr(highdicom.pm, "ParametricMap", refuse)
    result = write_scan(wanted, tmp_path / "out", MAP)
    assert {path.name for path in result.iterdir()} == {path.name for path in scan.paths}
    (back,), _ = find([result], own_results=True)
    np.testing.assert_allclose(read_scan(back).pixels, wanted.pixels, atol=1e-4)


def test_too_little_memory_for_a_map_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow(*_: object, **__: object) -> None:
        raise MemoryError

    wanted = map_of(four(tmp_path))
    monkeypatch.setattr(highdicom.pm, "ParametricMap", grow)
    with pytest.raises(ScanError, match="memory"):
        write_scan(wanted, tmp_path / "out", MAP)


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
