"""How full the spool is, and whether there is room for more."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

QUEUED = ("waiting", "outgoing")  # something is still to be done with these
KEPT = (*QUEUED, "done", "failed")
SHARE = 20  # counting again takes at most a twentieth of the time


@dataclass(frozen=True)
class Usage:
    """What lies in the spool: images by state, bytes of all, and seconds since the oldest one in the queue arrived."""

    waiting: int = 0
    outgoing: int = 0
    done: int = 0
    failed: int = 0
    bytes: int = 0
    oldest: float = 0.0

    @property
    def queue(self) -> int:
        """Images that something is still to be done with."""
        return self.waiting + self.outgoing


@dataclass(frozen=True)
class Bounds:
    """What the spool may hold: images in the queue, bytes of all its files, and bytes it leaves free on the disk."""

    images: int = 50_000
    bytes: float = 50e9
    free: int = 10**9


class Room:
    """The usage of a spool: counted in its folders, and carried on between two counts.

    lock: nothing is moved while it is held.
    """

    def __init__(self, folder: Path, bounds: Bounds, lock: AbstractContextManager[Any]) -> None:
        self.folder, self.bounds, self._lock = folder, bounds, lock
        self._usage, self._next = Usage(), 0.0

    def usage(self) -> Usage:
        """As counted now or a moment ago."""
        with self._lock:
            begun = time.monotonic()
            if begun >= self._next:
                self._usage = self._count()
                self._next = time.monotonic() + SHARE * (time.monotonic() - begun)
            return self._usage

    def take(self, size: int) -> None:
        """One more image of so many bytes waits."""
        with self._lock:
            self._usage = replace(self._usage, waiting=self._usage.waiting + 1, bytes=self._usage.bytes + size)

    def fits(self, size: int) -> bool:
        """Whether one more of so many bytes stays within the bounds."""
        return not self.lack(size)

    def lack(self, size: int) -> str:
        """Which bound keeps one more of so many bytes out, in words; empty where it fits."""
        if (queue := self.usage().queue) >= self.bounds.images:
            return f"images in the queue: {queue}, no more with this --max-images"
        return self.lack_of_bytes(size)

    def lack_of_bytes(self, size: int) -> str:
        """The same, of what the spool may hold and its disk can."""
        held, free = self.usage().bytes, shutil.disk_usage(self.folder).free
        if held + size > self.bounds.bytes:
            return f"the spool holds {held / 1e9:.3g} GB, no more with this --max-gb"
        if free - size < self.bounds.free:
            kept = f"{self.bounds.free / 1e9:.3g} GB stay free for denoising"
            return f"the disk of {self.folder} has {free / 1e9:.3g} GB free, and {kept}"
        return ""

    def give_back(self, images: int, size: int) -> None:
        """So many images that were done, of so many bytes, are gone."""
        with self._lock:
            usage = self._usage  # counted a moment ago, perhaps without them
            done, left = max(0, usage.done - images), max(0, usage.bytes - size)
            self._usage = replace(usage, done=done, bytes=left)

    def _count(self) -> Usage:
        stats = {state: [stat for _, stat in images_below(self.folder / state)] for state in KEPT}
        queued = [stat.st_mtime for state in QUEUED for stat in stats[state]]
        return Usage(
            **{state: len(found) for state, found in stats.items()},
            bytes=sum(stat.st_size for found in stats.values() for stat in found),
            oldest=max(0.0, time.time() - min(queued)) if queued else 0.0,
        )


def images_below(state: Path) -> list[tuple[Path, os.stat_result]]:
    """The images of all series in a state's folder, with size and times."""
    return [image for series in list(state.iterdir()) for image in images_in(series)]


def images_in(series: Path) -> list[tuple[Path, os.stat_result]]:
    """The images in a series' folder, with size and times.

    People delete images and whole series by hand, also while they are listed: what is gone is skipped.
    """
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in [path for path in series.iterdir() if path.suffix == ".dcm"]:
            with suppress(FileNotFoundError):
                found.append((path, path.stat()))
    return found
