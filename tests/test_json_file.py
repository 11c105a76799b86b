from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from diffdenoise.errors import ConfigError, ScanError
from diffdenoise.json_file import check_json, write_checked


@pytest.mark.parametrize("content", ["mine", "[]", '{"scans": []}', '{"scans": [], "models": []}'])
def test_figures_replace_figures_and_nothing_else(tmp_path: Path, content: str) -> None:
    path = tmp_path / "figures.json"
    for value in (1.0, 2.0):
        write_checked(path, "figures", {"data_range": "unit", "scans": [value]}, [])
        assert json.loads(path.read_text())["scans"] == [value]
    path.write_text(content)
    with pytest.raises(ConfigError, match="holds no figures"):
        write_checked(path, "figures", {}, [])
    assert path.read_text() == content


def test_figures_of_earlier_versions_are_figures(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text('{"data_range": "unit", "scans": []}')
    check_json(path, "figures")


def test_errors_are_told_once_each_in_parts_or_in_words(tmp_path: Path) -> None:
    error = ScanError(tmp_path, "is so", "Do.")
    write_checked(tmp_path / "f.json", "figures", {}, [error, "no model", error])
    parts = {"path": str(tmp_path), "fault": "is so", "remedy": "Do."}
    assert json.loads((tmp_path / "f.json").read_text())["errors"] == [parts, {"fault": "no model"}]


@pytest.mark.parametrize("name", ["nowhere/f.json", "folder", 300 * "a", "closed/f.json"])
def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "closed").mkdir(mode=0o500)
    if name.startswith("closed") and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("root may write everywhere")
    with pytest.raises(ConfigError, match=r"its folder is not there|cannot be written"):
        check_json(tmp_path / name, "figures")
    check_json(tmp_path / "f.json", "figures")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["closed", "folder"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="of Linux")
def test_a_folder_that_takes_no_file_is_found_out_by_trying() -> None:
    with pytest.raises(ConfigError, match=r"--json /proc/f.json: cannot be written"):
        check_json(Path("/proc/f.json"), "figures")
