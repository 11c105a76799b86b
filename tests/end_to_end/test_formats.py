"""`run` on real files of each format: what comes out opens in the format's own library, alike in all but the noise."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

from diffdenoise.cli import main
from tests.conftest import noisy_disks


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def smoke_run(source: Path, out: Path) -> None:
    assert run("run", source, "-o", out, "--preset", "smoke", "--device", "cpu") == 0


def untouched(folder: Path, work: Callable[[], None]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    work()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def assert_denoised(result: np.ndarray, noisy: np.ndarray) -> None:
    assert result.shape == noisy.shape
    assert result.dtype == noisy.dtype
    assert not np.array_equal(result, noisy)
    assert noisy.min() <= np.median(result) <= noisy.max()
    assert abs(result.mean() - noisy.mean()) < 0.2 * noisy.std()


def test_nifti(tmp_path: Path) -> None:
    affine = np.array([[-0.9, 0, 0.1, 5], [0, 0.9, 0, -7], [0.1, 0, 2, 3], [0, 0, 0, 1]])
    stored = (800 * noisy_disks(slices=4)).astype(np.int16).transpose(2, 1, 0)
    image = nibabel.Nifti1Image(stored, affine)
    image.header.set_slope_inter(0.5, -10)
    source = tmp_path / "in" / "sub-01" / "anat.nii.gz"
    source.parent.mkdir(parents=True)
    nibabel.save(image, source)
    untouched(tmp_path / "in", lambda: smoke_run(tmp_path / "in", tmp_path / "out"))
    result = nibabel.load(tmp_path / "out" / "sub-01" / "anat.nii.gz")
    assert np.array_equal(result.affine, nibabel.load(source).affine)
    assert result.get_data_dtype() == np.int16
    assert (float(result.dataobj.slope), float(result.dataobj.inter)) == (0.5, -10.0)
    assert_denoised(np.asarray(result.dataobj.get_unscaled()), stored)


def test_a_dicom_series_becomes_a_new_derived_series(tmp_path: Path) -> None:
    template = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
    source = tmp_path / "in" / "series"
    source.mkdir(parents=True)
    series = pydicom.uid.generate_uid()
    for number, image in enumerate(noisy_disks(slices=4, rows=64, columns=64)):
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        template.SeriesInstanceUID = series
        template.InstanceNumber = number + 1
        template.ImagePositionPatient = [0, 0, 3.0 * (3 - number)]
        template.PixelData = (1000 * image).astype(np.int16).tobytes()
        template.save_as(source / f"im{number}.dcm")
    untouched(tmp_path / "in", lambda: smoke_run(source, tmp_path / "out"))
    for before in sorted(source.iterdir()):
        old, new = pydicom.dcmread(before), pydicom.dcmread(tmp_path / "out" / "series" / before.name)
        assert new.SOPInstanceUID != old.SOPInstanceUID
        assert new.SeriesInstanceUID != old.SeriesInstanceUID
        assert new.StudyInstanceUID == old.StudyInstanceUID
        assert new.ImageType[0] == "DERIVED"
        assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert "not a medical device" in new.DerivationDescription
        assert new.ImagePositionPatient == old.ImagePositionPatient
        assert_denoised(new.pixel_array, old.pixel_array)


def test_png(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images = (200 * noisy_disks(slices=3)).clip(0, 255).astype(np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "in" / f"{number}.png")
    untouched(tmp_path / "in", lambda: smoke_run(tmp_path / "in", tmp_path / "out"))
    for number, image in enumerate(images):
        result = Image.open(tmp_path / "out" / f"{number}.png")
        assert result.mode == "L"
        assert_denoised(np.asarray(result), image)


def test_tiff_stack(tmp_path: Path) -> None:
    stack = (30_000 * noisy_disks(slices=3)).clip(0, 65_535).astype(np.uint16)
    source = tmp_path / "stack.tif"
    tifffile.imwrite(source, stack, imagej=True, metadata={"spacing": 2.5, "axes": "ZYX"})
    smoke_run(source, tmp_path / "out")
    with tifffile.TiffFile(tmp_path / "out" / "stack.tif") as file:
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["spacing"] == 2.5
        assert_denoised(file.asarray(), stack)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_npy(tmp_path: Path, dtype: type) -> None:
    stack = (200 * noisy_disks()).clip(0, 255).astype(dtype)
    np.save(tmp_path / "stack.npy", stack)
    smoke_run(tmp_path / "stack.npy", tmp_path / "out")
    assert_denoised(np.load(tmp_path / "out" / "stack.npy"), stack)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mri_studyforrest_T1/dicom", "cxr_hannover/png/006f3a8a.png"])
def test_real_scans(tmp_path: Path, name: str) -> None:
    source = Path(__file__).parents[2].parent / "shared" / "data" / name
    if not source.exists():
        pytest.skip("the shared development images are not here")
    smoke_run(source, tmp_path / "out")
    results = [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".dcm", ".png")]
    assert len(results) == (len(list(source.iterdir())) if source.is_dir() else 1)
