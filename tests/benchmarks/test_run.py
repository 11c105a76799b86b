"""The harness from end to end, on small images of a user's own."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks.run import Cell, main, run_cell
from benchmarks.tasks import Task
from tests.conftest import noisy_disks


@pytest.fixture
def bench(tmp_path: Path, capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs the benchmark in a folder of its own; returns what it said."""
    for number in range(3):
        (tmp_path / "scans" / f"patient{number}").mkdir(parents=True)
        np.save(tmp_path / "scans" / f"patient{number}" / "a.npy", noisy_disks(sigma=0, seed=number))

    def run(*methods: str, **options: object) -> str:
        places = {name: tmp_path / name for name in ("cache", "results", "docs")}
        given = {"own": [tmp_path / "scans"], "seconds": 1, "data": tmp_path, **places, **options}
        main(*methods, **given)  # type: ignore[arg-type]
        return capfd.readouterr().out

    return run


def cells(tmp_path: Path) -> dict[str, dict]:  # type: ignore[type-arg]
    return {file.stem: json.loads(file.read_text()) for file in (tmp_path / "results").rglob("*.json")}


def test_what_is_there_is_not_done_again_and_what_is_deleted_is(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "0 of 2 cells are there" in bench("noisy", "tv")
    before = cells(tmp_path)
    assert before["tv"]["images"][0]["psnr_foreground"] > before["noisy"]["images"][0]["psnr_foreground"] + 3
    assert before["noisy"]["lesions"][0]["kept"] == pytest.approx(1)
    assert 0 <= before["tv"].get("others", 0) <= 1.1  # to a tick of the machine's clock
    assert "2 of 2 cells are there" in bench("noisy", "tv")
    next((tmp_path / "results").rglob("tv.json")).unlink()
    said = bench("noisy", "tv")
    assert "1 of 2 cells are there" in said
    assert "total variation" in said
    assert "noisy on" not in said
    assert cells(tmp_path)["tv"]["images"] == before["tv"]["images"]


def test_another_noise_is_another_cell(bench) -> None:  # type: ignore[no-untyped-def]
    bench("noisy")
    assert "0 of 1 cells are there" in bench("noisy", noise=["gaussian-50"])


def test_seconds_are_the_same_with_and_without_a_decimal_point(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bench("noisy", seconds=1)
    assert "1 of 1 cells are there" in bench("noisy", seconds=1.0)
    path = next((tmp_path / "results").rglob("noisy.json"))
    older = Cell(Task(str(tmp_path / "scans"), "gaussian-25"), "noisy", 1, "cpu").keys[1]
    assert json.loads(path.read_text())["key"] != older
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": older}))
    assert "1 of 1 cells are there" in bench("noisy")


def test_results_can_be_measured_again_without_training(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bench("noisy")
    path = next((tmp_path / "results").rglob("noisy.json"))
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"images": [], "of another time": 1}))
    assert "1 cells were measured again" in bench("noisy", rescore=True)
    assert json.loads(path.read_text()) == whole


def test_the_bound_gets_clean_images_where_there_are_some(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bench("supervised")
    found = cells(tmp_path)["supervised"]
    assert found["train_seconds"] >= 1
    assert np.isfinite(found["images"][0]["psnr"])
    task = Task(str(tmp_path / "scans"), "gaussian-25", "transductive")
    seen = run_cell(Cell(task, "supervised", 1, "cpu"), tmp_path, tmp_path / "cache", tmp_path / "results")
    assert seen["not_applicable"] == "this task has no clean images of others"


@pytest.mark.skipif(find_spec("careamics") is not None, reason="CAREamics is installed")
def test_a_failure_is_kept_with_its_reason_and_tried_again(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "failed: ModuleNotFoundError: No module named 'careamics'" in bench("n2v")
    assert "careamics" in cells(tmp_path)["n2v"]["failed"]
    assert "0 of 1 cells are there" in bench("n2v")


def test_a_run_out_of_time_says_how_to_go_on(bench) -> None:  # type: ignore[no-untyped-def]
    assert "Run it again to go on" in bench("noisy", "tv", minutes=1e-9)


def test_unknown_methods_are_refused(bench) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit, match="no method 'noisey'"):
        bench("noisey")
