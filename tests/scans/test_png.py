from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffdenoise.errors import LeftAlone, ScanError
from diffdenoise.scans.files import find, write_scan
from diffdenoise.scans.png import _chunks
from tests.scans.format_checks import PROVENANCE, REMOVED, read, round_trip

GREY = st.sampled_from([np.uint8, np.uint16]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2))
)


@settings(deadline=None, max_examples=40)
@given(GREY)
def test_identity(picture: np.ndarray) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        text = PIL.PngImagePlugin.PngInfo()
        text.add_text("Title", "chest")
        PIL.Image.fromarray(picture).save(path, pnginfo=text, dpi=(300, 300))
        with PIL.Image.open(round_trip(path, Path(folder) / "out")) as after, PIL.Image.open(path) as before:
            assert after.mode == before.mode
            assert after.info == before.info
            assert after.text == {"Title": "chest"}
            np.testing.assert_array_equal(np.array(after), picture)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_grey_in_colour_channels_keeps_mode_and_alpha(tmp_path: Path, mode: str) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    colours = {"LA": 1, "RGB": 3, "RGBA": 3}[mode]
    alpha = [grey[::-1]] if mode.endswith("A") else []
    PIL.Image.fromarray(np.stack([grey] * colours + alpha, -1), mode).save(tmp_path / "a.png")
    scan = read(tmp_path / "a.png")
    np.testing.assert_array_equal(scan.pixels[0], grey)
    result = write_scan(scan.with_pixels(scan.pixels + 1), tmp_path / "out", PROVENANCE)
    with PIL.Image.open(result) as after:
        assert after.mode == mode
        channels = np.array(after)
    np.testing.assert_array_equal(channels[..., 0], grey + 1)
    np.testing.assert_array_equal(channels[..., colours - 1], grey + 1)
    if alpha:
        np.testing.assert_array_equal(channels[..., -1], alpha[0])


def test_other_chunks_stay_and_several_data_chunks_are_replaced(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 400), np.uint8)  # more than one IDAT
    text = PIL.PngImagePlugin.PngInfo()
    text.add(b"gAMA", (45455).to_bytes(4, "big"))
    PIL.Image.fromarray(picture).save(tmp_path / "a.png", pnginfo=text)
    before = [chunk for kind, chunk in _chunks((tmp_path / "a.png").read_bytes()) if kind != b"IDAT"]
    scan = read(tmp_path / "a.png")
    result = write_scan(scan.with_pixels(255 - scan.pixels), tmp_path / "out", PROVENANCE)
    assert [chunk for kind, chunk in _chunks(result.read_bytes()) if kind != b"IDAT"] == before
    with PIL.Image.open(result) as after:
        np.testing.assert_array_equal(np.array(after), 255 - picture)
    old, new = ([c for kind, c in _chunks(p.read_bytes()) if kind == b"IDAT"] for p in (tmp_path / "a.png", result))
    assert len(old) > 1
    stream = zlib.decompressobj()
    stream.decompress(b"".join(chunk[8:-4] for chunk in new))
    assert stream.eof
    assert not stream.unused_data


def test_units_and_saturation(tmp_path: Path) -> None:
    for dtype, units in ((np.uint8, "8-bit"), (np.uint16, "arbitrary")):
        PIL.Image.fromarray(np.zeros((1, 3), dtype)).save(tmp_path / "a.png")
        scan = read(tmp_path / "a.png")
        assert (scan.units, scan.step) == (units, 1)
        pixels = np.array([[[-7, 1.4, 1e9]]], np.float32)
        result = write_scan(scan.with_pixels(pixels), tmp_path / units, PROVENANCE)
        with PIL.Image.open(result) as after:
            assert np.array(after).tolist() == [[0, 1, np.iinfo(dtype).max]]


def test_removed_part_becomes_a_tiff(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((1, 2), np.uint8)).save(tmp_path / "a.png")
    scan = read(tmp_path / "a.png").with_pixels(np.array([[[-1.5, 0.25]]], np.float32))
    result = write_scan(scan, tmp_path / "out", REMOVED)
    assert result.name == "a_removed.tiff"
    assert tifffile.imread(result).tolist() == [[-1.5, 0.25]]


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (PIL.Image.new("1", (2, 2)), "1 bit"),
        (PIL.Image.new("P", (2, 2)), "palette"),
        (PIL.Image.new("RGB", (2, 2), (1, 2, 3)), "colour"),
    ],
)
def test_colour_and_masks_are_refused(tmp_path: Path, image: PIL.Image.Image, word: str) -> None:
    image.save(tmp_path / "a.png")
    with pytest.raises(ScanError, match=word):
        read(tmp_path / "a.png")


def test_in_a_folder_they_are_left_alone_and_grey_in_colour_channels_is_not(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    PIL.Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "grey.png")
    PIL.Image.fromarray(np.stack([grey, grey, 255 - grey], -1)).save(tmp_path / "colour.png")
    PIL.Image.new("1", (2, 2)).save(tmp_path / "mask.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "colour.png").read_bytes()[:40])
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    found, errors = find([tmp_path])
    assert [item.name for item in found] == ["broken.png", "grey.png"]  # reading says what is wrong with the first
    assert {(type(error), Path(error.path).name) for error in errors} == {
        (LeftAlone, "colour.png"),
        (LeftAlone, "colour.tif"),
        (LeftAlone, "mask.png"),
    }


def test_there_is_no_limit_on_size_but_that_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    assert read(tmp_path / "a.png").pixels.shape == (1, 10, 10)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10  # as it was, for what else the user's program opens


def test_damaged_files_are_named(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(tmp_path / "good.png")
    good = (tmp_path / "good.png").read_bytes()
    for content, word in ((b"", "empty"), (b"GIF89a" + good, "not a PNG"), (good[:500], "cannot be read as PNG")):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(ScanError, match=word):
            read(tmp_path / "bad.png")


@pytest.mark.shared
def test_chest_radiograph(shared_data: Path, tmp_path: Path) -> None:
    path = sorted((shared_data / "cxr_hannover" / "png").glob("*.png"))[0]
    with PIL.Image.open(path) as before, PIL.Image.open(round_trip(path, tmp_path)) as after:
        np.testing.assert_array_equal(np.array(after), np.array(before))
