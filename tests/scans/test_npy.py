from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.scans.files import find, write_scan
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

ARRAYS = st.sampled_from(["u1", "<i2", ">u2", "<i4", "<f2", ">f4", "<f8", "<c8", ">c16"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=4, max_side=4))
)


@settings(deadline=None, max_examples=40)
@given(ARRAYS, st.sampled_from("CF"))
def test_identity(array: np.ndarray, order: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        np.save(path, np.asarray(array, order=order))
        assert round_trip(path, Path(folder) / "out").read_bytes() == path.read_bytes()


def test_leading_axes_are_slices(tmp_path: Path) -> None:
    array = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read(tmp_path / "a.npy").pixels, array.reshape(6, 4, 5))


def test_removed_part_keeps_sign_and_fraction(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2), np.uint8))
    scan = read(tmp_path / "a.npy").with_pixels(np.array([[[-0.5, 0.25], [300, 0]]], np.float32))
    result = np.load(write_scan(scan, tmp_path / "out", REMOVED))
    assert result.dtype == np.float32
    assert result.tolist() == [[-0.5, 0.25], [300, 0]]


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((2, 2), bool), "mask"),
        (np.array([[{}]], object), "objects"),
        (np.zeros((2, 2), [("r", "u1"), ("g", "u1")]), "several values"),
        (np.zeros(4), "dimension"),
        (np.zeros((0, 4)), "no pixels"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, array: np.ndarray, word: str) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ScanError, match=word):
        read(tmp_path / "a.npy")


@settings(deadline=None, max_examples=40)
@given(ARRAYS, st.booleans())
def test_an_image_in_an_archive_comes_back_amid_the_rest(array: np.ndarray, compressed: bool) -> None:
    others = {"affine": np.eye(4), "spacing": np.array([1, 1, 2.5]), "mask": array != 0, "name": np.array("knee")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        (np.savez_compressed if compressed else np.savez)(path, **others, image=np.stack([array] * 5, axis=-1))
        result = round_trip(path, Path(folder) / "out")
        with np.load(path) as before, np.load(result) as after:
            assert after.files == before.files
            for key in before.files:
                assert after[key].dtype == before[key].dtype
                assert after[key].tobytes() == before[key].tobytes()
        with zipfile.ZipFile(result) as archive:
            assert {item.compress_type for item in archive.infolist()} == {
                zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
            }


def test_complex_arrays_are_two_real_ones(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    array = random.normal(size=(2, 3, 4, 5)) + 1j * random.normal(size=(2, 3, 4, 5))
    np.save(tmp_path / "a.npy", array)
    scan = read(tmp_path / "a.npy")
    assert (scan.pixels.shape, scan.frames) == ((12, 4, 5), 4)
    np.testing.assert_allclose(scan.pixels[6:], array.imag.reshape(6, 4, 5), rtol=1e-6)
    doubled = np.load(write_scan(scan.with_pixels(2 * scan.pixels), tmp_path / "out", PROVENANCE))
    assert doubled.dtype == np.complex128
    np.testing.assert_allclose(doubled, 2 * array, rtol=1e-6)
    assert np.load(write_scan(scan, tmp_path / "out", REMOVED)).dtype == np.complex64


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"a": np.zeros((8, 8)), "b": np.zeros((8, 8))}, r"holds 2 images \(arrays: a \(8, 8\), b"),
        ({"spacing": np.zeros(3)}, "holds no images"),
        ({"a": np.array([[{}]], object)}, "objects"),
    ],
)
def test_an_archive_without_one_clear_image_is_refused(tmp_path: Path, arrays: dict[str, Any], word: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ScanError, match=word):
        read(tmp_path / "a.npz")


def test_colours_are_left_alone_and_refused(tmp_path: Path) -> None:
    for shape, coloured in {(9, 8, 3): True, (9, 8, 4): True, (4, 8, 3): False, (1, 9, 8, 3): False}.items():
        np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
        found, told = find([tmp_path])
        assert len(found) == (not coloured)
        if coloured:
            assert isinstance(told[0], LeftAlone)
            with pytest.raises(ScanError, match="colour"):
                read(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ScanError, match=r"a\.npy"):
        read(tmp_path / "a.npy")


def test_truncated_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 8)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-9])
    with pytest.raises(ScanError, match="cannot be read as a NumPy array"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.NPY", "a.NPZ"])
def test_a_suffix_in_capitals_is_kept(tmp_path: Path, name: str) -> None:
    image = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    with (tmp_path / name).open("wb") as file:
        np.savez(file, image=image) if name.endswith("Z") else np.save(file, image)
    result = round_trip(tmp_path / name, tmp_path / "out")
    assert result.name == name
    np.testing.assert_array_equal(read(result).pixels, image)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [name, f"{name}.json"]


def test_in_a_folder_lists_and_masks_are_left_alone_and_what_is_wrong_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((4, 4)))
    np.savez(tmp_path / "image.npz", times=np.arange(3), image=np.zeros((4, 4)))
    np.save(tmp_path / "times.npy", np.arange(9))
    np.save(tmp_path / "mask.npy", np.ones((4, 4), bool))
    np.savez(tmp_path / "path.npz", times=np.arange(3), count=3)
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut-off.npy").write_bytes((tmp_path / "image.npy").read_bytes()[:20])
    found, errors = find([tmp_path])
    assert [item.name for item in found] == ["cut-off.npy", "image.npy", "image.npz", "objects.npy"]
    assert {Path(error.path).name for error in errors} == {"times.npy", "mask.npy", "path.npz"}
    assert all(isinstance(error, LeftAlone) for error in errors)
