"""What results are called: each scan has a name that tells it from the others, below one output folder."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path, PurePosixPath

from diffdenoise.scans import bids, dicom_series
from diffdenoise.scans.formats import FOLDERS, OTHER_SUFFIX, suffix_of


@dataclass(frozen=True)
class Found:
    """One scan not yet read. `name` is its result's path relative to an output folder; for a DICOM series a folder."""

    paths: tuple[Path, ...]
    format: str
    name: str


def folder_of(paths: Sequence[Path]) -> Path:
    """The one that they have in common."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def _placed(item: Found) -> Found:
    """In a BIDS data set the place is part of the name."""
    place = bids.place_of(item.paths[0])
    return item if place is None else replace(item, name=place)


def without_repeats(found: list[Found]) -> list[Found]:
    """Each scan once, whichever of its inputs came first: by a path without links, and by the longest name."""
    kept: dict[tuple[object, ...], Found] = {}
    for item in found:
        scan = item.format, *map(os.path.realpath, item.paths)
        kept[scan] = min(kept[scan], item, key=_rank) if scan in kept else item
    return list(kept.values())


def _rank(item: Found) -> tuple[object, ...]:
    path = os.path.abspath(item.paths[0])  # noqa: PTH100 - no link is followed
    return path != os.path.realpath(path), -len(PurePosixPath(item.name).parts), path


def with_distinct_names(found: list[Found]) -> list[Found]:
    """Of inputs that have results of one name all results get as many of the folders above as tell these apart.

    Folders that are above all inputs tell nothing, and stay out. Series that share a folder with others get a folder of
    their own in it. What is of one name then, in one folder (a.png and a.tiff, a.npy and A.npy), is numbered.
    """
    found = [_placed(item) for item in found]
    bases = [_base_of(item) for item in found]
    common = sum(1 for _ in takewhile(lambda parts: len({*parts}) == 1, zip(*bases, strict=False)))
    above = [base[common:] for base in bases]
    enough = min(range(max(map(len, above), default=0) + 1), key=lambda folders: _clashes(found, above, folders))
    placed = _below(found, above, enough)
    in_folders = Counter(place for item in placed for place in _places_of(item.name))
    shares = lambda item: item.format == "dicom" and in_folders[item.name] > 1  # noqa: E731
    return _numbered([_in_own_folder(item) if shares(item) else item for item in placed])


def _base_of(item: Found) -> tuple[str, ...]:
    """The folder that its name is relative to, in parts."""
    place = folder_of(item.paths) if item.format == "dicom" else item.paths[0]
    # No link is followed: what folders of a data set's store are called tells nothing.
    parts = Path(os.path.abspath(place)).parts  # noqa: PTH100
    return parts[1 : -len(PurePosixPath(item.name).parts)]


def _below(found: list[Found], above: list[tuple[str, ...]], folders: int) -> list[Found]:
    """With the last so many of the folders above each before its name."""
    pairs = zip(found, above, strict=True)
    return [replace(item, name="/".join([*parts[max(len(parts) - folders, 0) :], item.name])) for item, parts in pairs]


def _clashes(found: list[Found], above: list[tuple[str, ...]], folders: int) -> int:
    """How many names of results scans would share that are of several folders above, with so many of these in names."""
    places = defaultdict(set)
    for item, parts in zip(_below(found, above, folders), above, strict=True):
        for result in _results(item, item.name):
            places[result].add(parts)
    return sum(len(several) > 1 for several in places.values())


def _numbered(found: list[Found]) -> list[Found]:
    """Of scans of one name all but the first, by path, get a number behind it."""
    uses = Counter(result for item in found for result in _results(item, item.name))
    shared = [item for item in found if max(uses[result] for result in _results(item, item.name)) > 1]
    taken = {result for item in set(found) - set(shared) for result in _results(item, item.name)}
    names = {}
    for item in sorted(shared, key=_rank):
        names[item] = next(name for name in _candidates(item) if taken.isdisjoint(_results(item, name)))
        taken |= _results(item, names[item])
    return [replace(item, name=names.get(item, item.name)) for item in found]


def _results(item: Found, name: str) -> set[str]:
    """Names that results of a scan of this name may have, as case-blind disks see them."""
    stem, others = name.removesuffix(suffix_of(name)), (of[1] for of in OTHER_SUFFIX.items() if of[0][0] == item.format)
    return {each.lower() for each in (name, *(stem + suffix for suffix in others))}


def _places_of(name: str) -> list[str]:
    """The name, and those of the folders above it."""
    pure = PurePosixPath(name)
    return [name, *(place.as_posix() for place in pure.parents)]


def _in_own_folder(item: Found) -> Found:
    return replace(item, name=f"{item.name}/{dicom_series.series_slug(item.paths[0])}")


def _candidates(item: Found) -> Iterator[str]:
    """The name, and then with numbers behind it."""
    yield item.name
    suffix = "" if item.format in FOLDERS else suffix_of(item.name)
    for number in count(2):
        yield f"{item.name.removesuffix(suffix)}-{number}{suffix}"
