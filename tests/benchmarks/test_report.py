"""The page and what it is made from."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.methods import METHODS
from benchmarks.report import _outdated, write_report
from benchmarks.run import Cell, machine
from benchmarks.tasks import CORE

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_made_from_the_committed_results(tmp_path: Path) -> None:
    results = ROOT / "benchmarks" / "results" / "peers"
    if not results.exists():
        pytest.skip("no results are committed")
    write_report(results, tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == (ROOT / "docs" / "benchmarks.md").read_text()
    for plot in (tmp_path / "benchmarks").glob("*.png"):
        assert (ROOT / "docs" / "benchmarks" / plot.name).exists()


def test_a_cell_is_outdated_when_its_method_has_another_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = {"task": CORE[0].name, "method": "ours"}
    cell["key"] = Cell(CORE[0], "ours", 180, "cpu").key
    assert not _outdated(cell, "cpu", 180.0)
    assert not _outdated(cell | {"key": Cell(CORE[0], "ours", 180, "cpu").keys[1]}, "cpu", 180.0)
    monkeypatch.setitem(METHODS, "ours", replace(METHODS["ours"], revision=99))
    assert _outdated(cell, "cpu", 180.0)


def test_without_results_nothing_is_written(tmp_path: Path) -> None:
    write_report(tmp_path / "none", tmp_path)
    assert not (tmp_path / "benchmarks.md").exists()


def test_the_machine_is_told_without_its_name() -> None:
    assert "CPU cores" in machine("cpu")
