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
from diffdenoise.scans import tiff
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


def test_compressed_pictures_keep_their_orientation_profile_and_author(tmp_path: Path) -> None:
    path, profile = tmp_path / "a.tif", bytes(range(200))
    extra = [(274, 3, 1, 6, True), (315, 2, 0, "somebody", True), (34675, 7, len(profile), profile, True)]
    tifffile.imwrite(path, STACK[0], photometric="minisblack", compression="zlib", extratags=extra)
    with tifffile.TiffFile(round_trip(path, tmp_path / "out")) as file:
        tags = file.pages[0].tags
        assert (tags[274].value, tags[315].value, tags[34675].value) == (6, "somebody", profile)


def test_a_pyramid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(STACK[0], photometric="minisblack", subifds=1)
        writer.write(STACK[0, ::2, ::2], subfiletype=1, photometric="minisblack")
    with pytest.raises(ScanError, match="pyramid"):
        read(path)


@pytest.mark.parametrize("options", [{}, {"predictor": True}, {"tile": (16, 16)}])
@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "lzma", "zstd", None])
def test_compressed_and_tiled_stacks(tmp_path: Path, compression: str | None, options: dict[str, Any]) -> None:
    if compression in (None, "packbits") and "predictor" in options:
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


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
def test_what_was_compressed_with_loss_is_written_without(tmp_path: Path, compression: str) -> None:
    small = (STACK >> 4).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", small, compression=compression, photometric="minisblack", metadata=None)
    scan = read(tmp_path / "a.tif")
    expected = tifffile.imread(tmp_path / "a.tif")
    np.testing.assert_array_equal(scan.pixels, expected)
    result = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", PROVENANCE)
    np.testing.assert_array_equal(tifffile.imread(result), np.minimum(expected.astype(int) + 1, 255))
    with tifffile.TiffFile(result) as file:
        assert file.pages[0].aspage().compression == tifffile.COMPRESSION.ADOBE_DEFLATE


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_floats_with_a_predictor(tmp_path: Path, compression: str | None, byteorder: Any) -> None:
    stack = np.random.default_rng(0).normal(size=(3, 20, 31)).astype(np.float32)
    kind = {"compression": compression, "predictor": compression is not None}
    tifffile.imwrite(tmp_path / "a.tif", stack, byteorder=byteorder, photometric="minisblack", metadata=None, **kind)
    np.testing.assert_array_equal(tifffile.imread(round_trip(tmp_path / "a.tif", tmp_path / "out")), stack)


@pytest.mark.parametrize("axes", ["TZYX", "ZTYX", "TZCYX", "TYX", "ZYX", "QYX"])
@pytest.mark.parametrize("kind", ["imagej", "ome", "plain"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_hyperstacks_are_volumes_of_slices(tmp_path: Path, axes: str, kind: str, compression: str | None) -> None:
    if (kind == "imagej" and axes in ("ZTYX", "QYX")) or (kind == "ome" and axes == "QYX"):
        return  # these have an order and letters of their own
    sizes = {"T": 2, "Z": 3, "C": 4, "Q": 3, "Y": 5, "X": 6}
    stack = np.arange(np.prod([sizes[axis] for axis in axes]), dtype=np.uint16).reshape([sizes[axis] for axis in axes])
    how: dict[str, Any] = {"metadata": {"axes": axes}, "photometric": "minisblack", "compression": compression}
    tifffile.imwrite(tmp_path / "a.tif", stack, **how, **({} if kind == "plain" else {kind: True}))
    scan = read(tmp_path / "a.tif")
    slices = next((sizes[axis] for axis in axes if axis in "ZQ"), 1)
    assert scan.frames == stack[..., 0, 0].size // slices
    if "Z" in axes:
        volume = scan.pixels[: sizes["Z"]]
        first = tuple(slice(None) if axis in "ZYX" else 0 for axis in axes)
        np.testing.assert_array_equal(volume, stack[first])
    for provenance, name in ((PROVENANCE, "a.tif"), (REMOVED, "a_removed.tif")):
        result = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", provenance)
        assert result.name == name
        with tifffile.TiffFile(result) as file:
            (series,) = file.series
            assert series.axes == axes
            np.testing.assert_array_equal(series.asarray(), stack + 1)


def test_calibration_is_kept_whatever_is_written(tmp_path: Path) -> None:
    ome = {"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata=ome, compression="deflate")
    imagej = {"axes": "ZYX", "spacing": 2.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "b.tif", STACK, imagej=True, metadata=imagej, resolution=(4, 8))
    for name in ("a.ome.tif", "b.tif"):
        for provenance in (PROVENANCE, REMOVED):
            result = write_scan(read(tmp_path / name), tmp_path / "out", provenance)
            with tifffile.TiffFile(result) as file, tifffile.TiffFile(tmp_path / name) as source:
                page, before = file.pages[0].aspage(), source.pages[0].aspage()
                pixel_type = "float" if provenance is REMOVED else "uint16"
                assert page.description == before.description.replace('Type="uint16"', f'Type="{pixel_type}"')
                for tag in ("XResolution", "YResolution", "ResolutionUnit"):
                    assert page.tags.valueof(tag) == before.tags.valueof(tag)


def test_an_ome_image_in_several_files_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        xml = str(file.ome_metadata)
    lost = xml.replace('SizeZ="3"', 'SizeZ="5"').encode()
    tifffile.imwrite(tmp_path / "lost.ome.tif", STACK, description=lost, metadata=None, photometric="minisblack")
    with pytest.raises(ScanError, match="several files, or lacks planes"):
        read(tmp_path / "lost.ome.tif")


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


def test_maps_too_large_for_a_classic_tiff_become_big_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "MOST_CLASSIC", 1000)
    tifffile.imwrite(tmp_path / "a.tif", np.arange(2 * 20 * 20, dtype=np.uint8).reshape(2, 20, 20))
    scan = read(tmp_path / "a.tif")
    with tifffile.TiffFile(write_scan(scan, tmp_path / "out", REMOVED)) as written:
        assert written.is_bigtiff
        np.testing.assert_array_equal(written.asarray(), scan.pixels)
