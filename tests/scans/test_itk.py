from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import ScanError
from diffdenoise.scans.files import write_scan
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

VOLUMES = st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=5))
)
SUFFIXES = st.sampled_from([".mha", ".nrrd"])
FIELD = {"Modality": "MET_MOD_MR", "Comment": "do not lose me"}


def save(
    path: Path, stored: np.ndarray, compress: bool = False, spacing: tuple[float, ...] = (), angle: float = 0.93
) -> None:
    """Geometry that is nobody's default, and a field of the user's."""
    image = sitk.GetImageFromArray(stored, isVector=False)
    size = image.GetDimension()
    image.SetSpacing(spacing or [0.5 + axis for axis in range(size)])
    image.SetOrigin([-3.5 * axis for axis in range(size)])
    turn = np.eye(size)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image.SetDirection(np.roll(turn, size > 2, axis=0).ravel())
    image.SetMetaData("Comment", FIELD["Comment"])
    sitk.WriteImage(image, str(path), useCompression=compress)


def same_but_for_pixels(path: Path, other: Path) -> bool:
    one, two = sitk.ReadImage(str(path)), sitk.ReadImage(str(other))
    geometry = lambda image: [*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()]  # noqa: E731
    fields = lambda image: {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}  # noqa: E731
    # NRRD holds spacing times direction: taking them apart again costs the last bit
    return np.allclose(geometry(one), geometry(two), rtol=1e-14, atol=1e-14) and fields(one) == fields(two)


@settings(deadline=None, max_examples=60)
@given(VOLUMES, SUFFIXES, st.booleans(), st.floats(-3.14, 3.14), st.floats(0.01, 50))
def test_written_back_unchanged_it_is_the_same(
    stored: np.ndarray, suffix: str, compress: bool, angle: float, size: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        save(path, stored, compress, tuple(size * (1 + axis) for axis in range(stored.ndim)), angle)
        result = round_trip(path, Path(folder) / "out")
        back = sitk.GetArrayFromImage(sitk.ReadImage(str(result)))
        assert back.dtype == stored.dtype
        np.testing.assert_array_equal(back, stored)
        assert same_but_for_pixels(path, result)
        assert (b"gzip" in result.read_bytes()[:4096] or b"CompressedData = True" in result.read_bytes()[:4096]) == (
            b"gzip" in path.read_bytes()[:4096] or b"CompressedData = True" in path.read_bytes()[:4096]
        )


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_slices_follow_each_other_in_space_then_time(tmp_path: Path, suffix: str) -> None:
    stored = np.arange(5 * 4 * 3 * 2, dtype=np.int16).reshape(5, 4, 3, 2)
    save(tmp_path / f"a{suffix}", stored, spacing=(1, 1, 3, 2))
    scan = read(tmp_path / f"a{suffix}")
    assert (scan.pixels.shape, scan.frames) == ((20, 3, 2), 5)
    np.testing.assert_array_equal(scan.pixels[6], stored[1, 2])
    save(tmp_path / f"b{suffix}", stored[0], spacing=(3, 1, 1))  # sagittal: the largest voxels lie along x
    assert read(tmp_path / f"b{suffix}").pixels.shape == (2, 4, 3)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_new_pixels_are_rounded_and_saturated_and_the_removed_part_is_float(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(path, np.full((3, 4, 5), 250, np.uint8))
    scan = read(path)
    result = sitk.ReadImage(str(write_scan(scan.with_pixels(scan.pixels + 2.6), tmp_path / "out", PROVENANCE)))
    assert (sitk.GetArrayFromImage(result) == 253).all()
    loud = sitk.ReadImage(str(write_scan(scan.with_pixels(scan.pixels + 1e4), tmp_path / "loud", PROVENANCE)))
    assert (sitk.GetArrayFromImage(loud) == 255).all()
    removed = write_scan(scan.with_pixels(scan.pixels * 0 - 0.5), tmp_path / "out", REMOVED)
    assert removed.name == f"a_removed{suffix}"
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(removed))).dtype == np.float32
    assert same_but_for_pixels(path, removed)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    volume = np.zeros((3, 4, 5), np.int16)
    save(tmp_path / "whole.mha", volume)
    save(tmp_path / "whole.nrrd", volume)
    (tmp_path / "cut.mha").write_bytes((tmp_path / "whole.mha").read_bytes()[:-40])
    (tmp_path / "cut.nrrd").write_bytes((tmp_path / "whole.nrrd").read_bytes()[:-40])
    (tmp_path / "text.nrrd").write_text("not an image")
    (tmp_path / "empty.mha").touch()
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(tmp_path / "rgb.mha"))
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: raw\ndata file: elsewhere.raw\n\n"
    (tmp_path / "detached.nrrd").write_bytes(header)
    absurd = header.replace(b"data file: elsewhere.raw\n", b"").replace(b"5 4 3", b"99999 99999 99999")
    (tmp_path / "absurd.nrrd").write_bytes(absurd)
    for name, word in {
        "cut.mha": "announces",
        "cut.nrrd": "cannot be read|announces",
        "text.nrrd": "cannot be read",
        "empty.mha": "empty",
        "rgb.mha": "several values a pixel",
        "detached.nrrd": "another file",
        "absurd.nrrd": "cannot be read",
    }.items():
        with pytest.raises(ScanError, match=word):
            read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_capitals_in_a_suffix_are_no_other_format(tmp_path: Path, suffix: str) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    save(tmp_path / f"a{suffix}", stored)
    path = (tmp_path / f"a{suffix}").rename(tmp_path / f"A{suffix.upper()}")
    np.testing.assert_array_equal(read(round_trip(path, tmp_path / "out")).pixels, read(path).pixels)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_name_that_is_no_text_ends_nothing(tmp_path: Path, suffix: str) -> None:
    """ITK would end the whole process."""
    save(tmp_path / f"a{suffix}", np.zeros((2, 3, 4), np.int16))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Sch\xe4del"))
    odd.mkdir()
    with pytest.raises(ScanError, match="no text"):
        write_scan(read(tmp_path / f"a{suffix}"), odd, PROVENANCE)
    assert not any(odd.iterdir())
    shutil.copy(tmp_path / f"a{suffix}", odd)
    with pytest.raises(ScanError, match="no text"):
        read(odd / f"a{suffix}")


def test_a_field_that_is_no_text_is_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.int16))
    content = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(content.replace(b"do not lose me", b"J\xfcrgen was here"[:14]))
    result = sitk.ReadImage(str(round_trip(tmp_path / "a.nrrd", tmp_path / "out")))
    assert "Comment" not in result.GetMetaDataKeys()
