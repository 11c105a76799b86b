"""What fuzzing has found stays mended, and a short run of it finds nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fuzz.run import Reader, fuzz
from tests.fuzz.whole import whole_files

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())  # a folder each: a file, and what lies beside it


@pytest.mark.parametrize("found", CORPUS, ids=lambda found: found.name)
def test_what_was_found_is_answered_now(found: Path, tmp_path: Path) -> None:
    shutil.copytree(found, tmp_path / "in")
    reader = Reader()
    said = reader.ask(max((tmp_path / "in").iterdir(), key=lambda path: path.suffix in (".HEAD", ".PAR")))
    reader.stop()
    assert said["kind"] in ("scan", "refused"), said


def test_whole_files_are_read(tmp_path: Path) -> None:
    reader = Reader()
    for whole in whole_files():
        for name, content in {**whole.beside, whole.name: whole.content}.items():
            (tmp_path / name).write_bytes(content)
        said = reader.ask(tmp_path / whole.name)
        assert said["kind"] == ("refused" if whole.name in ("JPEG-lossy.dcm",) else "scan"), (whole.name, said)
    reader.stop()


def test_some_damaged_files(tmp_path: Path) -> None:
    counts = fuzz(seed=1, seconds=600, findings=tmp_path, most=300)
    assert set(counts) == {"scan", "refused"}, [path.read_text() for path in tmp_path.rglob("finding.txt")]
    assert counts.total() == 300
