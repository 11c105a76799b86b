"""A run folder: the artefacts of one fit, cached by the hash of what they were made from.

It holds patients' pixels, so it is readable by its owner alone; `clean` deletes them and keeps the model.
Each artefact is a sub-folder with a `key.json`; it is whole when `done` stands in it. One that is not whole, but has
the right key, was interrupted and goes on; one with another key was made from something else and is begun anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from diffdenoise.errors import RunError, reason_of
from diffdenoise.scans.atomic import atomic_file, flush
from diffdenoise.scans.find import RUN_MARKER
from diffdenoise.scans.sidecar import LEFT_BEHIND

MARKER = RUN_MARKER
MODEL = "model.safetensors"
FIT = "model"  # the artefact of which it is the result: done when it is
PLAN = "plan.json"
PIXELS = ("slices", "known", "condition*", "teacher*")  # artefacts that hold patients' pixels
NAMES = f"{FIT}/skipped.json"  # of files that could not be read; patients' names may be in them
CHECKPOINTS = "*/last.*"
log = logging.getLogger("diffdenoise")


def key_of(*parts: Any) -> str:
    """Hash of JSON-ready parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def make_run_folder(folder: Path) -> Path:
    """Create it with mode 0700, or check that it is one of ours. Raises RunError for any other folder with content."""
    marker = {"what": "A diffdenoise run. It may hold patients' pixels; 'diffdenoise clean' deletes them."}
    try:
        if folder.exists() and not (folder / MARKER).exists() and any(map(_is_content, folder.iterdir())):
            raise RunError(f"{folder}: holds files, but not those of a run. Choose an empty or a new folder.")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        write_json(folder / MARKER, marker)
    except OSError as error:
        raise RunError(f"{folder}: cannot be used ({reason_of(error)}). Choose another folder.") from error
    return folder


def _is_content(path: Path) -> bool:
    """Whether it is more than a marker that was being written when its process was killed, or a file manager's."""
    being_written = path.name.startswith(".") and path.name.endswith(f"-{MARKER}")
    return not being_written and path.name.lower() not in LEFT_BEHIND


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder alone; the lock dies with the process. Raises RunError if another process holds it."""
    with (folder / "lock").open("w") as file:
        try:
            _lock(file)
        except BlockingIOError as error:
            raise RunError(
                f"{folder}: another diffdenoise works here. Wait for it, or choose another folder."
            ) from error
        except OSError as error:  # as on some network drives
            fault = f"its file system has no locks ({reason_of(error)})"
            raise RunError(f"{folder}: {fault}. Choose a folder on another drive.") from error
        yield


@contextmanager
def named(folder: Path) -> Iterator[None]:
    """Raises RunError where the system refuses, and names what, or the folder where it does not, as on a full disk."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or folder}: cannot be used ({reason_of(error)}). See that there is room on its disk and "
            "that it is yours, and give the same command again, it goes on; or choose another folder."
        ) from error


def _lock(file: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows has no such locks; there it is up to the user
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def cached(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """The artefact `folder`, made by `make(folder)` unless it is there whole with this key."""
    if is_whole(folder, key):
        return folder
    if folder.exists() and key_in(folder) != key:
        discard(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(folder / "key.json", {"key": key})
    make(folder)
    for path in folder.rglob("*"):  # `done` is not to outlive a power cut alone
        if path.is_file():
            flush(path)
    with atomic_file(folder / "done") as beside:
        beside.touch()
    return folder


def is_whole(artefact: Path, key: str) -> bool:
    """Whether it is there, made to its end from what this key stands for."""
    return is_done(artefact) and key_in(artefact) == key


def is_done(artefact: Path) -> bool:
    """Whether it is there, made to its end."""
    return (artefact / "done").exists()


def discard(artefact: Path) -> None:
    """Delete it; what says that it is whole, and of what, goes first: after a kill nobody takes the rest for it."""
    for name in ("done", "key.json"):
        (artefact / name).unlink(missing_ok=True)
    shutil.rmtree(artefact)


def key_in(artefact: Path, name: str = "key.json") -> str | None:
    """Of what it is made, or was begun to be; None if nothing was."""
    try:
        return json.loads((artefact / name).read_text())["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    with atomic_file(path) as beside:
        beside.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def clean(folder: Path) -> int:
    """Delete all that holds pixels or names of files, or can be made again; keep model, plan and loss curves.

    Returns the number of bytes freed. Raises RunError if the folder is no run.
    """
    if not (folder / MARKER).exists():
        raise RunError(f"{folder}: not a run folder (there is no {MARKER} in it); nothing was deleted.")
    with locked(folder):
        doomed = [path for pattern in (*PIXELS, NAMES, CHECKPOINTS) for path in folder.glob(pattern)]
        freed = sum(_size(path) for path in doomed)
        for path in doomed:
            discard(path) if path.is_dir() else path.unlink(missing_ok=True)
    return freed


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(_size(child) for child in path.iterdir())
    return path.stat().st_size if path.exists() else 0


def find_run(folder: Path) -> Path:
    """The run folder itself, or the one that `diffdenoise run` keeps inside an output folder. Raises RunError."""
    for candidate in (folder, folder / ".diffdenoise"):
        if (candidate / MARKER).exists():
            return candidate
    raise RunError(
        f"{folder}: there is no diffdenoise run in this folder. "
        "Name the one that was given as -o to `diffdenoise run` or `diffdenoise fit`."
    )


def find_model(path: Path) -> Path:
    """A model file from its own path, a run folder or an output folder of `diffdenoise run`.

    Warns where a newer fit in the folder is not finished. Raises RunError if there is no model.
    """
    if not path.is_dir():
        return path
    run = find_run(path)
    model, fit = run / MODEL, run / FIT
    if not model.exists():
        raise RunError(f"{path}: the run has no model yet. Run the same fit again, it goes on where it stopped.")
    if key_in(fit) and not is_done(fit):
        log.warning(
            "%s: a newer fit in this folder is not finished, and this is the earlier model. Run that fit again, or, if "
            "this model is the one you want, name its file: %s",
            path,
            model,
        )
    return model
