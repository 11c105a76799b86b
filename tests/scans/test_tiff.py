from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import ScanError
from diffdenoise.scans.files import write_scan
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

STACKS = st.sampled_from(["u1", "i1", "u2", "i2", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=20))
)
STACK = np.random.default_rng(0).integers(0, 4000, (3, 33, 21)).astype(np.uint16)


@settings(deadline=None, max_examples=40)
@given(STACKS, st.sampled_from("<>"), st.booleans())
def test_uncompressed_identity(stack: np.ndarray, byteorder: Any, bigtiff: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        tifffile.imwrite(path, stack, byteorder=byteorder, bigtiff=bigtiff, photometric="minisblack", rowsperstrip=5)
        assert round_trip(path, Path(folder) / "out").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "resolution": (3.5, 3.5), "metadata": {"axes": "ZYX", "spacing": 2.5, "unit": "mm"}},
        {"metadata": {"axes": "ZYX"}, "ome": True},
        {"photometric": "miniswhite", "resolution": (72, 72), "resolutionunit": 2, "description": "film"},
    ],
)
def test_new_pixels_leave_every_tag(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, **({"photometric": "minisblack"} | options))
    scan = read(path)
    result = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", PROVENANCE)
    np.testing.assert_array_equal(tifffile.imread(result), STACK + 1)
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(result) as after:
        assert after.imagej_metadata == before.imagej_metadata
        assert after.ome_metadata == before.ome_metadata
        assert str(after.pages[0].tags) == str(before.pages[0].tags)


@pytest.mark.parametrize("options", [{}, {"predictor": True}, {"tile": (16, 16)}])
@pytest.mark.parametrize("compression", ["zlib", "lzma", None])
def test_compressed_and_tiled_stacks(tmp_path: Path, compression: str | None, options: dict[str, Any]) -> None:
    if compression is None and "predictor" in options:
        return
    path = tmp_path / "a.tif"
    resolution = {"resolution": (118.1, 118.1), "resolutionunit": 3, "description": "knee", "software": "scanner"}
    stack = dict(photometric="minisblack", compression=compression, metadata=None, **resolution, **options)
    tifffile.imwrite(path, STACK, **stack)
    scan = read(path)
    result = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", PROVENANCE)
    np.testing.assert_array_equal(tifffile.imread(result), STACK + 1)
    with tifffile.TiffFile(path) as before, tifffile.TiffFile(result) as after:
        for page, old in zip(after.pages, before.pages, strict=True):
            new = page.aspage()
            assert (new.compression, new.predictor, new.is_tiled) == (
                old.aspage().compression,
                old.aspage().predictor,
                old.aspage().is_tiled,
            )
            assert new.tags["XResolution"].value == old.aspage().tags["XResolution"].value
            assert new.tags["ResolutionUnit"].value == 3
        assert after.pages[0].aspage().description == "knee"
        assert after.pages[0].aspage().software == "scanner"


def test_saturation_and_units(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((1, 3), np.int16), photometric="minisblack")
    scan = read(tmp_path / "a.tif")
    assert scan.units == "arbitrary"
    result = write_scan(scan.with_pixels(np.array([[[-1e6, 0.6, 1e6]]], np.float32)), tmp_path / "out", PROVENANCE)
    assert tifffile.imread(result).tolist() == [[-32768, 1, 32767]]


def test_removed_part_is_a_float_stack_with_resolution(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", resolution=(5, 5))
    scan = read(tmp_path / "a.tif")
    result = write_scan(scan.with_pixels(scan.pixels * -0.5), tmp_path / "out", REMOVED)
    assert result.name == "a_removed.tif"
    after = tifffile.imread(result)
    assert after.dtype == np.float32
    np.testing.assert_array_equal(after, STACK * np.float32(-0.5))
    with tifffile.TiffFile(result) as file:
        assert file.pages[0].aspage().tags["XResolution"].value == (5, 1)


def test_colour_and_mixed_files_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "mask.tif", np.zeros((8, 8), bool))
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(np.zeros((4, 4), np.uint8))
        writer.write(np.zeros((5, 4), np.uint8))
    for name, word in (("rgb.tif", "greyscale"), ("mask.tif", "1 bit"), ("mixed.tif", "different kinds")):
        with pytest.raises(ScanError, match=word):
            read(tmp_path / name)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", STACK, photometric="minisblack")
    good = (tmp_path / "good.tif").read_bytes()
    for content in (b"", b"nonsense", good[:1000], good[:100]):
        (tmp_path / "bad.tif").write_bytes(content)
        with pytest.raises(ScanError, match=r"bad\.tif"):
            read(tmp_path / "bad.tif")
