import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from diffdenoise.errors import ConfigError
from diffdenoise.quality.reference import (
    data_range,
    detail_kept,
    foreground,
    noise_kept,
    psnr,
    scores,
    ssim,
)

seeds = st.integers(0, 2**32 - 1)


def _random(seed, shape=(2, 20, 24)):
    return np.random.default_rng(seed).random(shape)


def _with_dots(seed):
    """A smooth image without details, the same with dots of one and more pixels, and the dots."""
    without = ndimage.gaussian_filter(_random(seed, (2, 64, 64)), (0, 4, 4))
    detail = np.zeros_like(without)
    detail[:, 20, 20], detail[:, 40:42, 30:33], detail[:, 15:23, 45:53] = 0.3, -0.2, 0.1
    return without, without + detail, detail


@given(seeds, st.floats(1e-4, 1.0), st.floats(0.5, 255.0))
@settings(max_examples=30, deadline=None)
def test_psnr_of_a_known_error(seed, error, value_range):
    reference = _random(seed)
    signs = np.where(_random(seed + 1) < 0.5, -1, 1)
    assert psnr(reference + error * signs, reference, value_range) == pytest.approx(20 * np.log10(value_range / error))


def test_psnr_of_equal_images_is_infinite():
    assert psnr(_random(0), _random(0), 1.0) == float("inf")


def test_eight_bit_images_do_not_wrap_around():
    dark, bright = np.zeros((1, 8, 8), np.uint8), np.full((1, 8, 8), 255, np.uint8)
    assert psnr(dark, bright, data_range(bright, "unit")) == pytest.approx(0.0)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_what_lies_outside_the_mask_does_not_count(seed):
    reference = _random(seed)
    image = reference + 0.05 * _random(seed + 1)
    mask = np.zeros(reference.shape, dtype=bool)
    mask[:, 6:12, 6:12] = True
    spoilt = np.where(ndimage.binary_dilation(mask, np.ones((1, 7, 7))), image, -9.0)  # beyond every SSIM window
    assert psnr(spoilt, reference, 1.0, mask) == psnr(image, reference, 1.0, mask)
    assert ssim(spoilt, reference, 1.0, mask) == pytest.approx(ssim(image, reference, 1.0, mask))
    assert psnr(spoilt, reference, 1.0) < psnr(image, reference, 1.0)


def test_a_full_mask_changes_nothing():
    image, reference = _random(0), _random(1)
    result = scores(image, reference, 1.0, np.ones(image.shape, dtype=bool))
    assert result["psnr_foreground"] == pytest.approx(result["psnr"])
    assert result["ssim_foreground"] == pytest.approx(result["ssim"])
    assert set(scores(image, reference, 1.0)) == {"psnr", "ssim"}


def test_ssim_is_the_mean_over_slices_of_scikit_image():
    from skimage.metrics import structural_similarity

    image, reference = _random(0), _random(1)
    expected = [structural_similarity(a, b, data_range=1.0) for a, b in zip(image, reference, strict=True)]
    assert ssim(image, reference, 1.0) == pytest.approx(np.mean(expected))
    assert ssim(image[0], reference[0], 1.0) == pytest.approx(expected[0])
    assert ssim(image, image, 1.0) == pytest.approx(1.0)


def test_data_range_conventions():
    reference = np.array([[[0.1, 0.7]]])
    assert data_range(reference, "fastMRI") == 0.7
    assert data_range(reference, "unit") == 1.0
    assert data_range((255 * reference).astype(np.uint8), "unit") == 255.0
    with pytest.raises(ConfigError, match="scale it"):
        data_range(1000 * reference, "unit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((1, 9, 9))}, "shape"),
        ({"data_range": 0.0}, "data_range"),
        ({"data_range": np.inf}, "data_range"),
        ({"mask": np.zeros((2, 20, 24), bool)}, "empty"),
        ({"mask": np.ones((20, 24), bool)}, "mask"),
    ],
)
def test_faults_are_named(change, message):
    given_ = {"image": _random(0), "reference": _random(1), "data_range": 1.0} | change
    for measure in (psnr, ssim):
        with pytest.raises(ConfigError, match=message):
            measure(**given_)
    with pytest.raises(ConfigError, match="7x7"):
        ssim(np.zeros((1, 6, 9)), np.zeros((1, 6, 9)), 1.0)


def test_foreground_finds_a_disk_and_fills_its_holes():
    rows, cols = np.mgrid[-40:40, -40:40]
    disk, hole = np.hypot(rows, cols) < 28, np.hypot(rows, cols) < 8
    image = np.where(disk & ~hole, 0.6, 0.0)
    image[5, 5] = 1.0  # a speck
    noisy = image + np.random.default_rng(0).normal(0, 0.05, image.shape)
    mask = foreground(noisy)
    assert mask.dtype == bool
    assert mask.shape == image.shape
    assert (mask == disk).mean() > 0.97
    assert not mask[:8, :8].any()
    assert np.array_equal(foreground(noisy[None])[0], mask)


@pytest.mark.parametrize("image", [np.zeros((2, 9, 9)), np.full((1, 4, 4), 0.5), np.full((1, 4, 4), np.nan)])
def test_foreground_of_nothing_is_everything(image):
    assert foreground(image).all()


@given(seeds, st.floats(-0.5, 1.5), st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_noise_kept_is_the_share_mixed_in(seed, share, brighter):
    reference, noise = _random(seed), _random(seed + 1) - 0.3
    noisy = reference + noise
    assert noise_kept(noisy, reference, noisy) == pytest.approx(1)
    assert noise_kept(reference, reference, noisy) == 0
    assert noise_kept(reference + share * noise + brighter, reference, noisy) == pytest.approx(share, abs=1e-9)


def test_noise_kept_needs_noise():
    with pytest.raises(ConfigError, match="differs"):
        noise_kept(_random(0), _random(1), _random(1))


@given(seeds, st.floats(0, 1.5), st.floats(-0.3, 0.3))
@settings(max_examples=20, deadline=None)
def test_detail_kept_is_the_share_mixed_in(seed, share, brighter):
    without, reference, detail = _with_dots(seed)
    assert detail_kept(reference, reference, without) == pytest.approx(1)
    assert detail_kept(without, reference, without) == 0
    result = without + share * detail + brighter  # a brightness error is no contrast
    assert detail_kept(result, reference, without) == pytest.approx(share, abs=1e-6)
    assert detail_kept(result, reference, without, without + brighter) == pytest.approx(share, abs=1e-6)


def test_more_blur_keeps_less_detail():
    without, reference, _ = _with_dots(0)
    kept = [detail_kept(ndimage.gaussian_filter(reference, (0, w, w)), reference, without) for w in (0, 0.5, 1, 2)]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < 0.7


def test_detail_kept_needs_detail():
    with pytest.raises(ConfigError, match="without details"):
        detail_kept(_random(0), _random(1), _random(1))


def test_a_mask_at_the_rim_has_no_ssim_and_all_else():
    image, reference = np.zeros((1, 8, 8)), np.ones((1, 8, 8))
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :2, :2] = True
    found = scores(image, reference, 1.0, mask)
    assert set(found) == {"psnr", "ssim", "psnr_foreground"}
    with pytest.raises(ConfigError, match="no window"):
        ssim(image, reference, 1.0, mask)
