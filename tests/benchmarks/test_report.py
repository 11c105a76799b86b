"""The page and what it is made from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.methods import METHODS
from benchmarks.report import (
    _best,
    _bias,
    _difference_table,
    _gap_table,
    _interval,
    _main_table,
    _outdated,
    _task_section,
    write_report,
)
from benchmarks.run import Cell, machine
from benchmarks.tasks import CORE

ROOT = Path(__file__).parents[2]


def record(*values: float, **more: object) -> dict:  # type: ignore[type-arg]
    images = [{"patient": f"p{n}", "psnr_foreground": value, "residual": {}} for n, value in enumerate(values)]
    return {"images": images, "train_seconds": 1.0, **more}


def test_the_committed_page_is_made_from_the_committed_results(tmp_path: Path) -> None:
    results = ROOT / "benchmarks" / "results" / "peers"
    if not results.exists():
        pytest.skip("no results are committed")
    write_report(results, tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == (ROOT / "docs" / "benchmarks.md").read_text()
    for plot in (tmp_path / "benchmarks").glob("*.png"):
        assert (ROOT / "docs" / "benchmarks" / plot.name).exists()


def test_who_was_told_something_is_never_the_best() -> None:
    records = {"noisy": record(20.0), "ours": record(30.0), "bm3d-true": record(31.0), "supervised": record(32.0)}
    assert _best(records, "psnr_foreground") == "ours"


def test_differences_are_paired_by_patient() -> None:
    ours, theirs = record(20.0, 30.0, 40.0, 50.0, 60.0), record(21.0, 31.0, 41.0, 51.0, 61.0)
    assert "+1.00 (+1.00, +1.00)" in _difference_table({"task": {"ours": ours, "bm3d": theirs}})


def test_the_gap_is_to_the_best_of_the_bounds_where_there_is_one() -> None:
    five = lambda first: record(*np.linspace(first, first + 10, 5))  # noqa: E731
    bounds = {"supervised": five(21.0), "supervised-l2": five(22.0)}
    table = _gap_table({"task": {"ours": five(20.0), **bounds}, "real": {"ours": record(1.0)}})
    (row,) = [line for line in table.splitlines() if line.startswith("| task |") and "bound" not in line]
    assert "27.00, supervised, from our start" in row
    assert "-2.00 (-2.00, -2.00)" in row
    assert "real" not in table


def test_hfen_is_a_dash_where_the_reference_has_no_edges() -> None:
    """Also where records still hold the figure that its rounding gave."""
    records = {name: record(20.0, 21.0) for name in ("noisy", "bm3d", "ours")}
    for method, found in {"bm3d": 1e13, "ours": 0.25}.items():
        records[method]["images"][0]["hfen"] = found
        records[method]["images"][1]["hfen"] = 5e13
    for one in (image for each in records.values() for image in each["images"]):
        one["residual"] = {"level": 1.0, "neighbours": 0.0}
    head, _, *rows = [line.split(" | ") for line in _task_section("task", records).splitlines() if "|" in line]
    assert [row[head.index("HFEN")] for row in rows] == ["–", "–", "0.250"]


def test_few_values_have_no_interval() -> None:
    """The bootstrap of two has three outcomes, whose quantiles are the two themselves."""
    assert _interval([1.0, 2.0, 3.0, 4.0]) is None
    low, high = _interval([1.0, 2.0, 3.0, 4.0, 5.0]) or (0, 0)
    assert 1 < low < 3 < high < 5
    assert "±" not in _main_table({"task": {"ours": record(20.0, 30.0)}}, "psnr_foreground", ".2f", spread=True)


def test_bins_that_are_empty_in_some_images_do_not_shift_the_others() -> None:
    shifts = [[None, 0.01, 0.02], [None, None, 0.04]]
    assert _bias({"images": [{"bias": shift} for shift in shifts]}) == pytest.approx(255 * 0.03)
    assert _bias({"images": [{}]}) is None
    assert _bias({"images": [{"bias": [None]}]}) is None


def test_what_is_older_than_its_method_is_marked() -> None:
    old = record(20.0) | {"outdated": True}
    assert "20.00°" in _main_table({"task": {"bm3d": old, "ours": record(21.0)}}, "psnr_foreground", ".2f")
    assert "-1.00°" in _difference_table({"task": {"bm3d": old, "ours": record(21.0)}})


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
