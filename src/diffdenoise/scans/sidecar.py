"""The JSON file beside each result: where it came from, how it was made, and what exactly was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from diffdenoise.scans import bids
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.scans.scan import Provenance
from diffdenoise.text import NOTICE

TOOL = "diffdenoise"
LARGEST = 100_000_000  # bytes of a record; a series of thousands of slices has one of a megabyte
LEFT_BEHIND = frozenset({".ds_store", "thumbs.db", "desktop.ini"})  # by file managers; names in lower case


def sidecar_path(result: Path) -> Path:
    """``anat.nii.gz.json`` for ``anat.nii.gz``; beside the folder for a series; BIDS's name for a BIDS derivative."""
    if bids.ours(result.name):
        return result.with_name(f"{bids.stem_of(result.name)}.json")
    return result.with_name(result.name + ".json")


def origin(paths: tuple[Path, ...], provenance: Provenance) -> dict[str, Any]:
    """What decides a result: version, model, settings, quantity, and the sources' names and SHA-256. No dates."""
    sources = sorted((path.name, sha256(path)) for path in paths)
    record = {
        "tool": TOOL,
        "notice": NOTICE,
        "version": provenance.version,
        "model": provenance.model,
        "settings": provenance.settings,
        "quantity": provenance.quantity,
        "sources": [{"name": name, "sha256": digest} for name, digest in sources],
    }
    plain: dict[str, Any] = json.loads(json.dumps(record, default=str))  # as it will be read back
    return plain


def is_of(record: dict[str, Any], paths: tuple[Path, ...]) -> bool:
    """Whether a record is of these files: by their names, and the content of one at least.

    Files of two patients often have the same names; of a series one may have been mended since.
    """
    digests = {(source["name"], source.get("sha256")) for source in record["sources"]}
    named = sorted(source["name"] for source in record["sources"]) == sorted(path.name for path in paths)
    return named and any((path.name, sha256(path)) in digests for path in paths)


def result_hashes(result: Path, written: Path | None = None) -> dict[str, str]:
    """SHA-256 of each file of the result, by name; `written` is where its content lies now, if elsewhere."""
    place = written or result
    if place.is_dir():
        return {path.relative_to(place).as_posix(): sha256(path) for path in files_in(place)}
    return {result.name: sha256(place)}


def files_in(folder: Path) -> list[Path]:
    """All below it, without what file managers leave there."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.lower() not in LEFT_BEHIND]


def untouched(result: Path, record: dict[str, Any]) -> bool:
    """Whether what the record says was written is there as it was written, and, in a folder, nothing else."""
    return result.exists() and present(result, record) == record.get("result")


def is_own(result: Path, record: dict[str, Any]) -> bool:
    """Whether what is there of a result is what we wrote, by its record: now, or before it was cut off replacing it.

    Files that have gone do not count. What somebody has edited since is theirs.
    """
    written = [record.get(name, {}) for name in ("result", "replaced")]
    return all(digest in [hashes.get(name) for hashes in written] for name, digest in present(result, record).items())


def present(result: Path, record: dict[str, Any]) -> dict[str, str]:
    """SHA-256, by name, of what is there of a result: all of a folder, else the files that the record lists."""
    if result.is_dir():
        return result_hashes(result)
    places = {name: result.parent / name for name in (result.name, *record.get("result", {}))}
    return {name: sha256(place) for name, place in places.items() if place.is_file()}


def load(result: Path) -> dict[str, Any] | None:
    """Our record of a result, or None where there is none of ours."""
    beside = sidecar_path(result)
    try:
        if not beside.is_file() or beside.stat().st_size > LARGEST:
            return None
        content = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    record = content.get(TOOL, content) if isinstance(content, dict) else None  # BIDS: amid what else is known
    return record if _is_ours(record) else None


def _is_ours(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("tool") == TOOL
        and all(isinstance(record.get(name, {}), dict) for name in ("result", "replaced", "metadata"))
        and isinstance(sources := record.get("sources"), list)
        and all(isinstance(source, dict) and isinstance(source.get("name"), str) for source in sources)
    )


def save(result: Path, record: dict[str, Any], about: dict[str, Any] | None = None) -> None:
    """Write the record beside the result, atomically; equal records give equal bytes.

    about: what a BIDS sidecar says of the image itself; the record becomes one entry of it. What somebody has added to
    an earlier one stays.
    """
    content = record if about is None else _added(result) | about | {TOOL: record}
    with atomic_file(sidecar_path(result)) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def metadata_in(about: dict[str, Any]) -> dict[str, Any]:
    """What a record holds of a BIDS sidecar's own entries: their names, and the hash of all."""
    whole = json.dumps(about, sort_keys=True, default=str).encode()
    return {"names": sorted(about), "sha256": hashlib.sha256(whole).hexdigest()}


def _added(result: Path) -> dict[str, Any]:
    """What is in a BIDS sidecar of ours that we have not written there."""
    if (earlier := load(result)) is None:
        return {}
    content = json.loads(sidecar_path(result).read_text(encoding="utf-8"))
    ours = {TOOL, *earlier.get("metadata", {}).get("names", [])}
    return {name: value for name, value in content.items() if name not in ours}


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
