from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffdenoise.scans.atomic import _beside, atomic_file, atomic_folder


def test_file_appears_whole_under_its_name_only(tmp_path: Path) -> None:
    target = tmp_path / "anat.nii.gz"
    with atomic_file(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith("anat.nii.gz")
        temporary.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.npy"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_results_have_the_users_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    with atomic_file(tmp_path / "ours") as temporary:
        temporary.write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "series"
    for content in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / f"{content}.dcm").write_text(content)
    assert [path.name for path in target.iterdir()] == ["two.dcm"]
    assert list(tmp_path.iterdir()) == [target]


def test_folder_stays_when_the_block_or_the_swap_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "series"
    with atomic_folder(target) as temporary:
        (temporary / "old.dcm").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "new.dcm").write_text("new")
        raise RuntimeError
    rename = Path.rename

    def refuse_new(self: Path, to: Path) -> Path:
        if (self / "new.dcm").exists():
            raise OSError("no")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="no"), atomic_folder(target) as temporary:
        (temporary / "new.dcm").write_text("new")
    assert [path.name for path in target.iterdir()] == ["old.dcm"]
    assert list(tmp_path.iterdir()) == [target]


KILLED = """
import os, sys
from pathlib import Path
from diffdenoise.scans.atomic import atomic_file, atomic_folder
with atomic_file(Path(sys.argv[1])) as file, atomic_folder(Path(sys.argv[2])) as folder:
    file.write_bytes(b"half")
    (folder / "half").touch()
    os._exit(9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_writer_of_the_same_target(tmp_path: Path) -> None:
    file, folder, other = tmp_path / "a.npy", tmp_path / "series", tmp_path / "b.npy"
    subprocess.run([sys.executable, "-c", KILLED, str(file), str(folder)], check=False)
    subprocess.run([sys.executable, "-c", KILLED, str(other), str(tmp_path / "other")], check=False)
    assert len(list(tmp_path.iterdir())) == 4
    with atomic_file(file) as beside:
        beside.touch()
    with atomic_folder(folder):
        pass
    hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert sorted(name.split("-")[-1] for name in hidden) == ["b.npy", "other"]  # not ours to judge


def test_files_of_living_processes_other_machines_and_the_user_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "a.npy"
    living = _beside(target)
    machine, _, token, _ = living.name[1:].split("-")
    elsewhere = tmp_path / f".{int(machine, 16) ^ 1:08x}-999999999-{token}-a.npy"
    kept = [living, elsewhere, tmp_path / ".a.npy", tmp_path / ".notes-a.npy"]
    for path in kept:
        path.touch()
    with atomic_file(target) as beside:
        beside.touch()
    assert all(path.exists() for path in kept)
    assert f"-{os.getpid()}-" in living.name
