"""Writing without half-written files: write beside the target under a hidden name, flush to disk, then rename.

A process that is killed leaves its hidden file. Whoever writes the same target next removes it, if it can tell that its
writer is dead: the name says on which machine and in which process it was begun.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"
_MARK = re.compile(r"\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}-")


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path beside `target`, with the same suffixes, that becomes `target` when the block ends well.

    The block must create the file. If it raises, the file is removed and `target` stays as it was.
    Raises OSError where the folder cannot be written.
    """
    temporary = _beside(target)
    try:
        yield temporary
        flush(temporary)
        temporary.replace(target)
        flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place when the block ends well.

    No system can replace a filled folder in one step: the old one is moved aside, the new one moved in, the old one
    removed; if moving in fails, the old one is moved back. If the block raises, `target` stays as it was.
    """
    temporary = _beside(target)
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            if path.is_file():
                flush(path)
        _swap(temporary, target)
        flush_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = _beside(target)
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path) -> Path:
    # The mark goes in front: libraries choose format and compression by the suffixes. The dot hides it from `find`.
    _remove_stale(target)
    return target.with_name(f".{_MACHINE}-{os.getpid()}-{secrets.token_hex(4)}-{target.name}")


def _remove_stale(target: Path) -> None:
    """Remove what dead processes of this machine left beside the target."""
    with suppress(OSError):
        for path in list(target.parent.iterdir()):
            mark = _MARK.match(path.name)
            if mark and path.name[mark.end() :] == target.name and mark[1] == _MACHINE and not _lives(int(mark[2])):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    if os.name == "nt":  # there is no signal that only asks
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def flush(path: Path) -> None:
    """Have the file's content on the disk before going on."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames into or out of the folder durable; Windows cannot open folders, and there the rename is enough."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
