"""The first table of the benchmark's page."""

from benchmarks.findings import GRAINY, MAIN
from benchmarks.glance import glance
from tests.benchmarks.test_tables import record


def five(first: float, **more: object) -> dict:  # type: ignore[type-arg]
    return record(*(first + n for n in range(5)), **more)


def rows_of(table: dict) -> list[list[str]]:  # type: ignore[type-arg]
    lines = glance({MAIN: table})[-1].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_a_task_is_told_beside_its_peers_and_its_bound() -> None:
    records = {"noisy": five(18), "n2v": five(26), "ne2ne": five(27), "bm3d": five(29), "bm3d-true": five(29.5)}
    (row,) = rows_of({"a x": {**records, "ours": five(30), "supervised-l2": five(30.05), "supervised": five(31)}})
    assert row[:6] == ["a x", "20.00", "29.00, Neighbor2Neighbor", "31.50", "32.00", "32.05"]
    assert row[6:] == ["+0.50 (+0.50, +0.50)", "-0.05 (-0.05, -0.05)", ""]


def test_who_misses_the_bound_is_bold_and_counted() -> None:
    table = {
        "a x": {"ours": five(30), "supervised-l2": five(30.2)},
        "b x": {"ours": five(30), "supervised-l2": five(30.05)},
        "b y": {"ours": five(30), "supervised": five(30.05)},
        GRAINY: {"ours": five(30), "supervised-l2": five(31), "ours-grain": five(30.9)},
        "c x": {"ours": five(30), "supervised-l2": five(31), "ours-told": five(30.95)},
    }
    assert "at most 0.1 dB below the bound by L2 in 1 of 4 tasks" in glance({MAIN: table})[-1]
    missed, near, other, grainy, told = rows_of(table)
    assert missed[-2:] == ["**-0.20 (-0.20, -0.20)**", "not known"]
    assert near[-2:] == ["-0.05 (-0.05, -0.05)", ""]
    assert (near[5], other[5]) == ("32.05", "32.05, by L1")
    assert grainy[-1].endswith("left in: -0.10 (-0.10, -0.10)")
    assert told[-1] == "not known; told the noise: -0.05 (-0.05, -0.05)"


def test_tasks_of_one_data_set_stand_together_and_none_alone() -> None:
    both = {"ours": five(30), "bm3d": five(29)}
    table = {"a x": both, "b x": both, "a y": both, "c x": {"ours": five(30)}, "d x": {"bm3d": five(30)}}
    assert [row[0] for row in rows_of(table)] == ["a x", "a y", "b x"]


def test_what_is_old_is_marked_and_what_was_estimated_said() -> None:
    (row,) = rows_of({"a x": {"ours": five(30, outdated=True), "bm3d": five(29)}})
    assert row[3:5] == ["31.00, estimated", "32.00°"]
    assert row[6].endswith("°")


def test_without_results_there_is_no_table() -> None:
    assert glance({}) == []
    assert glance({MAIN: {"a x": {"ours": five(30)}}}) == []
