import re
import subprocess
import sys
from pathlib import Path

import pytest

from diffdenoise import run_folder
from diffdenoise.errors import RunError
from diffdenoise.run_folder import FIT, cached, clean, find_model, find_run, key_of, locked, make_run_folder, named


def test_a_run_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "a" / "run")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert make_run_folder(folder) == folder


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for folder in (tmp_path / "mine.txt", tmp_path / "mine.txt" / "run"):
        with pytest.raises(RunError, match="cannot be used"):
            make_run_folder(folder)


def test_a_folder_with_other_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="not those of a run"):
        make_run_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_file_managers_leave_is_no_content(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    assert (make_run_folder(tmp_path) / "diffdenoise-run.json").exists()


def test_a_kill_while_the_folder_is_marked_does_not_block_it(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; from diffdenoise import run_folder\n"
        "run_folder.write_json.__globals__['json'].dumps = lambda *_, **__: os._exit(9)\n"
        "run_folder.make_run_folder(pathlib.Path(sys.argv[1]))"
    )
    folder = tmp_path / "run"
    assert subprocess.run([sys.executable, "-c", program, str(folder)], check=False).returncode == 9
    (folder / ".00000000-1-00000000-diffdenoise-run.json").touch()  # as the kill comes an instant later, elsewhere
    make_run_folder(folder)
    assert (folder / "diffdenoise-run.json").exists()


def test_an_artefact_is_made_once_per_key(tmp_path: Path) -> None:
    made = []
    for key in ("one", "one", "two", "two", "one"):
        cached(tmp_path / "artefact", key, made.append)
    assert len(made) == 3


def test_an_interrupted_artefact_goes_on_and_a_foreign_one_is_begun_anew(tmp_path: Path) -> None:
    def stopped(to: Path) -> None:
        (to / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "artefact", "key", stopped)
    seen = []
    cached(tmp_path / "artefact", "key", lambda to: seen.append((to / "half").exists()))
    cached(tmp_path / "artefact", "other", lambda to: seen.append((to / "half").exists()))
    assert seen == [True, False]


@pytest.mark.parametrize("by", ["clean", "another key"])
def test_what_is_left_of_an_artefact_whose_deletion_was_cut_off_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    def make(to: Path) -> None:
        seen.append(sorted(path.name for path in to.glob("*.npy")))
        for name in ("0.npy", "1.npy"):
            (to / name).touch()

    def cut_off(path: Path) -> None:  # in the order that hurts most
        (path / "0.npy").unlink()
        raise KeyboardInterrupt

    folder, seen = make_run_folder(tmp_path / "run"), []
    cached(folder / "slices", "key", make)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_folder.shutil, "rmtree", cut_off)
        clean(folder) if by == "clean" else cached(folder / "slices", "other", make)
    assert (folder / "slices" / "1.npy").exists()
    cached(folder / "slices", "key", make)
    assert seen == [[], []]
    assert (folder / "slices" / "0.npy").exists()


def test_keys_tell_parts_apart() -> None:
    assert key_of("a", {"x": 1}) == key_of("a", {"x": 1})
    assert len({key_of("a", "b"), key_of("ab"), key_of("b", "a"), key_of(["a"], "b")}) == 4


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "run")
    program = (
        "import sys, pathlib; from diffdenoise.run_folder import locked\nwith locked(pathlib.Path(sys.argv[1])): pass"
    )
    command = [sys.executable, "-c", program, str(folder)]
    with locked(folder):
        held = subprocess.run(command, capture_output=True, text=True, check=False)
    assert held.returncode != 0
    assert "another diffdenoise works here" in held.stderr
    assert subprocess.run(command, check=False).returncode == 0


def test_where_there_are_no_locks_nobody_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("diffdenoise.run_folder._lock", refuse)
    with pytest.raises(RunError, match=r"no locks.*another drive"), locked(make_run_folder(tmp_path / "run")):
        pass


def test_what_the_system_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"{re.escape(str(tmp_path / 'gone'))}: cannot be used"), named(tmp_path):
        (tmp_path / "gone").open()
    with pytest.raises(RunError, match=rf"{re.escape(str(tmp_path))}: cannot be used"), named(tmp_path):
        raise OSError(28, "No space left on device")


def test_cleaning_deletes_pixels_and_nothing_else(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / "run")
    for name in ("slices", "known", "teacher", "condition_2", "student", "student_2"):
        (folder / name).mkdir()
        (folder / name / "00000.npy").write_bytes(b"0" * 100)
    for name in ("student", "student_2"):
        (folder / name / "last.ckpt").write_bytes(b"0" * 50)
    (folder / "model").mkdir()
    (folder / "model" / "skipped.json").write_bytes(b"0" * 10)  # names of files
    (folder / "model.safetensors").write_bytes(b"weights")
    assert clean(folder) == 510
    assert not (folder / "slices").exists()
    assert not (folder / "student" / "last.ckpt").exists()
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert clean(folder) == 0


def test_cleaning_any_other_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    with pytest.raises(RunError, match="nothing was deleted"):
        clean(tmp_path)
    assert (tmp_path / "slices").exists()


def test_the_model_of_an_earlier_fit_is_not_taken_for_that_of_one_that_is_not_finished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stopped(to: Path) -> None:
        raise KeyboardInterrupt

    def warned(path: Path) -> bool:
        caplog.clear()
        assert find_model(path) == folder / "model.safetensors"
        return "a newer fit in this folder is not finished" in caplog.text

    folder = make_run_folder(tmp_path / ".diffdenoise")
    (folder / "model.safetensors").touch()
    cached(folder / FIT, "old", lambda to: None)
    assert not warned(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        cached(folder / FIT, "new", stopped)
    assert warned(tmp_path)
    assert not warned(folder / "model.safetensors")
    cached(folder / FIT, "new", lambda to: None)
    assert not warned(tmp_path)


def test_runs_and_models_are_found_from_where_users_are(tmp_path: Path) -> None:
    folder = make_run_folder(tmp_path / ".diffdenoise")
    assert find_run(tmp_path) == find_run(folder) == folder
    with pytest.raises(RunError, match="no model yet"):
        find_model(tmp_path)
    (folder / "model.safetensors").touch()
    assert find_model(tmp_path) == find_model(folder / "model.safetensors") == folder / "model.safetensors"
    with pytest.raises(RunError, match=r"no diffdenoise run .*given as -o to `diffdenoise run`"):
        find_run(tmp_path / "elsewhere")
