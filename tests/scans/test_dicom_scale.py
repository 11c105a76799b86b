"""Stored numbers of every width, sign, slope, table and kind come back as they were, or changed by what was asked."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffdenoise.scans.files import write_scan
from tests.scans.dicom_checks import made, modality_table
from tests.scans.format_checks import PROVENANCE, REMOVED, read

SHAPE = (4, 5)


def stored_in(path: Path) -> np.ndarray:
    """All bits as written."""
    dataset = pydicom.dcmread(path)
    kind = "i" if dataset.PixelRepresentation else "u"
    return np.frombuffer(dataset.PixelData, f"<{kind}{dataset.BitsAllocated // 8}")[: np.prod(SHAPE)].reshape(SHAPE)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_integers_of_any_layout(data: st.DataObject) -> None:
    bits, signed = data.draw(st.integers(8, 16)), data.draw(st.booleans())
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    numbers = data.draw(st.lists(st.integers(low, high), min_size=20, max_size=20))
    before = np.array(numbers, dtype).reshape(SHAPE)
    tags: dict[str, Any] = {"BitsStored": bits, "HighBit": bits - 1}
    slope, tags["RescaleIntercept"] = data.draw(st.sampled_from([1.0, 0.5, 2.5, -1.0])), data.draw(st.integers(-99, 99))
    tags |= {
        "RescaleSlope": slope,
        "PhotometricInterpretation": data.draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
    }
    padding = data.draw(st.sampled_from([None, numbers[0]]))
    if padding is not None:
        tags["PixelPaddingValue"] = padding
    steps = data.draw(st.integers(-200, 200))
    with tempfile.TemporaryDirectory() as folder:
        scan = read(made(Path(folder) / "a.dcm", before, **tags))
        np.testing.assert_array_equal(scan.pixels[0], before * slope + tags["RescaleIntercept"])
        same = write_scan(scan, Path(folder) / "same", PROVENANCE)
        np.testing.assert_array_equal(stored_in(same), before)
        moved = write_scan(scan.with_pixels(scan.pixels + np.float32(steps * slope)), Path(folder) / "new", PROVENANCE)
        after = pydicom.dcmread(moved)
        expected = np.clip(before.astype(int) + steps, low, high)
        if padding is not None:  # what was a pixel is one
            expected[expected == padding] = padding + (1 if padding < high else -1)
            expected[before == padding] = padding
        np.testing.assert_array_equal(stored_in(moved), expected)
        for keyword, value in tags.items():
            assert after[keyword].value == value


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floats_stay_floats(tmp_path: Path, dtype: str) -> None:
    before = np.random.default_rng(0).normal(size=SHAPE).astype(dtype)
    before[0, 0], before[1, 1] = np.nan, -7.0
    word = {"<f4": "Float", "<f8": "DoubleFloat"}[dtype]
    scan = read(made(tmp_path / "a.dcm", before, **{f"{word}PixelPaddingValue": -7.0}))
    result = pydicom.dcmread(write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", PROVENANCE))
    expected = before.copy()
    expected[before != -7.0] += 1
    after = np.frombuffer(result[f"{word}PixelData"].value, dtype).reshape(SHAPE)
    np.testing.assert_allclose(after, expected, rtol=1e-6)
    assert "PixelData" not in result
    same = pydicom.dcmread(write_scan(scan, tmp_path / "same", PROVENANCE))
    assert same[f"{word}PixelData"].value == before.tobytes()
    noise = np.full_like(scan.pixels, -0.25)
    removed = pydicom.dcmread(write_scan(scan.with_pixels(noise), tmp_path / "out", REMOVED))
    values = np.frombuffer(removed[f"{word}PixelData"].value, dtype).reshape(SHAPE)
    assert values[0, 1] == -0.25
    assert values[1, 1] == 0


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 65535), min_size=2, max_size=40).filter(lambda values: len(set(values)) > 1),
    st.integers(-20, 20),
    st.booleans(),
)
def test_a_table_that_only_rises_or_only_falls_is_undone(values: list[int], first: int, falls: bool) -> None:
    table = sorted(values, reverse=falls)
    before = np.random.default_rng(0).integers(first - 3, first + len(table) + 3, SHAPE).astype(np.int16)
    looked_up = np.array(table)[np.clip(before.astype(int) - first, 0, len(table) - 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = made(Path(folder) / "a.dcm", before, ModalityLUTSequence=[modality_table(table, first)])
        scan = read(path)
        np.testing.assert_array_equal(scan.pixels[0], looked_up)
        same = write_scan(scan, Path(folder) / "same", PROVENANCE)
        np.testing.assert_array_equal(stored_in(same), before)
        wanted = np.random.default_rng(1).permutation(looked_up.ravel()).reshape(1, *SHAPE)
        result = write_scan(scan.with_pixels(wanted.astype(np.float32)), Path(folder) / "new", PROVENANCE)
        np.testing.assert_array_equal(read(result).pixels, wanted)
        removed = write_scan(scan.with_pixels(wanted.astype(np.float32) - 3), Path(folder) / "new", REMOVED)
        assert "ModalityLUTSequence" not in pydicom.dcmread(removed)
        np.testing.assert_allclose(read(removed).pixels, wanted - 3, atol=1.5)


def test_between_entries_the_nearer_one_is_taken(tmp_path: Path) -> None:
    scan = read(
        made(tmp_path / "a.dcm", np.zeros(SHAPE, np.uint16), ModalityLUTSequence=[modality_table([0, 10, 100])])
    )
    for value, number in ((4, 0), (6, 1), (54, 1), (56, 2), (-9, 0), (1e9, 2)):
        result = write_scan(scan.with_pixels(np.full_like(scan.pixels, value)), tmp_path / "out", PROVENANCE)
        assert (stored_in(result) == number).all()


@pytest.mark.parametrize(
    ("modality", "rescale_type", "units"),
    [("CT", None, "HU"), ("CT", "HU", "HU"), ("CT", "Z_EFF", "arbitrary"), ("MR", "HU", "arbitrary")],
)
def test_ct_is_in_hounsfield_units_unless_it_says_otherwise(
    tmp_path: Path, modality: str, rescale_type: str | None, units: str
) -> None:
    tags = {"Modality": modality} | ({"RescaleType": rescale_type} if rescale_type else {})
    scan = read(made(tmp_path / "a.dcm", np.eye(20, dtype=np.uint16), **tags))
    assert scan.units == units
    removed = pydicom.dcmread(write_scan(scan, tmp_path / "out", REMOVED))
    assert removed.RescaleType == ("HU" if units == "HU" else "US")
