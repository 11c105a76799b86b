from importlib import resources

import numpy as np
import pytest
from scipy import ndimage

from diffdenoise.errors import ConfigError
from diffdenoise.phantom import add_details, mni_slices


@pytest.fixture(scope="module")
def slices():
    return mni_slices(70, 3, step=10)


@pytest.fixture(scope="module")
def drawn(slices):
    return add_details(slices, seed=5)


def test_slices_are_unit_range_images_with_a_dark_background(slices):
    assert slices.shape == (3, 233, 197)
    assert slices.dtype == np.float32
    assert slices.min() == 0
    assert 0.8 < slices.max() <= 1
    assert not slices[:, :5].any()


def test_anterior_is_up_and_right_is_left():
    import nibabel

    source = resources.files("nilearn") / "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    volume = nibabel.load(str(source))
    assert nibabel.aff2axcodes(volume.affine) == ("R", "A", "S")
    axial = np.asarray(volume.dataobj)[:, :, 80]
    image = mni_slices(80, 1)[0]
    assert image[0, 0] * 255 == axial[-1, -1]
    assert np.array_equal(np.round(image * 255), axial[::-1, ::-1].T)


def test_steps_count_in_slices(slices):
    assert np.array_equal(slices[2], mni_slices(90, 1)[0])


@pytest.mark.parametrize("asked", [(-1, 2, 1), (188, 2, 1), (0, 0, 1), (0, 3, 0)])
def test_slices_outside_the_volume(asked):
    with pytest.raises(ConfigError, match="slices"):
        mni_slices(*asked)


def test_without_nilearn_the_remedy_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(resources, "files", missing)
    with pytest.raises(ConfigError, match=r"pip install '\.\[demo\]'"):
        mni_slices(80, 1)


def test_details_are_what_was_added(slices, drawn):
    with_details, detail = drawn
    assert with_details.dtype == detail.dtype == np.float32
    assert np.array_equal(with_details, slices + detail)
    assert with_details.min() >= 0
    assert with_details.max() <= 1


def test_details_are_many_apart_fine_and_of_both_signs(slices, drawn):
    for image, detail in zip(slices, drawn[1], strict=True):
        labels, count = ndimage.label(detail, np.ones((3, 3)))
        assert 35 <= count <= 40
        peaks = ndimage.maximum(np.abs(detail), labels, np.arange(1, count + 1))
        assert peaks.min() >= 0.08 - 1e-6
        assert peaks.max() <= 0.4 + 1e-6
        assert (detail > 0).any()
        assert (detail < 0).any()
        assert (np.bincount(labels.ravel())[1:] == 1).any()  # dots of a single pixel
        assert image[detail != 0].min() > 0.1  # in the brain
        assert np.array_equal(ndimage.label(ndimage.binary_dilation(detail, np.ones((3, 3))))[1], count)


def test_a_seed_and_a_place_fix_the_details(slices, drawn):
    again = add_details(slices[:2], seed=5)[1]
    assert np.array_equal(again, drawn[1][:2])
    assert not np.array_equal(add_details(slices[:1], seed=6)[1], drawn[1][:1])


def test_no_room_no_details():
    dark = np.zeros((1, 40, 40), np.float32)
    assert not add_details(dark, 0)[1].any()
