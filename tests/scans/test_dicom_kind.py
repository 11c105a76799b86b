"""What lies in a study beside the images: recognised, told with a reason, left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.scans.dicom_kind import check_kind
from diffdenoise.scans.files import find, read_scan
from tests.scans.dicom_checks import bundled, changed_copy, made, multi_frame, no_image, series
from tests.scans.format_checks import read

STORAGE = "1.2.840.10008.5.1.4.1.1"
SECONDARY_CAPTURE = f"{STORAGE}.7"
CLASSES = {
    "dose_report": (f"{STORAGE}.88.67", "Radiation Dose SR"),
    "report": (f"{STORAGE}.88.33", "Comprehensive SR"),
    "key_objects": (f"{STORAGE}.88.59", "Key Object"),
    "presentation": (f"{STORAGE}.11.1", "Presentation State"),
    "structures": (f"{STORAGE}.481.3", "RT Structure Set"),
    "plan": (f"{STORAGE}.481.5", "RT Plan"),
    "dose": (f"{STORAGE}.481.2", "RT Dose"),
    "raw": (f"{STORAGE}.66", "Raw Data"),
    "registration": (f"{STORAGE}.66.1", "Registration"),
    "pdf": (f"{STORAGE}.104.1", "Encapsulated PDF"),
    "ecg": (f"{STORAGE}.9.1.1", "ECG"),
    "spectrum": (f"{STORAGE}.4.2", "Spectroscopy"),
    "private": ("1.3.12.2.1107.5.9.1", "private object without pixels"),
}
GREY = np.arange(64, dtype=np.uint16).reshape(8, 8)


def study(folder: Path) -> Path:
    """Four slices, and all that a scanner and a department put beside them."""
    series(folder / "t1", {"a": 0, "b": 1, "c": 2, "d": 3})
    for name, (class_, _) in CLASSES.items():
        no_image(folder / "other" / name, class_, Modality="OT")
    made(folder / "scout.dcm", GREY, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    made(folder / "shot.dcm", GREY, SOPClassUID=SECONDARY_CAPTURE, BurnedInAnnotation="YES")
    made(folder / "screen.dcm", GREY, SOPClassUID=SECONDARY_CAPTURE, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    changed_copy(bundled("examples_palette.dcm"), folder / "colour.dcm")
    return folder


def test_a_study_gives_its_images_and_tells_of_the_rest(tmp_path: Path) -> None:
    found, errors = find([study(tmp_path / "study")])
    assert [(item.name, len(item.paths)) for item in found] == [("t1", 4)]
    assert all(isinstance(error, LeftAlone) for error in errors)
    told = {Path(error.path).name: error.fault for error in errors}
    words = {name: word for name, (_, word) in CLASSES.items()}
    words |= {"scout.dcm": "localizer", "shot.dcm": "burned", "screen.dcm": "burned", "colour.dcm": "colour"}
    assert told.keys() == words.keys()
    for name, word in words.items():
        assert word in told[name]


def test_named_by_itself_it_is_an_error(tmp_path: Path) -> None:
    folder = study(tmp_path)
    for path in (folder / "other" / "pdf", folder / "scout.dcm", folder / "colour.dcm"):
        with pytest.raises(ScanError, match=path.name) as caught:
            read(path)
        assert not isinstance(caught.value, LeftAlone)


def test_the_list_of_a_disc_is_told_where_it_is_named_and_passed_over_in_a_folder(tmp_path: Path) -> None:
    lists = [tmp_path / name for name in ("DICOMDIR", "other/DICOMDIR")]
    image = series(tmp_path, {"a": 0}) / "a"
    for path in lists:
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(bundled("DICOMDIR"), path)
    for named in (lists[:1], lists, [*lists, image]):
        found, errors = find(named)
        assert [item.paths for item in found] == [(path,) for path in named if path == image]
        assert [error.path for error in errors] == lists[: len(errors)]
        assert len(errors) == min(len(named), 2)
        assert all("list of a disc" in str(error) and "Name the folder it lies in." in str(error) for error in errors)
        assert not any(isinstance(error, LeftAlone) for error in errors)
    (found,), errors = find([tmp_path])
    assert (found.paths, errors) == ((image,), [])
    (alone,), _ = find(lists[:1], own_results=True)  # as `info` does
    with pytest.raises(ScanError, match="Name the folder it lies in"):
        read_scan(alone)


def test_a_folder_of_nothing_else_is_an_error(tmp_path: Path) -> None:
    no_image(tmp_path / "dose", CLASSES["dose_report"][0])
    found, errors = find([tmp_path])
    assert not found
    assert [type(error) for error in errors] == [LeftAlone, ScanError]
    assert "holds no images to denoise (1 of other kinds: " in str(errors[1])
    assert errors[0].fault in str(errors[1])


def test_what_is_damaged_is_not_left_alone(tmp_path: Path) -> None:
    whole = series(tmp_path / "t1", {"a": 0, "b": 1}) / "a"
    (tmp_path / "cut.dcm").write_bytes(whole.read_bytes()[:400])
    (tmp_path / "junk.dcm").write_bytes(b"\0" * 128 + b"DICMjunk" * 9)
    found, errors = find([tmp_path])
    assert not errors
    assert sorted(item.name for item in found) == ["cut.dcm", "junk.dcm", "t1"]


def test_images_of_unusual_classes_are_images(tmp_path: Path) -> None:
    classes = {"capture": SECONDARY_CAPTURE, "portal": f"{STORAGE}.481.1", "private": "1.3.12.2.1107.5.9.7"}
    for number, (name, class_) in enumerate(classes.items()):
        made(tmp_path / name, GREY, SOPClassUID=class_, SeriesInstanceUID=f"1.2.3.{number}")
    made(tmp_path / "map", GREY.astype(np.float32), SOPClassUID=f"{STORAGE}.30", SeriesInstanceUID="1.2.3.9")
    found, errors = find([tmp_path])
    assert not errors
    assert {item.name for item in found} == {*classes, "map"}


def test_a_volume_of_ultrasound_is_an_image(tmp_path: Path) -> None:
    path = changed_copy(multi_frame(tmp_path / "a.dcm"), tmp_path / "a.dcm", SOPClassUID=f"{STORAGE}.6.2")
    assert len(read(path).pixels) == 2
    assert not find([tmp_path])[1]


def ge_part(path: Path, number: int) -> None:
    """What GE says in an element of its own: 0 magnitude, 1 phase, 2 real, 3 imaginary."""
    dataset = pydicom.dcmread(path)
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x2F, "SS", [number, 0, 0])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.save_as(path)


def test_phase_images_of_ge_are_left_alone(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {name: number for number, name in enumerate(("m0", "m1", "p0", "p1"))})
    for path in folder.iterdir():
        ge_part(path, int(path.name.startswith("p")))
    (found,), told = find([folder])
    assert sorted(path.name for path in found.paths) == ["m0", "m1"]
    assert {Path(one.path).name for one in told if isinstance(one, LeftAlone) and "phase" in one.fault} == {"p0", "p1"}


@pytest.mark.parametrize("said", [{"FrameType": ["ORIGINAL", "PRIMARY", "P"]}, {"ComplexImageComponent": "PHASE"}])
def test_frames_of_which_some_are_phases_are_refused(tmp_path: Path, said: dict[str, object]) -> None:
    path = multi_frame(tmp_path / "a.dcm")
    assert len(read(path).pixels) == 2
    dataset = pydicom.dcmread(path)
    for keyword, value in said.items():
        setattr(dataset.PerFrameFunctionalGroupsSequence[1].MRImageFrameTypeSequence[0], keyword, value)
    dataset.save_as(path)
    with pytest.raises(ScanError, match="phase images"):
        read(path)


def test_elements_that_break_the_standard_are_told_where_they_lie(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a": 0, "b": 1, "equipment": 2, "rows": 3})
    for name, tag, kind, value in (
        ("equipment", 0x0018A001, "LO", "abc"),  # of our name there is asked: it should be a sequence
        ("rows", 0x00280010, "US", [64, 64]),
    ):
        dataset = pydicom.dcmread(folder / name)
        dataset[tag] = DataElement(tag, kind, value)
        dataset.save_as(folder / name)
    found, _ = find([folder])
    assert sorted(path.name for item in found for path in item.paths) == ["a", "b", "equipment", "rows"]
    for name in ("equipment", "rows"):
        with pytest.raises(ScanError, match=name):
            check_kind(folder / name) if name == "equipment" else read(folder / name)


@pytest.mark.parametrize("term", ["PHASE MAP", "PHASE SUBTRACT"])
def test_phase_images_by_the_words_of_the_standard_are_left_alone(tmp_path: Path, term: str) -> None:
    folder = series(tmp_path / "in", {"m0": 0, "m1": 1})
    for name in ("m0", "m1"):
        uid = {"SOPInstanceUID": f"1.2.9.{name[1]}"}
        changed_copy(folder / name, folder / f"p{name[1]}", ImageType=["ORIGINAL", "PRIMARY", term], **uid)
    (found,), told = find([folder])
    assert [path.name for path in found.paths] == ["m0", "m1"]
    assert {Path(one.path).name for one in told if "phase" in one.fault} == {"p0", "p1"}
