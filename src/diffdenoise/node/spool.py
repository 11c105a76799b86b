"""The node's durable queue: a folder tree in which the folder is the state and a rename the transition.

incoming/TOKEN                   being received; the sender has no answer yet. Emptied at start
waiting/SERIES/IMAGE.dcm         received and acknowledged, to be denoised
work/TOKEN/                      being denoised. Emptied at start
outgoing/SERIES/IMAGE.dcm        the derived image, to be sent; removed once the receiver has it
done/SERIES/IMAGE.dcm            the source of a derived image; kept a while as the neighbour of late slices
failed/SERIES/IMAGE.dcm          could not be denoised; reason.txt beside it says why
tries/SERIES                     as many bytes as times its denoising was begun and not ended
recipe                           hash of the rules and models that the done ones were denoised with

SERIES and IMAGE are hashes of UIDs. A source is in one of waiting, done and failed; its derived image is outgoing
before the source is done, and sent only after. So a crash between two steps repeats one of them, and skips none.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock

from diffdenoise.errors import RunError, reason_of
from diffdenoise.node.room import KEPT, QUEUED, Bounds, Room, images_below, images_in
from diffdenoise.run_folder import write_json
from diffdenoise.scans.atomic import atomic_file, flush, flush_folder
from diffdenoise.scans.find import SPOOL_MARKER

MARKER = SPOOL_MARKER
PASSING = ("incoming", "work")  # nothing in there outlives the process
REASON = "reason.txt"


class Spool:
    """The queue in a folder of its own, for one process; safe to use from several threads."""

    def __init__(self, folder: Path, bounds: Bounds | None = None) -> None:
        self.folder = folder.resolve()
        self._lock = RLock()
        self.room = Room(self.folder, bounds or Bounds(), self._lock)
        for state in (*KEPT, *PASSING, "tries"):
            (self.folder / state).mkdir(mode=0o700, exist_ok=True)
        self._recover()

    def add(self, series: str, image: str, content: bytes) -> bytes | None:
        """Keep a received image durably, or give the content that is known already under its name.

        One that failed counts as unknown: it is tried again. Raises OSError where the disk refuses; nothing is left.
        """
        temporary = self.folder / "incoming" / secrets.token_hex(8)
        try:
            temporary.write_bytes(content)
            flush(temporary)
            with self._lock:
                known = (self._path(state, series, image) for state in ("waiting", "done"))
                if path := next((path for path in known if path.exists()), None):
                    return path.read_bytes()
                self._move({temporary: self._path("waiting", series, image)})
                self._remove([self._path("failed", series, image)])
                self.room.take(len(content))
        finally:
            temporary.unlink(missing_ok=True)
        return None

    def ready(self, quiet: float) -> list[str]:
        """The series in which nothing has arrived for so many seconds: least tried first, then longest waiting."""
        with self._lock:
            folders = _changed(self.folder / "waiting")
        now = time.time()
        still = [folder for folder, changed in folders.items() if abs(now - changed) >= quiet]  # clocks are set back
        return [folder.name for folder in sorted(still, key=lambda folder: (self._tries(folder.name), folders[folder]))]

    def sources(self, series: str) -> tuple[list[Path], list[Path]]:
        """The images of a series that are to be denoised, and those that are done."""
        with self._lock:
            return self._images("waiting", series), self._images("done", series)

    def begin(self, series: str) -> int:
        """Note durably that the denoising of a series begins; gives how often it had begun and never ended."""
        before = self._tries(series)
        with (self.folder / "tries" / series).open("ab") as file:
            file.write(b".")
            file.flush()
            os.fsync(file.fileno())
        return before

    def end(self, series: str) -> None:
        """Note that it has ended, however."""
        (self.folder / "tries" / series).unlink(missing_ok=True)

    def workplace(self, series: str) -> Path:
        """An empty folder to denoise in."""
        place = self.folder / "work" / series
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        return place

    def denoised(self, series: str, results: Mapping[str, Path]) -> None:
        """Take derived images, by the file names of their sources, into outgoing; then their sources are done."""
        with self._lock:
            self._move({path: self.folder / "outgoing" / series / name for name, path in results.items()})
            self._shift(series, results, "done")

    def fail(self, series: str, images: Iterable[str], reason: str) -> None:
        """Set sources aside, by their file names, with the reason in words."""
        with self._lock:
            folder = self._folder("failed", series)
            with (folder / REASON).open("a", encoding="utf-8") as file:
                file.write(reason + "\n")
            self._shift(series, images, "failed")

    def drop(self, series: str, images: Iterable[str]) -> None:
        """Delete sources, by their file names, that nobody asks to denoise."""
        with self._lock:
            self._remove(self.folder / "waiting" / series / image for image in images)

    def outgoing(self) -> list[Path]:
        """The derived images to send, longest waiting first; not those of which the source is to be denoised again."""
        with self._lock:
            there = images_below(self.folder / "outgoing")
            waiting = {series: self._names("waiting", series) for series in {path.parent.name for path, _ in there}}
        found = [(stat.st_mtime, path) for path, stat in there if path.name not in waiting[path.parent.name]]
        return [path for _, path in sorted(found)]

    def sent(self, derived: Path, mark: tuple[int, int] | None = None) -> None:
        """Note that the receiver has acknowledged it; mark: the file of this mark, another in its place stays."""
        with self._lock:
            if mark not in (None, mark_of(derived)):
                return
            with suppress(FileNotFoundError):  # nothing of the series is kept
                os.utime(self.folder / "done" / derived.parent.name)  # it is kept for so long after this
            self._remove([derived])

    def forget(self, seconds: float) -> int:
        """Delete the sources of series of which all was sent so long ago; gives how many images."""
        with self._lock:
            old = [path for path, changed in self._idle().items() if abs(time.time() - changed) >= seconds]
            return sum(self._forget(folder) for folder in old)

    def make_room(self, size: int, series: str = "") -> bool:
        """Whether one more image of so many bytes fits, after as few done sources were forgotten as it takes.

        They only spare work, so they must not keep an image out. Those of series of which all was sent go, the longest
        ago first, and the image's own series last: it may be a late slice, with its neighbours there.
        """
        with self._lock:
            idle = self._idle() if self.room.lack_of_bytes(size) else {}
            for folder in sorted(idle, key=lambda folder: (folder.name == series, idle[folder])):
                if not self.room.lack_of_bytes(size):
                    break
                self._forget(folder)
            return self.room.fits(size)

    def adopt(self, recipe: str) -> None:
        """Work by this recipe from now on; if it was another, sources that were done count as unknown again.

        Also those of series of which something is still to be done: they would keep their old results.
        """
        file = self.folder / "recipe"
        if file.exists() and file.read_text() != recipe:
            with self._lock:
                for folder in folders_in(self.folder / "done"):
                    self._forget(folder)
        with atomic_file(file) as beside:
            beside.write_text(recipe)

    def _recover(self) -> None:
        """Clear away what a crash has left half done."""
        for state in PASSING:
            shutil.rmtree(self.folder / state)
            (self.folder / state).mkdir(mode=0o700)
        failed = list((self.folder / "failed").glob("*/*.dcm"))
        self._remove(path for path in failed if self._path("waiting", path.parent.name, path.stem).exists())
        for tries in (self.folder / "tries").iterdir():
            if not self._images("waiting", tries.name):
                tries.unlink()
        for state in KEPT:
            for folder in folders_in(self.folder / state):
                _remove_if_empty(folder)

    def _idle(self) -> dict[Path, float]:
        """The folders of done sources of series of which nothing is waiting or outgoing, and when each changed.

        An empty folder holds nothing back: it stays where the last image in it was deleted by hand.
        """
        busy = lambda series: any(self._images(state, series) for state in QUEUED)  # noqa: E731
        return {folder: at for folder, at in _changed(self.folder / "done").items() if not busy(folder.name)}

    def _forget(self, done: Path) -> int:
        """Delete a folder of done sources; gives how many images."""
        sizes = [stat.st_size for _, stat in images_in(done)]
        shutil.rmtree(done, ignore_errors=True)
        self.room.give_back(len(sizes), sum(sizes))
        return len(sizes)

    def _tries(self, series: str) -> int:
        tries = self.folder / "tries" / series
        return tries.stat().st_size if tries.exists() else 0

    def _path(self, state: str, series: str, image: str) -> Path:
        return self.folder / state / series / f"{image}.dcm"

    def _images(self, state: str, series: str) -> list[Path]:
        return sorted((self.folder / state / series).glob("*.dcm"))

    def _names(self, state: str, series: str) -> frozenset[str]:
        with suppress(FileNotFoundError):
            return frozenset(path.name for path in (self.folder / state / series).iterdir())
        return frozenset()

    def _folder(self, state: str, series: str) -> Path:
        folder = self.folder / state / series
        if not folder.exists():
            folder.mkdir(mode=0o700)
            flush_folder(folder.parent)
        return folder

    def _shift(self, series: str, images: Iterable[str], state: str) -> None:
        """Move sources from waiting to another state."""
        waiting = self.folder / "waiting" / series
        there = [image for image in images if (waiting / image).exists()]  # not those deleted by hand
        self._move({waiting / image: self.folder / state / series / image for image in there})
        _remove_if_empty(waiting)

    def _move(self, targets: Mapping[Path, Path]) -> None:
        """Rename files into one folder of the tree, durably."""
        for source, target in targets.items():
            self._folder(*target.parts[-3:-1])
            source.rename(target)
        for folder in {target.parent for target in targets.values()}:
            flush_folder(folder)

    def _remove(self, paths: Iterable[Path]) -> None:
        """Delete files, durably, and their folders if nothing is left in them."""
        there = [path for path in paths if path.exists()]
        for path in there:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in there}:
            flush_folder(folder)
            _remove_if_empty(folder)


def mark_of(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that took its place."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def make_spool_folder(folder: Path) -> Path:
    """Create it with mode 0700, or check that it is a spool. Raises RunError for any other folder with content."""
    other = f"{folder}: is there, and is no spool of a node. Choose an empty or a new folder with --spool."
    try:
        if folder.exists() and not (folder / MARKER).exists() and (not folder.is_dir() or any(folder.glob("[!.]*"))):
            raise RunError(other)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        if not (folder / MARKER).exists():
            write_json(folder / MARKER, {"what": "The queue of a diffdenoise node. It holds patients' images."})
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be used ({reason_of(error)}). The user of the node has to own it; or choose another "
            "folder with --spool."
        ) from error
    return folder


def folders_in(state: Path) -> list[Path]:
    """The series' folders in a state; file managers leave files of their own beside them."""
    return [path for path in state.iterdir() if path.is_dir()]


def _changed(state: Path) -> dict[Path, float]:
    """When something last came into or left each series' folder in a state; without those deleted by hand."""
    changed = {}
    for folder in folders_in(state):
        with suppress(FileNotFoundError):
            changed[folder] = folder.stat().st_mtime
    return changed


def _remove_if_empty(folder: Path) -> None:
    """Remove a series' folder with nothing in it, or with nothing but the reason of failures."""
    if folder.exists() and all(path.name == REASON for path in folder.iterdir()):
        shutil.rmtree(folder)
