from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import ScanError
from diffdenoise.scans.stored import (
    LARGEST,
    RoundedAwayError,
    check_size,
    doubt_of_axes,
    memory,
    reading,
    to_float32,
    to_physical,
    to_stored,
)

DTYPES = st.sampled_from(["u1", "i1", "<u2", ">i2", "<i4", "<u8", "<i8", "<f2", ">f4", "<f8"])
STORED = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, (2, 3, 4)))


@settings(deadline=None, max_examples=100)
@given(STORED, st.floats(1e-3, 1e3), st.floats(-1e4, 1e4))
def test_unchanged_pixels_keep_their_stored_bits(stored: np.ndarray, slope: float, intercept: float) -> None:
    pixels = to_physical(stored, slope, intercept)
    assert np.isfinite(pixels).all()
    back = to_stored(pixels, stored, slope, intercept)
    assert back.dtype == stored.dtype
    assert back.tobytes() == stored.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">i2", "<i4", "<u8", "<i8", "<f2"])
@pytest.mark.parametrize("slope", [0.5, -2.0])
def test_values_saturate_and_never_wrap(dtype: str, slope: float) -> None:
    original = np.ones((1, 1, 2), dtype)
    back = to_stored(np.array([[[-1e30, 1e30]]], np.float32), original, slope)
    low, high = sorted(float(value) for value in back[0, 0])
    info = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    assert low == float(info.min)
    assert high >= float(info.max) * 0.999
    assert (float(back[0, 0, 1]) > float(back[0, 0, 0])) == (slope > 0)


def test_integers_are_rounded_within_narrower_limits() -> None:
    back = to_stored(np.array([[[1.6, -3.0, 9000.0]]], np.float32), np.zeros((1, 1, 3), np.uint16), limits=(0, 4095))
    assert back.tolist() == [[[2, 0, 4095]]]


def test_nan_and_infinity_come_back_where_they_were() -> None:
    stored = np.array([[[np.nan, np.inf, -np.inf, 1.0, 1e300]]])
    pixels = to_physical(stored) + 5
    assert pixels.tolist() == [[[5, 5, 5, 6, 5]]]
    np.testing.assert_array_equal(to_stored(pixels, stored), [[[np.nan, np.inf, -np.inf, 6.0, 1e300]]])
    np.testing.assert_array_equal(to_float32(pixels, stored)[0, 0, :4], [np.nan, np.inf, -np.inf, 6.0])


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="did the source file change"):
        to_stored(np.zeros((1, 2, 2), np.float32), np.zeros((1, 2, 3)))


def test_marks_for_no_value_are_no_pixels_and_come_back() -> None:
    stored = np.array([[[1.0, 1e20, -3.4e38, 1e300, LARGEST]]])
    pixels = to_physical(stored)
    np.testing.assert_array_equal(pixels, np.array([[[1, 0, 0, 0, LARGEST]]], np.float32))
    np.testing.assert_array_equal(to_stored(pixels + 1, stored)[0, 0, :4], [2, 1e20, -3.4e38, 1e300])


NOISE = np.random.default_rng(0).normal(size=(3, 64, 64))
MASKED = np.where(np.arange(64) < 40, np.nan, NOISE)
INT16 = np.rint(100 * NOISE).astype(np.int16)


@pytest.mark.parametrize(
    ("stored", "slope", "intercept"),
    [
        (1e9 + NOISE, 1.0, 0.0),
        (1e9 + 30 * NOISE, 1.0, 0.0),
        (np.nan_to_num(-1e9 + MASKED), 1.0, 0.0),
        (np.where(np.isnan(MASKED), -1, 1e9 + NOISE), 1.0, 0.0),
        (1e9 + 300 * np.indices(NOISE.shape)[2] + 30 * NOISE, 1.0, 0.0),
        (10**9 + INT16.astype(np.int32) // 10, 1.0, 0.0),
        (INT16, 0.01, 1e9),
        (INT16.astype(np.float32), 0.01, 1e9),
    ],
)
def test_noise_that_float32_rounds_away_is_refused(stored: np.ndarray, slope: float, intercept: float) -> None:
    with pytest.raises(RoundedAwayError):
        to_physical(stored, slope, intercept)


@pytest.mark.parametrize(
    ("stored", "slope", "intercept"),
    [
        (1e9 + 1000 * NOISE, 1.0, 0.0),
        (1e5 + NOISE, 1.0, 0.0),
        (NOISE, 1e-30, 0.0),
        (np.full((3, 64, 64), 1e9 + 1), 1.0, 0.0),
        (np.full((3, 64, 64), 1e9 + 1) * (1 + 1e-15 * NOISE), 1.0, 0.0),
        (np.where(NOISE > -2, -1000.1 * (1 + 1e-8 * NOISE), 100 * NOISE), 1.0, 0.0),  # a flat background, resampled
        (np.full((3, 64, 64), np.nan), 1.0, 0.0),
        (np.full((3, 64, 64), np.iinfo(np.int64).max), 1.0, 0.0),
        (INT16, 1 / 3, -1024.0),
        ((1e9 + 30 * NOISE).astype(np.float32), 1 / 3, 0.0),  # it has no more digits to lose
        (1e12 * NOISE, 1.0, 0.0),
    ],
)
def test_what_float32_keeps_well_enough_is_read(stored: np.ndarray, slope: float, intercept: float) -> None:
    to_physical(stored, slope, intercept)


@given(
    st.lists(st.integers(1, 10**9), min_size=2, max_size=5),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(0, 10**12),
    st.sampled_from([1, 1032]),
)
def test_a_size_is_accepted_exactly_if_file_and_memory_can_hold_it(
    shape: list[int], stored: int, held: int, growth: int
) -> None:
    pixels = math.prod(shape)
    fits = pixels * stored <= held * growth and pixels * (stored + 4) <= memory()
    try:
        check_size(Path("a.npy"), tuple(shape), stored, growth, held)
    except ScanError as error:
        assert not fits
        assert "can hold" in str(error) or "memory" in str(error)
    else:
        assert fits


def test_what_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 5)))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "a.npy")  # root may read all
    with pytest.raises(ScanError, match="rights forbid it"), reading(tmp_path / "a.npy", "NumPy"):
        pass


def test_a_real_ct_of_four_gigabytes_is_accepted() -> None:
    if memory() < 13e9:
        pytest.skip("it would not fit into this machine's memory")
    check_size(Path("ct.nii"), (1024, 1024, 2000), 2, held=1024 * 1024 * 2000 * 2 + 352)


@pytest.mark.parametrize("shape", [(128, 128, 6), (192, 256, 48), (64, 64, 16)])
def test_an_array_whose_last_axis_seems_to_be_that_of_slices_is_doubted(shape: tuple[int, int, int]) -> None:
    told = doubt_of_axes(shape)
    assert f"{shape[0]} slices of {shape[1]} x {shape[2]} pixels" in told
    assert f"{shape[2]} slices of {shape[0]} x {shape[1]}, move" in told


@pytest.mark.parametrize(
    "shape", [(6, 128, 128), (200, 256, 128), (20, 128, 6), (128, 6), (30, 128, 128, 6), (64,) * 3]
)
def test_other_arrays_are_not(shape: tuple[int, ...]) -> None:
    assert not doubt_of_axes(shape)
