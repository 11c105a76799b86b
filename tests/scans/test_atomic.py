from __future__ import annotations

from pathlib import Path

import pytest

from diffdenoise.scans.atomic import atomic_file, atomic_folder


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
