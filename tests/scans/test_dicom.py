from __future__ import annotations

import math
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.errors import LeftAlone, OwnResult, ScanError
from diffdenoise.scans import dicom
from diffdenoise.scans.dicom import output_names
from diffdenoise.scans.dicom_derive import is_ours
from diffdenoise.scans.dicom_scale import SignedScale
from diffdenoise.scans.files import find, is_done, read_scan, write_scan
from diffdenoise.scans.scan import Provenance
from tests.scans.dicom_checks import bundled, changed_copy, modality_table, multi_frame, raw, series
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

CHANGED = {
    "InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "SOPInstanceUID", "SeriesInstanceUID",
    "SeriesDescription", "SeriesNumber", "ImageType", "DerivationDescription", "DerivationCodeSequence",
    "SourceImageSequence", "ContributingEquipmentSequence", "PixelData", "SmallestImagePixelValue",
    "LargestImagePixelValue", "DataSetTrailingPadding",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
     "MR_small_jp2klossless.dcm", ],
)  # fmt: skip
def test_identity_of_pixels_and_all_other_tags(name: str, tmp_path: Path) -> None:
    path = bundled(name)
    before, after = pydicom.dcmread(path), pydicom.dcmread(round_trip(path, tmp_path))
    np.testing.assert_array_equal(after.pixel_array, before.pixel_array)
    assert after.pixel_array.dtype == before.pixel_array.dtype.newbyteorder("<")
    assert after.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    differing = {e.keyword for e in (*before, *after) if before.get(e.tag) != after.get(e.tag)}
    assert differing <= CHANGED


def test_rescaled_values_and_units(tmp_path: Path) -> None:
    scan = read(bundled("CT_small.dcm"))
    dataset = pydicom.dcmread(bundled("CT_small.dcm"))
    np.testing.assert_array_equal(scan.pixels[0], dataset.pixel_array.astype(np.float32) - 1024)
    assert (scan.units, scan.modality, scan.step) == ("HU", "CT", 1)
    for other in (read(bundled("MR_small.dcm")), read(series(tmp_path, {"a": 0, "b": 1}))):
        assert (other.units, other.modality) == ("arbitrary", "MR")


def test_derived_image_says_what_it_is_and_whence(tmp_path: Path) -> None:
    source = pydicom.dcmread(bundled("CT_small.dcm"))
    result = pydicom.dcmread(round_trip(bundled("CT_small.dcm"), tmp_path))
    assert list(result.ImageType) == ["DERIVED", *source.ImageType[1:]]
    assert result.SOPInstanceUID != source.SOPInstanceUID
    assert result.SeriesInstanceUID != source.SeriesInstanceUID
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID
    for kept in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "ImagePositionPatient"):
        assert result[kept] == source[kept]
    (reference,) = result.SourceImageSequence
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    for word in ("diffdenoise 0.1.0", "f00d", "Research use only, not a medical device"):
        assert word in result.DerivationDescription
    equipment = result.ContributingEquipmentSequence[-1]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109103"
    assert equipment.SoftwareVersions == "0.1.0"
    assert result.SeriesDescription.endswith("denoised")
    assert result.SeriesNumber == source.SeriesNumber + 1000


def test_a_weaker_strength_is_told_and_what_we_made_is_known_again(tmp_path: Path) -> None:
    weak = Provenance("0.1.0", "f00d", {"strength": 0.5})
    for number, (provenance, said) in enumerate(((PROVENANCE, "f00d. "), (weak, "f00d, strength 0.5. "))):
        result = pydicom.dcmread(write_scan(read(bundled("CT_small.dcm")), tmp_path / str(number), provenance))
        assert said in result.DerivationDescription
        assert is_ours(result)
    assert not is_ours(pydicom.dcmread(bundled("CT_small.dcm")))


def test_frames_have_scales_of_their_own(tmp_path: Path) -> None:
    path = multi_frame(tmp_path / "a.dcm")
    source = pydicom.dcmread(path)
    scan = read(path)
    np.testing.assert_array_equal(scan.pixels[1], source.pixel_array[1] * 2.0 + 20)
    assert scan.step == 2
    result = pydicom.dcmread(write_scan(scan.with_pixels(scan.pixels + 4), tmp_path / "out", PROVENANCE))
    np.testing.assert_array_equal(result.pixel_array, source.pixel_array + 2)
    kinds = [group.MRImageFrameTypeSequence[0].FrameType[0] for group in result.PerFrameFunctionalGroupsSequence]
    assert kinds == ["DERIVED", "DERIVED"]
    derivations = [group.DerivationImageSequence[0] for group in result.PerFrameFunctionalGroupsSequence]
    sources = [item.SourceImageSequence[0] for item in derivations]
    assert [(item.ReferencedSOPInstanceUID, item.ReferencedFrameNumber) for item in sources] == [
        (source.SOPInstanceUID, 1),
        (source.SOPInstanceUID, 2),
    ]
    assert {item.DerivationDescription for item in derivations} == {result.DerivationDescription}
    evidence = result.SourceImageEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.SeriesInstanceUID == source.SeriesInstanceUID
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    noise = np.random.default_rng(0).normal(size=scan.pixels.shape).astype(np.float32)
    removed = read(write_scan(scan.with_pixels(noise), tmp_path / "out", REMOVED))
    assert np.abs(removed.pixels - noise).max() < 1e-3


def test_frames_are_of_the_type_of_their_image_whatever_its_class(tmp_path: Path) -> None:
    path = changed_copy(multi_frame(tmp_path / "a.dcm"), tmp_path / "a.dcm", ImageType=["ORIGINAL", "PRIMARY", "M"])
    for provenance in (PROVENANCE, REMOVED):
        result = pydicom.dcmread(write_scan(read(path), tmp_path / "out", provenance))
        for group in result.PerFrameFunctionalGroupsSequence:
            assert group.MRImageFrameTypeSequence[0].FrameType == result.ImageType
        assert list(result.ImageType[:2]) == ["DERIVED", "PRIMARY"]


def test_a_derived_image_is_no_part_of_a_concatenation(tmp_path: Path) -> None:
    part = {"ConcatenationUID": "1.2.5", "SOPInstanceUIDOfConcatenationSource": "1.2.6", "InConcatenationNumber": 2}
    part |= {"InConcatenationTotalNumber": 3, "ConcatenationFrameOffsetNumber": 2}
    path = changed_copy(multi_frame(tmp_path / "a.dcm"), tmp_path / "a.dcm", **part)
    result = pydicom.dcmread(write_scan(read(path), tmp_path / "out", PROVENANCE))
    assert not [keyword for keyword in part if keyword in result]


def test_identifiers_depend_on_source_and_settings_only(tmp_path: Path) -> None:
    scan = read(bundled("MR_small.dcm"))
    first = write_scan(scan, tmp_path / "1", PROVENANCE)
    assert write_scan(scan, tmp_path / "2", PROVENANCE).read_bytes() == first.read_bytes()
    uids = {pydicom.dcmread(first).SOPInstanceUID, pydicom.dcmread(write_scan(scan, tmp_path, REMOVED)).SOPInstanceUID}
    for number, other in enumerate((Provenance("0.1.0", "beef"), Provenance("0.1.0", "f00d", {"seed": 2}))):
        uids.add(pydicom.dcmread(write_scan(scan, tmp_path / f"other{number}", other)).SOPInstanceUID)
    copied = changed_copy(bundled("MR_small.dcm"), tmp_path / "copied.dcm", SeriesInstanceUID="1.2.3")
    uids.add(pydicom.dcmread(write_scan(read(copied), tmp_path / "out", PROVENANCE)).SOPInstanceUID)
    assert len(uids) == 5


def test_series_is_sorted_along_its_normal_and_written_as_one_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "in" / "knee", {"c.dcm": 0, "a": 1, "d.dcm": 2, "b.dcm": 3})
    (found,), errors = find([tmp_path / "in"])
    assert not errors
    assert (found.format, found.name) == ("dicom", "knee")
    scan = read_scan(found)
    assert scan.pixels[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert [path.name for path in scan.paths] == ["c.dcm", "a", "d.dcm", "b.dcm"]
    result = write_scan(scan.with_pixels(scan.pixels + 10), tmp_path / "out", PROVENANCE)
    assert result == tmp_path / "out" / "knee"
    written = {path.name: pydicom.dcmread(path) for path in result.iterdir()}
    assert {name: int(d.pixel_array[0, 0]) for name, d in written.items()} == {
        "c.dcm": 10,
        "a": 11,
        "d.dcm": 12,
        "b.dcm": 13,
    }
    assert len({d.SeriesInstanceUID for d in written.values()}) == 1
    assert len({d.SOPInstanceUID for d in written.values()}) == 4
    for name, dataset in written.items():
        source = pydicom.dcmread(folder / name)
        assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert is_done(found, tmp_path / "out", PROVENANCE)
    write_scan(scan, tmp_path / "out", PROVENANCE)
    assert not is_done(found, tmp_path / "out", REMOVED)


def test_a_series_that_memory_holds_slice_by_slice_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,), _ = find([series(tmp_path / "knee", {name: number for number, name in enumerate("abcd")})])
    needed = 4 * 64 * 64 * (2 + 4)
    monkeypatch.setattr("diffdenoise.scans.stored.memory", lambda: needed - 1)
    with pytest.raises(ScanError, match=r"knee: does not fit into memory \(98\.3 kB"):
        read_scan(found)
    monkeypatch.setattr("diffdenoise.scans.stored.memory", lambda: needed)
    assert read_scan(found).pixels.shape == (4, 64, 64)


@pytest.mark.parametrize(("files", "frames", "most"), [(48, 1, 1.6), (1, 48, 2.6)])
def test_pixels_are_held_but_once_as_floats(tmp_path: Path, files: int, frames: int, most: float) -> None:
    """Of a series beside one slice's; of a file of many frames beside what it holds, packed and unpacked."""
    size, shape = {"Rows": 256, "Columns": 256, "NumberOfFrames": frames}, (frames, 256, 256)
    for number in range(files):
        more = {"SOPInstanceUID": f"1.2.{number}", "InstanceNumber": number, "PixelData": bytes(2 * math.prod(shape))}
        changed_copy(bundled("MR_small.dcm"), tmp_path / f"{number}.dcm", **size, **more)
    (found,), _ = find([tmp_path])
    read_scan(found)  # what is imported counts for nothing
    tracemalloc.start()
    pixels = read_scan(found).pixels
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert pixels.shape == (48, 256, 256)
    assert peak < most * pixels.nbytes


def test_files_of_a_series_are_of_one_shape(tmp_path: Path) -> None:
    """They are to `find`; who names them in Python is told."""
    one, two = bundled("MR_small.dcm"), multi_frame(tmp_path / "two.dcm")
    with pytest.raises(ScanError, match=r"has \((2|1), 64, 64\) pixels"):
        dicom.read((one, two), "both")


def test_without_positions_the_instance_number_orders(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a": 1, "b": 2, "c": 3})
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        del dataset.ImagePositionPatient
        dataset.save_as(path)
    assert read_scan(find([folder])[0][0]).pixels[:, 0, 0].tolist() == [3, 2, 1]


@pytest.mark.parametrize("name", ["a", "b", "c"])
@pytest.mark.parametrize(
    ("values", "order"),
    [
        ({"ImagePositionPatient": b"left\\7\\8"}, [3, 2, 1]),  # by the numbers, then
        ({"ImagePositionPatient": b"7\\8 "}, [3, 2, 1]),
        ({"ImagePositionPatient": b"nan\\7\\8 "}, [3, 2, 1]),
        ({"InstanceNumber": b"A1"}, [1, 2, 3]),
        ({"InstanceNumber": b"A1", "ImagePositionPatient": None}, [1, 2, 3]),  # by the names
        ({"SeriesNumber": b"A1"}, [1, 2, 3]),
    ],
)
def test_what_is_no_number_in_one_slice_orders_nothing_and_harms_no_other(
    tmp_path: Path, name: str, values: dict[str, bytes | None], order: list[int]
) -> None:
    folder = series(tmp_path / "in", {"a": 1, "b": 2, "c": 3})
    raw(folder / name, **values)
    (found,), errors = find([folder])
    assert not errors
    scan = read_scan(found)
    assert scan.pixels[:, 0, 0].tolist() == order
    assert len(list(write_scan(scan, tmp_path / "out", PROVENANCE).iterdir())) == 3


def test_of_a_series_the_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a": 1, "b": 2, "c": 3})
    (found,), _ = find([folder])
    (folder / "b").unlink()
    with pytest.raises(ScanError, match="b: does not exist"):
        read_scan(found)


def test_copies_of_an_image_are_taken_once_and_told(tmp_path: Path) -> None:
    folder = series(tmp_path / "in" / "knee", {"a": 1, "b": 2, "c": 3})
    shutil.copytree(folder, tmp_path / "in" / "sent again")
    shutil.copy(folder / "b", folder / "b (2)")
    copies = [folder / "b (2)", *(tmp_path / "in" / "sent again" / name for name in "abc")]
    for inputs in ([tmp_path / "in"], [*folder.iterdir(), *copies[1:]]):
        (found,), told = find(inputs)
        assert found.paths == tuple(folder / name for name in "abc")
        assert all(isinstance(one, LeftAlone) for one in told)
        assert {one.path for one in told} == set(copies)


def test_copies_of_an_image_of_several_frames_are_taken_once_and_told(tmp_path: Path) -> None:
    one, other = (multi_frame(tmp_path / name) for name in ("a.dcm", "other.dcm"))
    changed_copy(other, other, SOPInstanceUID="1.2.3", InstanceNumber=2)
    copy, wrong = (Path(shutil.copy(one, tmp_path / name)) for name in ("b.dcm", "c.dcm"))
    changed_copy(one, wrong, PixelData=bytes(len(pydicom.dcmread(one).PixelData)))
    found, errors = find([tmp_path])
    assert [scan.paths for scan in found] == [(one,), (other,)]
    assert [(type(error), error.path) for error in errors] == [(LeftAlone, copy), (ScanError, wrong)]


def test_of_copies_the_one_that_was_not_cut_off_is_taken(tmp_path: Path) -> None:
    folder = series(tmp_path / "knee", {"b": 1, "c": 2})
    (folder / "a").write_bytes((folder / "b").read_bytes()[:-3000])
    (folder / "d").write_bytes((folder / "c").read_bytes()[:-3000])
    (found,), told = find([folder])
    assert found.paths == (folder / "b", folder / "c")
    assert {one.path for one in told} == {folder / "a", folder / "d"}
    assert read_scan(found).pixels.shape[0] == 2


def test_another_image_under_the_same_uid_is_no_copy_and_the_same_one_packed_otherwise_is(tmp_path: Path) -> None:
    folder = series(tmp_path / "knee", {"a": 1, "b": 2})
    other, packed = (pydicom.dcmread(folder / name) for name in "ab")
    other.PixelData = other.PixelData[:-2] + b"\x07\x00"
    other.save_as(folder / "a (2)")
    packed.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    packed.save_as(folder / "b (2)")
    (found,), told = find([folder])
    assert found.paths == (folder / "a", folder / "b")
    assert {Path(one.path).name: isinstance(one, LeftAlone) for one in told} == {"a (2)": False, "b (2)": True}
    assert "other pixels" in str(next(one for one in told if not isinstance(one, LeftAlone)))


@pytest.mark.parametrize("left", [0, 200, 400])
def test_a_file_that_does_not_tell_its_series_stands_in_the_way_of_the_only_one_beside_it(
    tmp_path: Path, left: int
) -> None:
    """Without that slice the others would pass for the whole."""
    folder = series(tmp_path / "in", {f"IM000{number}": number for number in range(4)})
    broken = folder / "IM0002"
    broken.write_bytes(broken.read_bytes()[:left])
    (folder / "README").touch()  # an empty file of another name is no slice
    (found,), told = find([folder])
    assert told == []
    with pytest.raises(ScanError, match="IM0002"):
        read_scan(found)
    series(folder, {"IM0008": 1, "IM0009": 2}, SeriesInstanceUID="1.2.4")  # whose slice it is nobody knows now
    assert sorted(len(item.paths) for item in find([folder])[0]) == [1, 2, 3]


def test_a_slice_whose_direction_is_no_number_stays_in_its_series(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a": 1, "b": 2, "c": 3})
    raw(folder / "a", ImageOrientationPatient=b"1\\0\\x\\0\\1\\0")
    raw(folder / "b", ImageOrientationPatient=None)
    (found,), _ = find([folder])
    assert len(found.paths) == 3
    assert [int(image.max()) for image in read_scan(found).pixels] == [3, 2, 1]  # by number, as not all have a place


def test_slices_to_which_an_anonymiser_gave_one_uid_are_no_copies(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a": 1, "b": 2, "c": 3})
    for path in folder.iterdir():
        changed_copy(path, path, SOPInstanceUID="1.2.3")
    (found,), told = find([folder])
    assert (len(found.paths), told) == (3, [])
    written = write_scan(read_scan(found), tmp_path / "out", PROVENANCE)
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in written.iterdir()}) == 3


def test_rounding_of_the_direction_tears_no_series_apart(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {name: number for number, name in enumerate("abcdef")})
    for number, path in enumerate(sorted(folder.iterdir())):
        cosine = 0.995 + 1e-6 * (-1) ** number
        changed_copy(path, path, ImageOrientationPatient=[0, cosine, (1 - cosine**2) ** 0.5, 1, 0, 0])
    assert [len(item.paths) for item in find([folder])[0]] == [6]
    changed_copy(folder / "f", folder / "f", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    assert sorted(len(item.paths) for item in find([folder])[0]) == [1, 5]


@pytest.mark.parametrize("whole", [True, False])
def test_places_imaged_again_are_volumes_one_after_the_other(tmp_path: Path, whole: bool) -> None:
    folder = series(tmp_path / "in", {"a0": 0, "b0": 1, "c0": 2})
    for number, name in enumerate(("a1", "b1", "c1") if whole else ("a1", "b1")):
        first = pydicom.dcmread(folder / f"{name[0]}0")
        pixels, uid = (first.pixel_array + 10).tobytes(), f"1.2.3.9{number}"
        later = {"PixelData": pixels, "SOPInstanceUID": uid, "InstanceNumber": 2000 + number}
        changed_copy(folder / f"{name[0]}0", folder / name, **later)
    (found,), _ = find([folder])
    scan = read_scan(found)
    assert scan.frames == (2 if whole else 1)
    assert scan.pixels[:, 0, 0].tolist() == ([0, 1, 2, 10, 11, 12] if whole else [0, 10, 1, 11, 2])
    written = write_scan(scan.with_pixels(scan.pixels + 100), tmp_path / "out", PROVENANCE)
    assert int(pydicom.dcmread(written / "b1").pixel_array[0, 0]) == 111


def test_one_place_imaged_again_and_again_is_a_series_over_time(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a0": 0})
    for number in (1, 2):
        changed_copy(
            folder / "a0", folder / f"a{number}", SOPInstanceUID=f"1.2.3.9{number}", InstanceNumber=2000 + number
        )
    assert read_scan(find([folder])[0][0]).frames == 3


def test_our_own_results_are_left_alone_where_they_came_back_without_their_records(tmp_path: Path) -> None:
    series(tmp_path / "in" / "t1", {"a": 0, "b": 1})
    (found,), _ = find([tmp_path / "in"])
    scan = read_scan(found)
    for provenance in (PROVENANCE, REMOVED):
        result = write_scan(scan, tmp_path / "out", provenance)
        shutil.copytree(result, tmp_path / "in" / result.name / provenance.quantity)
    (again,), told = find([tmp_path / "in"])
    assert again.paths == found.paths
    assert len(told) == 4
    assert all(isinstance(one, LeftAlone) and "diffdenoise" in str(one) for one in told)
    assert len(find([tmp_path / "in"], own_results=True)[0]) == 3


def test_magnitude_and_phase_of_one_series_are_told_apart(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"m0": 0, "m1": 1}, ImageType=["ORIGINAL", "PRIMARY", "M", "FFE"])
    for number in (0, 1):
        phase = {"ImageType": ["ORIGINAL", "PRIMARY", "P", "FFE"], "SOPInstanceUID": f"1.2.3.9{number}"}
        changed_copy(folder / f"m{number}", folder / f"p{number}", **phase)
    (found,), told = find([folder])
    assert [path.name for path in found.paths] == ["m0", "m1"]
    assert len(told) == 2
    assert "phase" in str(told[0])


@given(st.permutations(["cd1/DICOM", "cd2/DICOM", "more/cd2/DICOM", "cd3/DICOM"]))
def test_series_of_folders_of_one_name_get_what_is_above_whatever_the_order(discs: Path, order: list[str]) -> None:
    found, errors = find([discs / name for name in order])
    assert not errors
    names = {item.name: item.paths[0].parent.relative_to(discs).as_posix() for item in found}
    assert names == {name: name for name in order}


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series of four patients: three of one name, one with another of its own."""
    root = tmp_path_factory.mktemp("discs")
    for number, name in enumerate(("cd1", "cd2", "more/cd2", "cd3")):
        tags = {"SeriesDescription": "T2", "SeriesNumber": 4} if name == "cd3" else {}
        tags = {"SeriesDescription": "T1", "SeriesNumber": 3, "SeriesInstanceUID": f"1.2.{number}"} | tags
        series(root / name / "DICOM", {"a": 0, "b": 1}, **tags)
    return root


def test_mixed_folder_is_split_by_series_shape_and_orientation(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a1": 1, "a2": 2}, SeriesDescription="T1 sag", SeriesNumber=3)
    series(folder, {"b1": 1, "b2": 2}, SeriesInstanceUID="1.2.9", SeriesDescription="T1 sag", SeriesNumber=3)
    for name in ("c1", "c2"):
        turned = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SOPInstanceUID": f"1.2.4.{name[1]}"}
        changed_copy(folder / "a1", folder / name, **turned)
    shutil.copy(bundled("CT_small.dcm"), folder / "ct")
    found, _ = find([folder])
    names = {item.name: [path.name for path in item.paths] for item in found}
    assert names == {
        "ct": ["ct"],
        "in/3-t1-sag": ["a1", "a2"],
        "in/3-t1-sag-2": ["b1", "b2"],
        "in/3-t1-sag-3": ["c1", "c2"],
    }


def test_saturation_to_stored_bits_and_padding_untouched(tmp_path: Path) -> None:
    pixels = np.full((64, 64), 100, np.uint16)
    pixels[0, 0] = 65535  # padding lies outside the 12 bits, as scanners do it
    path = changed_copy(
        bundled("MR_small.dcm"), tmp_path / "a.dcm", PixelData=pixels.tobytes(), PixelRepresentation=0, BitsStored=12,
        HighBit=11, PixelPaddingValue=65535, RescaleSlope="2", RescaleIntercept="-50",
    )  # fmt: skip
    scan = read(path)
    assert scan.pixels[0, 1, 1] == 150
    for value, stored in ((1e9, 4095), (-1e9, 0), (151.2, 101)):
        result = write_scan(scan.with_pixels(np.full_like(scan.pixels, value)), tmp_path / "out", PROVENANCE)
        array = np.frombuffer(pydicom.dcmread(result).PixelData, np.uint16).reshape(64, 64)  # all bits as written
        assert array[0, 0] == 65535
        assert array[1, 1] == stored


@pytest.mark.parametrize("padding", [-2048, [-2048, 0]])
def test_padding_is_found_whether_its_sign_was_extended_or_not(tmp_path: Path, padding: int | list[int]) -> None:
    pixels = np.full((64, 64), 100, np.uint16)
    pixels[0, :2] = 0x0800, 0xF800  # -2048 in 12 bits, and in 16
    path = changed_copy(
        bundled("MR_small.dcm"), tmp_path / "a.dcm", PixelData=pixels.tobytes(), PixelRepresentation=1, BitsStored=12,
        HighBit=11,
    )  # fmt: skip
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "SS", padding)
    dataset.save_as(path)
    scan = read(path)
    result = write_scan(scan.with_pixels(scan.pixels + 3), tmp_path / "out", PROVENANCE)
    array = np.frombuffer(pydicom.dcmread(result).PixelData, np.uint16).reshape(64, 64)
    assert array[0, :3].tolist() == [0x0800, 0xF800, 103]


@pytest.mark.parametrize(
    ("value", "limit", "denoised", "stored"),
    [(0, 0, 0, 1), (0, 4, 1, 5), (0, 4, 4, 5), (4095, 4095, 4095, 4094), (100, 104, 101, 99), (100, 104, 103, 105)],
)
def test_no_pixel_becomes_padding(tmp_path: Path, value: int, limit: int, denoised: int, stored: int) -> None:
    pixels = np.full((64, 64), 50, np.uint16)
    pixels[0, 0] = value
    path = changed_copy(
        bundled("MR_small.dcm"), tmp_path / "a.dcm", PixelData=pixels.tobytes(), PixelRepresentation=0, BitsStored=12,
        HighBit=11, PixelPaddingValue=value, PixelPaddingRangeLimit=limit,
    )  # fmt: skip
    scan = read(path)
    result = write_scan(scan.with_pixels(np.full_like(scan.pixels, denoised)), tmp_path / "out", PROVENANCE)
    array = np.frombuffer(pydicom.dcmread(result).PixelData, np.uint16).reshape(64, 64)
    assert array[0, 0] == value
    assert (array.ravel()[1:] == stored).all()


def test_what_a_message_holds_beside_the_image_is_left_out(tmp_path: Path) -> None:
    path = changed_copy(bundled("MR_small.dcm"), tmp_path / "a.dcm")
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")  # behind the file's own elements, of so many bytes
    command_field = b"\0\0\0\1US\2\0\1\0"  # as in what was recorded on the network
    path.write_bytes(content[:start] + command_field + content[start:])
    assert (0, 0x0100) in pydicom.dcmread(path)
    result = write_scan(read(path), tmp_path / "out", PROVENANCE)
    assert (0, 0x0100) not in pydicom.dcmread(result)


def test_a_result_of_ours_that_is_named_is_an_error_without_its_record_too(tmp_path: Path) -> None:
    folder = series(tmp_path / "in", {"a": 0, "b": 1})
    result = write_scan(read_scan(find([folder])[0][0]), tmp_path / "out", PROVENANCE)
    found, errors = find([*result.iterdir(), folder / "a"])
    assert [item.paths for item in found] == [(folder / "a",)]
    assert [type(error) for error in errors] == [OwnResult, OwnResult]


@settings(deadline=None, max_examples=50)
@given(st.floats(1e-30, 1e30))
def test_signed_scale_holds_the_peak(peak: float) -> None:
    scale = SignedScale.covering(np.array([-peak, peak / 2]))
    assert round(peak / scale.slope) <= 32767
    assert peak / scale.slope > 32700
    assert len(f"{scale.slope:.8e}") <= 16
    assert float(f"{scale.slope:.8e}") == scale.slope


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm"])
def test_removed_part_keeps_sign_and_fraction(name: str, tmp_path: Path) -> None:
    scan = read(bundled(name))
    noise = np.random.default_rng(0).normal(scale=0.3, size=scan.pixels.shape).astype(np.float32)
    result = write_scan(scan.with_pixels(noise), tmp_path, REMOVED)
    assert result.name == name.replace(".dcm", "_removed.dcm")
    back = read(result)
    assert np.abs(back.pixels - noise).max() < 1e-4
    dataset = pydicom.dcmread(result)
    assert list(dataset.ImageType)[:3] == ["DERIVED", "SECONDARY", "REMOVED"]
    assert dataset.SeriesDescription.endswith("removed")
    assert dataset.PixelRepresentation == 1


def test_the_removed_parts_of_a_series_are_shown_alike(tmp_path: Path) -> None:
    """Window and slope are those of the strongest: a viewer that leafs through them must not flicker."""
    scan = read_scan(find([series(tmp_path / "in", {"a": 0, "b": 1})])[0][0])
    removed = np.stack([np.full((64, 64), strength, np.float32) for strength in (0.5, -3)])
    folder = write_scan(scan.with_pixels(removed), tmp_path / "out", REMOVED)
    shown = {(d.WindowCenter, d.WindowWidth, d.RescaleSlope) for d in map(pydicom.dcmread, folder.glob("*"))}
    ((centre, width, _),) = shown
    assert (centre, width) == (0, pytest.approx(6, rel=1e-4))


@pytest.mark.parametrize("class_", ["3.1", "6.1", "6.2", "7.2"])  # ultrasound, and captures of bytes
def test_the_removed_part_has_the_eight_bits_of_its_class(tmp_path: Path, class_: str) -> None:
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "Modality": "US"}
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8).tobytes()
    of_class = {"SOPClassUID": f"1.2.840.10008.5.1.4.1.1.{class_}", "PixelData": pixels}
    scan = read(changed_copy(bundled("MR_small.dcm"), tmp_path / "us.dcm", **eight, **of_class))
    noise = np.random.default_rng(1).normal(0, 10, scan.pixels.shape).astype(np.float32)
    result = write_scan(scan.with_pixels(noise), tmp_path / "out", REMOVED)
    dataset = pydicom.dcmread(result)
    assert {keyword: dataset.get(keyword) for keyword in eight} == eight
    assert np.abs(read(result).pixels - noise).max() <= np.abs(noise).max() / 254 * 1.01
    assert (read(write_scan(scan.with_pixels(0 * noise), tmp_path / "zero", REMOVED)).pixels == 0).all()


@pytest.mark.parametrize(
    ("name", "tags", "word"),
    [
        ("CT_small.dcm", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ("CT_small.dcm", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "YES"}, "burned"),
        ("CT_small.dcm", {"HighBit": 13}, "bit layout"),
        ("CT_small.dcm", {"RescaleSlope": "0"}, "slope of zero"),
        ("MR_truncated.dcm", {}, "can hold"),
        ("rtdose.dcm", {}, "RT Dose"),
        ("CT_small.dcm", {"ModalityLUTSequence": [modality_table([0, 5, 3])]}, "Modality LUT.*rises and falls"),
        ("CT_small.dcm", {"ModalityLUTSequence": [modality_table([7, 7, 7])]}, "Modality LUT"),
        ("examples_palette.dcm", {}, "PALETTE"),
        ("examples_rgb_color.dcm", {}, "colour"),
        ("liver_1frame.dcm", {}, "Segmentation"),
        ("reportsi.dcm", {}, "Basic Text SR"),
    ],
)
def test_refused_with_a_reason(name: str, tags: dict[str, Any], word: str, tmp_path: Path) -> None:
    path = changed_copy(bundled(name), tmp_path / name, **tags) if tags else bundled(name)
    with pytest.raises(ScanError, match=word):
        read(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICMjunk" * 9])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.dcm").write_bytes(content)
    with pytest.raises(ScanError, match=r"bad\.dcm"):
        read(tmp_path / "bad.dcm")


def test_words_and_untyped_values_survive_the_change_of_encoding(tmp_path: Path) -> None:
    overlay = bytes(range(256)) * 2  # 64 x 64 bits
    source = pydicom.dcmread(bundled("MR_small_bigendian.dcm"))
    source.add_new(0x60000010, "US", 64)
    source.add_new(0x60000011, "US", 64)
    source.add_new(0x60000100, "US", 1)
    source.add_new(0x60003000, "OW", np.frombuffer(overlay, "<u2").astype(">u2").tobytes())
    source.save_as(tmp_path / "big.dcm")
    assert pydicom.dcmread(round_trip(tmp_path / "big.dcm", tmp_path / "out"))[0x60003000].value == overlay
    untyped = changed_copy(bundled("MR_small_implicit.dcm"), tmp_path / "implicit.dcm", PixelPaddingValue=-5)
    result = pydicom.dcmread(round_trip(untyped, tmp_path / "out"))
    assert (result["PixelPaddingValue"].VR, result.PixelPaddingValue) == ("SS", -5)


def test_blanked_identifiers_are_taken_from_the_files_head(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(bundled("MR_small.dcm"))
    dataset.SOPInstanceUID = dataset.SOPClassUID = ""
    dataset.save_as(tmp_path / "a.dcm")
    result = pydicom.dcmread(round_trip(tmp_path / "a.dcm", tmp_path / "out"))
    reference = result.SourceImageSequence[0].ReferencedSOPInstanceUID
    assert reference == pydicom.dcmread(bundled("MR_small.dcm")).SOPInstanceUID


def test_equal_file_names_in_several_folders_stay_apart() -> None:
    assert output_names((Path("/x/A/IM1"), Path("/x/B/IM1"))) == ["A_IM1", "B_IM1"]
    assert output_names((Path("/x/A/IM1"), Path("/x/A/IM2"))) == ["IM1", "IM2"]


@pytest.mark.shared
def test_shared_mr_series(shared_data: Path, tmp_path: Path) -> None:
    (found,), _ = find([shared_data / "mri_studyforrest_T1" / "dicom"])
    scan = read_scan(found)
    result = write_scan(scan, tmp_path, PROVENANCE)
    for path in scan.paths:
        before, after = pydicom.dcmread(path), pydicom.dcmread(result / path.name)
        np.testing.assert_array_equal(after.pixel_array, before.pixel_array)


@pytest.mark.shared
def test_every_shared_dicom_is_read_or_refused_with_a_reason(shared_data: Path, tmp_path: Path) -> None:
    refused = []
    for path in sorted((shared_data / "formats_dicom").glob("MR*.dcm")):
        try:
            scan = read(path)
        except ScanError as error:
            assert path.name in str(error)
            refused.append(path.name)
            continue
        np.testing.assert_array_equal(read(write_scan(scan, tmp_path, PROVENANCE)).pixels, scan.pixels)
    assert refused == ["MR_truncated.dcm"]
