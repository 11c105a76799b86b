from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.scans.files import find, write_scan
from diffdenoise.scans.stored import looks_coloured
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

VOLUMES = st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5).filter(lambda shape: not looks_coloured(shape))
    )
)


def save(path: Path, image: np.ndarray, name: str = "reconstruction_rss") -> None:
    """As fastMRI's files are: image, k-space, header, attributes."""
    with h5py.File(path, "w") as file:
        stored = file.create_dataset(name, data=image, compression="gzip")
        stored.attrs["unit"] = "arbitrary"
        file.create_dataset("kspace", data=np.zeros((2, 3, 4, 4), np.complex64))
        file.create_dataset("ismrmrd_header", data="<ismrmrdHeader/>")
        file.create_dataset("more/mask", data=np.ones(4, bool))
        file.attrs["acquisition"] = "CORPD_FBK"
        file.attrs["max"] = 1.5


@settings(deadline=None, max_examples=40)
@given(VOLUMES, st.sampled_from(["reconstruction_rss", "somewhere/volume"]))
def test_written_back_unchanged_it_is_the_same_without_kspace(image: np.ndarray, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        save(path, image, name)
        with h5py.File(round_trip(path, Path(folder) / "out")) as result:
            assert result[name].dtype == image.dtype
            assert result[name].compression == "gzip"
            assert result[name].attrs["unit"] == "arbitrary"
            np.testing.assert_array_equal(result[name][()], image)
            assert result["ismrmrd_header"][()] == b"<ismrmrdHeader/>"
            assert result["more/mask"].shape == (4,)
            assert dict(result.attrs) == {"acquisition": "CORPD_FBK", "max": 1.5}
            assert "kspace" not in result


def test_the_named_image_is_taken_and_volumes_are_kept_apart(tmp_path: Path) -> None:
    image = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    save(tmp_path / "a.h5", image)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["reconstruction_esc"] = np.zeros((3, 4, 5))
    scan = read(tmp_path / "a.h5")
    assert (scan.pixels.shape, scan.frames) == ((6, 4, 5), 2)
    removed = write_scan(scan.with_pixels(scan.pixels * 0 - 0.5), tmp_path / "out", REMOVED)
    with h5py.File(removed) as result:
        assert (result["reconstruction_rss"][()] == -0.5).all()
    written = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", PROVENANCE)
    with h5py.File(written) as result:
        np.testing.assert_array_equal(result["reconstruction_rss"][()], image + 1)


def ismrmrd(path: Path, images: np.ndarray, positions: np.ndarray) -> None:
    """A group as ISMRMRD writes it: images (n, channels, z, y, x), one header each, attributes as text."""
    header = np.zeros(len(images), [("version", "<u2"), ("position", "<f4", (3,))])
    header["position"] = positions
    with h5py.File(path, "w") as file:
        file["dataset/image_0/data"], file["dataset/image_0/header"] = images, header
        file["dataset/image_0/attributes"] = ["<ismrmrdMeta/>"] * len(images)
        file["dataset/data"] = np.zeros(3, [("head", "u4"), ("traj", "f4")])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("precision", ["f4", "f8"])
def test_complex_images_of_ismrmrd_come_back_as_pairs(tmp_path: Path, order: str, precision: str) -> None:
    random = np.random.default_rng(0)
    numbers = (random.normal(size=(4, 1, 1, 5, 6)) + 1j * random.normal(size=(4, 1, 1, 5, 6))).astype(np.complex64)
    pairs = np.empty(numbers.shape, [("real", order + precision), ("imag", order + precision)])
    pairs["real"], pairs["imag"] = numbers.real, numbers.imag
    ismrmrd(tmp_path / "a.h5", pairs, np.arange(12).reshape(4, 3))
    scan = read(tmp_path / "a.h5")
    assert (scan.pixels.shape, scan.frames) == ((8, 5, 6), 2)
    np.testing.assert_array_equal(scan.pixels[4:], numbers.imag.reshape(4, 5, 6))
    for factor in (1, 2):
        written = write_scan(scan.with_pixels(factor * scan.pixels), tmp_path / "out", PROVENANCE)
        with h5py.File(written) as result, h5py.File(tmp_path / "a.h5") as source:
            stored = result["dataset/image_0/data"]
            assert stored.dtype == pairs.dtype
            np.testing.assert_array_equal(stored["real"], factor * pairs["real"])
            np.testing.assert_array_equal(stored["imag"], factor * pairs["imag"])
            for name in ("dataset/image_0/header", "dataset/image_0/attributes", "dataset/data"):
                np.testing.assert_array_equal(result[name][()], source[name][()])
    with h5py.File(write_scan(scan, tmp_path / "out", REMOVED)) as result:
        assert result["dataset/image_0/data"].dtype == np.dtype([("real", f"{order}f4"), ("imag", f"{order}f4")])


def test_images_at_other_places_are_slices_and_at_the_same_place_volumes(tmp_path: Path) -> None:
    images = np.zeros((4, 1, 1, 5, 6), np.uint16)
    ismrmrd(tmp_path / "slices.h5", images, np.arange(12).reshape(4, 3))
    ismrmrd(tmp_path / "repeats.h5", images, np.ones((4, 3)))
    assert read(tmp_path / "slices.h5").frames == 1
    assert read(tmp_path / "repeats.h5").frames == 4


@pytest.mark.parametrize("dtype", ["<c8", ">c8", "<c16"])
def test_complex_data_sets_that_are_called_images(tmp_path: Path, dtype: str) -> None:
    numbers = (np.arange(60).reshape(3, 4, 5) * (1 - 2j)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["coil_image"], file["kspace"] = numbers, numbers
    with h5py.File(round_trip(tmp_path / "a.h5", tmp_path / "out")) as result:
        assert result["coil_image"].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(result["coil_image"][()], numbers)
        assert "kspace" not in result


def test_a_result_that_cannot_be_written_is_not_blamed_on_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.h5", np.zeros((3, 4, 5), np.float32))
    scan = read(tmp_path / "a.h5")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffdenoise.scans.hdf5._copy", full)
    with pytest.raises(ScanError, match=r"cannot be written.*No space left"):
        write_scan(scan, tmp_path / "out", PROVENANCE)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file["kspace"] = np.zeros((2, 4, 4), np.complex64)
    with h5py.File(tmp_path / "unnamed.h5", "w") as file:
        file["coils"] = np.zeros((2, 4, 4), np.complex64)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = np.zeros((4, 4)), np.zeros((4, 4))
    save(tmp_path / "cut.h5", np.zeros((30, 40, 40)))
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:2500])
    (tmp_path / "text.h5").write_text("not an image")
    (tmp_path / "empty.h5").touch()
    save(tmp_path / "mask.h5", np.zeros((4, 4), bool))
    for name, word in {
        "raw.h5": "no images.*inverse Fourier transform.*reconstruction_rss",
        "unnamed.h5": "no images.*reconstructed first",
        "two.h5": r"holds 2 images .*/a \(4, 4\), /b",
        "cut.h5": "cannot be read",
        "text.h5": "cannot be read",
        "empty.h5": "empty",
        "mask.h5": "mask",
    }.items():
        with pytest.raises(ScanError, match=word):
            read(tmp_path / name)


def test_references_which_would_lead_elsewhere_are_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"] = np.arange(3.0)
        file["z"].attrs["unit"] = "mm"
        image = file.create_dataset("image", data=np.zeros((3, 4, 5), np.float32))
        file["z"].make_scale("z")
        image.dims[0].attach_scale(file["z"])
        file.attrs["default"] = image.ref
    with h5py.File(write_scan(read(tmp_path / "a.h5"), tmp_path / "out", PROVENANCE)) as result:
        assert result["z"].attrs["unit"] == "mm"
        assert not {"DIMENSION_LIST", "REFERENCE_LIST", "default"} & {
            key for place in (result, result["z"], result["image"]) for key in place.attrs
        }
        assert not result["image"].dims[0].values()


def test_in_a_folder_transforms_are_left_alone(tmp_path: Path) -> None:
    """fMRIPrep leaves them beside the images."""
    save(tmp_path / "image.h5", np.zeros((2, 4, 4), "f4"))
    with h5py.File(tmp_path / "from-T1w_to-MNI_xfm.h5", "w") as file:
        file["ITKVersion"] = "5.3.0"
        file["TransformGroup/0/TransformParameters"] = np.zeros((2, 4, 4))
    found, errors = find([tmp_path])
    assert [item.name for item in found] == ["image.h5"]
    assert [(type(error), Path(error.path).name) for error in errors] == [(LeftAlone, "from-T1w_to-MNI_xfm.h5")]


@pytest.mark.parametrize("colours", [3, 4])
def test_colours_are_refused_and_in_a_folder_left_alone(tmp_path: Path, colours: int) -> None:
    save(tmp_path / "image.h5", np.zeros((colours, 8, 9), np.uint8))
    save(tmp_path / "photo.h5", np.zeros((8, 9, colours), np.uint8), "photo")
    save(tmp_path / "coils.h5", np.zeros((8, 9, colours), np.complex64), "coil_images")
    with pytest.raises(ScanError, match="colour"):
        read(tmp_path / "photo.h5")
    found, errors = find([tmp_path])
    assert [item.name for item in found] == ["coils.h5", "image.h5"]
    assert [(type(error), Path(error.path).name) for error in errors] == [(LeftAlone, "photo.h5")]


def test_a_group_that_is_called_header_is_no_header(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.ones((2, 3, 8, 8), np.float32)
        file.create_group("header")
    assert read(tmp_path / "a.h5").frames == 2
