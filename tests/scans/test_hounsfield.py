"""CT that does not say so."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffdenoise.phantom import mni_slices
from diffdenoise.scans.files import find, read_scan
from diffdenoise.scans.hounsfield import looks_like_hounsfield
from tests.scans.dicom_checks import bundled, changed_copy


def body(noise: float = 20.0, air: float = -1000.0) -> np.ndarray:
    """A head of 0 to 80 HU in air."""
    head = mni_slices(60, 2, 10)
    return np.where(head > 0.05, 80 * head, air) + noise * np.random.default_rng(0).standard_normal(head.shape)


@given(st.floats(0, 20), st.sampled_from([np.float32, np.float64, np.int16]), st.sampled_from([None, -2000, -3024]))
def test_air_and_tissue_tell_it_whatever_the_padding(noise: float, dtype: type, padding: int | None) -> None:
    pixels = body(noise)
    if padding:
        pixels[:, :20] = padding
    assert looks_like_hounsfield(pixels.astype(dtype))


@pytest.mark.parametrize("size", [1e3, 4096, 32768])
def test_images_of_other_machines_do_not_look_like_it(size: float) -> None:
    random, head = np.random.default_rng(0), mni_slices(60, 2, 10)
    assert not looks_like_hounsfield(size * head)  # magnitudes
    assert not looks_like_hounsfield(size * (head - 0.5))  # of mean 0
    assert not looks_like_hounsfield(size * random.uniform(-1, 1, head.shape))  # phases
    assert not looks_like_hounsfield(size * random.standard_normal(head.shape))  # differences
    assert not looks_like_hounsfield(body() + 1024)  # as some converters store it
    assert not looks_like_hounsfield(np.full(head.shape, -1000.0))


def test_a_file_that_says_nothing_is_told_by_its_values_and_one_that_says_more_is_believed(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.moveaxis(body(), 0, -1).astype(np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    np.save(tmp_path / "b.npy", mni_slices(60, 2, 10))
    corner = body()[0, 20:84, 20:84].astype(np.int16)
    np.save(tmp_path / "corner.npy", corner)
    changed_copy(bundled("MR_small.dcm"), tmp_path / "c.dcm", PixelData=corner.tobytes())
    units = {item.name: read_scan(item).units for item in find([tmp_path])[0]}
    assert units == {"a.nii.gz": "HU", "b.npy": "arbitrary", "c.dcm": "arbitrary", "corner.npy": "HU"}


def test_real_ct_in_nifti_is_known_and_real_mr_is_not_taken_for_it(shared_data: Path) -> None:
    for folder, expected in (("formats_nifti_etc", {"totalsegmentator_example_ct_3mm.nii.gz"}), ("mri_colin27", set())):
        found, _ = find([shared_data / folder])
        assert {item.name for item in found if item.format == "nifti" and read_scan(item).units == "HU"} == expected
