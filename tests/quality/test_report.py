import base64
import io
import json
import re
import struct

import numpy as np
import pytest
from PIL import Image

from diffdenoise.errors import ConfigError
from diffdenoise.quality.report import DISCLAIMER, comparison_page, comparison_picture

TABLE = [{"method": "noisy", "psnr": 20.125, "ssim": 0.25}, {"method": "student", "psnr": 33.3, "detail": 0.5}]


def _images(slices=2, names=("noisy", "student", "NLM", "reference")):
    rng = np.random.default_rng(0)
    return {name: rng.random((slices, 33, 40), dtype=np.float32) for name in names}


def _pictures(page):
    return json.loads(re.search(r'id="pictures">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)[1])


def _decoded(address):
    return Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,"))))


def test_the_page_holds_every_image_and_all_differences(tmp_path):
    images = _images()
    comparison_page(tmp_path / "page.html", "Title", images, TABLE, ["A note."])
    pictures = _pictures(tmp_path / "page.html")
    results = {"student", "NLM"}
    assert set(pictures) == {*images} | {f"{kind}:{name}" for kind in ("error", "removed") for name in results}
    for name, addresses in pictures.items():
        decoded = [_decoded(address) for address in addresses]
        assert [picture.size for picture in decoded] == [(40, 33)] * 2, name
    for name, stack in images.items():
        grey = np.stack([np.asarray(_decoded(address)) for address in pictures[name]])
        assert np.abs(grey / 255 - stack).max() <= 0.5 / 255 + 1e-6


def test_differences_have_the_stated_sign_and_window(tmp_path):
    noisy = np.full((1, 8, 8), 0.5, np.float32)
    result, reference = noisy.copy(), noisy.copy()
    result[0, 0, 0], result[0, 7, 7] = 0.7, 0.3
    comparison_page(tmp_path / "page.html", "T", {"noisy": noisy, "r": result, "reference": reference})
    colours = np.asarray(_decoded(_pictures(tmp_path / "page.html")["error:r"][0]).convert("RGB")).astype(int)
    assert colours[0, 0, 0] > colours[0, 0, 2]  # above: orange
    assert colours[7, 7, 0] < colours[7, 7, 2]  # below: blue
    assert colours[4, 4].max() < 30  # equal: dark
    assert "±0.2 (result − reference)" in (tmp_path / "page.html").read_text("utf-8")


def test_the_page_asks_nothing_of_the_network(tmp_path):
    comparison_page(tmp_path / "page.html", "Title", _images(), TABLE)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<script[^>]+src|<link[^>]+href=\"(?!data:)", _without_data(text)
    )
    assert "default-src 'none'" in text
    assert DISCLAIMER in text


def _without_data(text):
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)


def test_the_table_shows_all_columns_and_dashes_for_gaps(tmp_path):
    comparison_page(tmp_path / "page.html", "Title", _images(), TABLE)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert re.findall(r'<th scope="col">(.*?)</th>', text) == ["Method", "PSNR (dB)", "SSIM", "Detail kept"]
    assert re.findall(r"<td>(.*?)</td>", text) == ["20.12", "0.250", "–", "33.30", "–", "0.500"]


def test_texts_are_escaped(tmp_path):
    images = _images() | {"</script><b>": _images()["noisy"]}
    comparison_page(tmp_path / "page.html", "<i>Title</i>", images, [{"method": "<u>"}], ["<s>"])
    text = (tmp_path / "page.html").read_text("utf-8")
    assert not re.search(r"<(i>|b>|u>|s>)", text)
    assert text.count("</script>") == 2
    assert "</script><b>" in _pictures(tmp_path / "page.html")


def test_without_a_reference_only_the_removed_noise_is_shown(tmp_path):
    comparison_page(tmp_path / "page.html", "Title", _images(names=("noisy", "student")))
    assert set(_pictures(tmp_path / "page.html")) == {"noisy", "student", "removed:student"}
    assert "reference" not in re.sub(r"<script.*", "", (tmp_path / "page.html").read_text("utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize(("asked", "shown"), [(None, [0, 2, 4, 5, 7, 9]), ([3], [3])])
def test_a_volume_is_shown_in_part(tmp_path, asked, shown):
    comparison_page(tmp_path / "page.html", "Title", _images(10), slices=asked)
    assert len(_pictures(tmp_path / "page.html")["noisy"]) == len(shown)
    assert f"const numbers = {shown}" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"student": np.zeros((1, 8, 8))}, "noisy"),
        ({"noisy": np.zeros((1, 8, 8)), "student": np.zeros((1, 8, 9))}, "student has shape"),
        ({"noisy": np.zeros((8, 8))}, "noisy has shape"),
        ({"noisy": np.zeros((1, 8, 8))}, "at least one result"),
    ],
)
def test_images_that_do_not_fit_leave_no_file(tmp_path, images, message):
    with pytest.raises(ConfigError, match=message):
        comparison_page(tmp_path / "page.html", "Title", images)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_picture_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(self, part, **_):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        comparison_picture(path, _images())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("names", [("noisy", "NLM", "reference"), ("noisy", "NLM"), ("noisy", "reference")])
def test_the_picture_is_twelve_inches_wide(tmp_path, names):
    comparison_picture(tmp_path / "picture.png", _images(names=names), index=1, title="Title")
    data = (tmp_path / "picture.png").read_bytes()
    assert struct.unpack(">I", data[16:20]) == (1800,)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_the_enlarged_part_lies_where_the_focus_is():
    from diffdenoise.quality.report import _crop

    focus = np.zeros((60, 80))
    focus[41, 70] = -1.0
    row, col, size = _crop(focus)
    assert row <= 41 < row + size <= 60
    assert col <= 70 < col + size <= 80
