from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.scans.files import find, write_scan
from diffdenoise.scans.planes import as_slices, from_slices
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

VOLUMES = st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=5, max_side=4))
)


AFFINE = np.array([[0, -2, 0.1, 5], [1.5, 0, 0, -3], [0, 0.2, 3, 9], [0, 0, 0, 1]])


def save(
    path: Path,
    stored: np.ndarray,
    zooms: tuple[float, ...] = (),
    scale: tuple[float, float] = (2.5, -7),
    order: str = "<",
    version: int = 1,
    affine: np.ndarray = AFFINE,
) -> None:
    """A file with all that must survive: scaling, oblique affine, codes, an extension, byte order."""
    kinds = {1: (nibabel.Nifti1Image, b"n+1"), 2: (nibabel.Nifti2Image, b"n+2\0\r\n\x1a\n")}
    make, magic = kinds[version]
    header = make.header_class(endianness=order)
    header.set_data_dtype(stored.dtype.newbyteorder(order))
    header["descrip"] = b"from the scanner"
    image = make(stored, affine, header)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=4)
    if zooms:
        image.header.set_zooms(zooms)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"do not lose me"))
    image.header["cal_max"] = 99
    # written by hand: nibabel would convert the data to fit the scaling
    head = image.header.copy()
    head["magic"], head["vox_offset"] = magic, head.sizeof_hdr + 4 + 32
    head["scl_slope"], head["scl_inter"] = scale
    extension = b"\1\0\0\0" + np.array([32, 6], head.endianness + "i4").tobytes() + b"do not lose me".ljust(24, b"\0")
    data = head.binaryblock + extension + stored.astype(stored.dtype.newbyteorder(order)).tobytes(order="F")
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


SCALES = st.tuples(st.sampled_from([0, 1, -1, 2.5, 1e-3, 1e4]), st.floats(-1e4, 1e4, width=32))
AFFINES = hnp.arrays(np.float32, (3, 4), elements=st.floats(-200, 200, width=32)).filter(
    lambda rows: np.linalg.cond(rows[:, :3].astype(float)) < 1e3 and np.abs(rows[:, :3]).max() > 1e-2
)


@settings(deadline=None, max_examples=80)
@given(VOLUMES, st.sampled_from("<>"), st.sampled_from([".nii", ".nii.gz"]), SCALES, st.sampled_from([1, 2]), AFFINES)
def test_identity_to_the_last_byte(
    stored: np.ndarray, order: str, suffix: str, scale: tuple[float, float], version: int, rows: np.ndarray
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        save(path, stored, scale=scale, order=order, version=version, affine=np.vstack([rows, [0, 0, 0, 1]]))
        assert content(round_trip(path, Path(folder) / "out")) == content(path)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["u1", "i2", "u2", "i4"]),
    st.sampled_from("<>"),
    SCALES,
    st.sampled_from([1, 2]),
    st.integers(-9, 9),
)
def test_new_pixels_of_integers_land_on_the_step(
    dtype: str, order: str, scale: tuple[float, float], version: int, steps: int
) -> None:
    stored = np.random.default_rng(0).integers(20, 100, (4, 5, 6, 2)).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "a.nii", stored, scale=scale, order=order, version=version)
        scan = read(Path(folder) / "a.nii")
        slope = scale[0] or 1
        moved = scan.with_pixels(scan.pixels + np.float32(steps * slope))
        if abs(slope) < 4e-7 * np.abs(scan.pixels).max():
            return  # float32 cannot tell such steps apart
        result = nibabel.load(write_scan(moved, Path(folder) / "out", PROVENANCE))
        assert result.header.endianness == order
        assert isinstance(result, nibabel.Nifti2Image) == (version == 2)
        np.testing.assert_array_equal(np.asarray(result.dataobj.get_unscaled()), stored.astype(int) + steps)


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(st.sampled_from(["c8", "c16"]), hnp.array_shapes(min_dims=2, max_dims=4, max_side=4)),
    st.sampled_from("<>"),
)
def test_complex_images_are_two_real_ones_and_come_back_to_the_last_byte(stored: np.ndarray, order: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii.gz"
        save(path, stored, scale=(0, 0), order=order)
        assert content(round_trip(path, Path(folder) / "out")) == content(path)
        scan = read(path)
        assert scan.frames == 2 * (stored.shape[3] if stored.ndim > 3 else 1)
        real, imaginary = np.split(scan.pixels, 2)
        assert (real.size, imaginary.size) == (stored.size, stored.size)


def test_new_complex_pixels_and_what_was_removed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    stored = (random.normal(size=(4, 5, 6)) + 1j * random.normal(size=(4, 5, 6))).astype(np.complex64)
    save(tmp_path / "a.nii", stored, zooms=(1, 1, 2), scale=(0, 0))
    scan = read(tmp_path / "a.nii")
    np.testing.assert_array_equal(scan.pixels[8], stored[:, :, 2].imag.T)
    doubled = nibabel.load(write_scan(scan.with_pixels(2 * scan.pixels), tmp_path / "out", PROVENANCE))
    np.testing.assert_array_equal(np.asarray(doubled.dataobj), 2 * stored)
    removed = nibabel.load(write_scan(scan.with_pixels(scan.pixels), tmp_path / "out", REMOVED))
    assert removed.get_data_dtype() == np.complex64
    np.testing.assert_array_equal(np.asarray(removed.dataobj), stored)


@settings(deadline=None, max_examples=60)
@given(hnp.array_shapes(min_dims=3, max_dims=5, max_side=4), st.integers(0, 2))
def test_slices_can_be_put_back(shape: tuple[int, ...], axis: int) -> None:
    stored = np.arange(np.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(from_slices(as_slices(stored, axis), shape, axis), stored)


def test_slices_follow_each_other_in_space_then_time(tmp_path: Path) -> None:
    stored = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    save(tmp_path / "a.nii", stored, zooms=(1, 1, 3, 2), scale=(2, 1))
    pixels = read(tmp_path / "a.nii").pixels
    assert pixels.shape == (20, 3, 2)
    np.testing.assert_array_equal(pixels[6], stored[:, :, 2, 1].T * 2 + 1)


@pytest.mark.parametrize(
    ("shape", "zooms", "slices"),
    [
        ((5, 6, 7), (1, 1, 1), 7),
        ((5, 6, 7), (1, 1, 2), 7),
        ((5, 6, 7), (2, 1, 1), 5),
        ((5, 6, 7), (1, 3, 1), 6),
        ((5, 1, 7), (1, 1, 1), 1),
        ((5, 6), (1, 1), 1),
    ],
)
def test_slices_show_the_finest_plane(
    tmp_path: Path, shape: tuple[int, ...], zooms: tuple[float, ...], slices: int
) -> None:
    save(tmp_path / "a.nii", np.zeros(shape, np.int16), zooms=zooms)
    assert len(read(tmp_path / "a.nii").pixels) == slices


def test_new_pixels_keep_header_and_geometry(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", np.full((4, 5, 6), 100, np.int16), zooms=(3, 1, 1))
    scan = read(tmp_path / "a.nii.gz")
    result = write_scan(scan.with_pixels(scan.pixels + 2.5), tmp_path / "out", PROVENANCE)
    before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(result)
    np.testing.assert_array_equal(np.asarray(after.dataobj.get_unscaled()), 101)
    assert content(result)[:384] == content(tmp_path / "a.nii.gz")[:384]
    np.testing.assert_array_equal(after.affine, before.affine)
    assert (int(after.header["qform_code"]), int(after.header["sform_code"])) == (1, 4)
    assert after.header.extensions[0].get_content() == before.header.extensions[0].get_content()


@pytest.mark.parametrize("suffix", [".Nii", ".NII", ".Nii.gz", ".NII.GZ"])
def test_a_suffix_in_capitals_is_not_that_of_the_image_beside_and_stays(tmp_path: Path, suffix: str) -> None:
    for number, name in enumerate((suffix.lower(), suffix.upper(), suffix)):
        save(tmp_path / f"a{suffix.lower()}", np.full((3, 4, 2), number, np.int16), scale=(1, 0))
        (tmp_path / f"a{suffix.lower()}").rename(tmp_path / f"a{name}")
    source = tmp_path / f"a{suffix}"
    assert (read(source).pixels == 2).all()
    result = round_trip(source, tmp_path / "out")
    assert result.name == source.name
    assert result.read_bytes()[:2] == source.read_bytes()[:2]
    assert (read(result).pixels == 2).all()


def test_nifti2(tmp_path: Path) -> None:
    nibabel.Nifti2Image(np.arange(60, dtype=np.float64).reshape(3, 4, 5) / 7, np.eye(4)).to_filename(tmp_path / "a.nii")
    assert round_trip(tmp_path / "a.nii", tmp_path / "out").read_bytes() == (tmp_path / "a.nii").read_bytes()


def test_saturation_never_wraps(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", np.zeros((2, 1, 1), np.int16), scale=(2, 0))
    scan = read(tmp_path / "a.nii")
    loud = np.array([1e7, -1e7], np.float32).reshape(scan.pixels.shape)
    result = nibabel.load(write_scan(scan.with_pixels(loud), tmp_path / "out", PROVENANCE))
    assert np.asarray(result.dataobj).ravel().tolist() == [65534, -65536]


def test_nan_stays_where_it_was(tmp_path: Path) -> None:
    stored = np.array([[np.nan, 1], [2, np.inf]], np.float32)[..., None]
    save(tmp_path / "a.nii", stored, scale=(1, 0))
    scan = read(tmp_path / "a.nii")
    assert np.isfinite(scan.pixels).all()
    for provenance in (PROVENANCE, REMOVED):
        result = nibabel.load(write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", provenance))
        np.testing.assert_array_equal(np.asarray(result.dataobj)[..., 0], [[np.nan, 2], [3, np.inf]])


@pytest.mark.parametrize("order", ["<", ">"])
def test_removed_part_is_float32_in_the_same_place(tmp_path: Path, order: str) -> None:
    save(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.uint8), zooms=(3, 1, 1), order=order)
    scan = read(tmp_path / "a.nii.gz")
    noise = np.random.default_rng(0).normal(size=scan.pixels.shape).astype(np.float32)
    result = write_scan(scan.with_pixels(noise), tmp_path / "out", REMOVED)
    assert result.name == "a_removed.nii.gz"
    np.testing.assert_array_equal(read(result).pixels, noise)
    before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(result)
    assert after.get_data_dtype() == np.dtype(np.float32).newbyteorder(order)
    np.testing.assert_array_equal(after.affine, before.affine)
    assert after.header["cal_max"] == 0
    assert after.header["descrip"] == before.header["descrip"]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (np.zeros((2, 2, 2, 1, 2), np.complex64), "5 dimensions"),
        (np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "several values"),
        (np.zeros((2, 2, 2, 1, 1, 2), np.int16), "6 dimensions"),
        (np.zeros((4,), np.int16), "1 dimensions"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, data: Any, word: str) -> None:
    nibabel.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(ScanError, match=word):
        read(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"good{suffix}", np.random.default_rng(0).integers(0, 999, (9, 9, 9)).astype(np.int16))
    good = (tmp_path / f"good{suffix}").read_bytes()
    for bad in (b"", b"nonsense", good[:-300], good[:200]):
        (tmp_path / f"bad{suffix}").write_bytes(bad)
        with pytest.raises(ScanError, match=r"bad\.nii"):
            read(tmp_path / f"bad{suffix}")


def test_the_volumes_of_a_series_are_counted(tmp_path: Path) -> None:
    for shape, frames in (((5, 6), 1), ((5, 6, 4), 1), ((5, 6, 4, 3), 3), ((5, 6, 4, 3, 2), 6)):
        save(tmp_path / "a.nii", np.zeros(shape, np.int16))
        assert read(tmp_path / "a.nii").frames == frames


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_in_a_folder_what_is_no_intensity_is_left_alone(tmp_path: Path, suffix: str, order: str) -> None:
    save(tmp_path / f"image{suffix}", np.zeros((4, 4, 2), "i2"), order=order)
    save(tmp_path / f"second{suffix}", np.zeros((4, 4, 2), "i2"), order=order, version=2)
    for name, intent in {"labels": 1002, "warp": 1006, "bold.dtseries": 3002}.items():
        for version, make in {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}.items():
            header = make.header_class(endianness=order)
            header["intent_code"] = intent  # by hand: nibabel does not know those of CIFTI by number alone
            nibabel.save(make(np.zeros((4, 4, 2), "i2"), AFFINE, header), tmp_path / f"{name}-{version}{suffix}")
    colour = np.zeros((4, 4, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, AFFINE), tmp_path / f"colour{suffix}")
    (tmp_path / "cut-off.nii").write_bytes(b"\x5c\x01\0\0")
    found, errors = find([tmp_path])
    assert [item.name for item in found] == ["cut-off.nii", f"image{suffix}", f"second{suffix}"]
    assert all(isinstance(error, LeftAlone) for error in errors)
    assert len(errors) == 7
