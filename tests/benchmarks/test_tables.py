"""Tables of results."""

import numpy as np
import pytest

from benchmarks.tables import _best, _bias, difference_table, gap_table, interval_of, main_table, task_section


def record(*values: float, **more: object) -> dict:  # type: ignore[type-arg]
    images = [{"patient": f"p{n}", "psnr_foreground": value, "residual": {}} for n, value in enumerate(values)]
    return {"images": images, "train_seconds": 1.0, **more}


def test_who_was_told_something_is_never_the_best() -> None:
    records = {"noisy": record(20.0), "ours": record(30.0), "bm3d-true": record(31.0), "supervised": record(32.0)}
    assert _best(records, "psnr_foreground") == "ours"


def test_differences_are_paired_by_patient() -> None:
    ours, theirs = record(20.0, 30.0, 40.0, 50.0, 60.0), record(21.0, 31.0, 41.0, 51.0, 61.0)
    assert "+1.00 (+1.00, +1.00)" in difference_table({"task": {"ours": ours, "bm3d": theirs}})


def test_the_gap_is_to_the_best_of_the_bounds_where_there_is_one() -> None:
    five = lambda first: record(*np.linspace(first, first + 10, 5))  # noqa: E731
    bounds = {"supervised": five(21.0), "supervised-l2": five(22.0)}
    table = gap_table({"task": {"ours": five(20.0), **bounds}, "real": {"ours": record(1.0)}})
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
    head, _, *rows = [line.split(" | ") for line in task_section("task", records).splitlines() if "|" in line]
    assert [row[head.index("HFEN")] for row in rows] == ["–", "–", "0.250"]


def test_few_values_have_no_interval() -> None:
    """The bootstrap of two has three outcomes, whose quantiles are the two themselves."""
    assert interval_of([1.0, 2.0, 3.0, 4.0]) is None
    low, high = interval_of([1.0, 2.0, 3.0, 4.0, 5.0]) or (0, 0)
    assert 1 < low < 3 < high < 5
    assert "±" not in main_table({"task": {"ours": record(20.0, 30.0)}}, "psnr_foreground", ".2f", spread=True)


def test_bins_that_are_empty_in_some_images_do_not_shift_the_others() -> None:
    shifts = [[None, 0.01, 0.02], [None, None, 0.04]]
    assert _bias({"images": [{"bias": shift} for shift in shifts]}) == pytest.approx(255 * 0.03)
    assert _bias({"images": [{}]}) is None
    assert _bias({"images": [{"bias": [None]}]}) is None


def test_what_is_older_than_its_method_is_marked() -> None:
    old = record(20.0) | {"outdated": True}
    assert "20.00°" in main_table({"task": {"bm3d": old, "ours": record(21.0)}}, "psnr_foreground", ".2f")
    assert "-1.00°" in difference_table({"task": {"bm3d": old, "ours": record(21.0)}})
