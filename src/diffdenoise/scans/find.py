"""Finding scans: files, folders and patterns become a list of what can be read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from glob import has_magic
from pathlib import Path

from diffdenoise.errors import OWN_RESULT, DiscList, LeftAlone, OtherKind, OwnResult, ScanError
from diffdenoise.scans import bids, dicom_group, foreign, sidecar
from diffdenoise.scans.formats import KINDS, describe_formats, format_of, is_read_elsewhere
from diffdenoise.scans.names import Found, folder_of, with_distinct_names, without_repeats
from diffdenoise.text import natural

RUN_MARKER, SPOOL_MARKER = "diffdenoise-run.json", "diffdenoise-spool.json"  # in folders of a fit, of a node's queue
_ELSEWHERE = "is of a kind that is not read here"


def find(inputs: Sequence[str | Path], own_results: bool = False) -> tuple[list[Found], list[ScanError]]:
    """The scans in files, folders (with all below) and patterns, in natural order, and what was wrong with inputs.

    In folders hidden files, results and working folders of our own and files that are no images are passed over, and a
    result that is named is an error; with own_results the denoised ones count, and whatever is named. Links to folders
    are followed (but to none above them, nor by `**`), and what has several names is found once. What lies in a folder
    and looks like an image, but is none to denoise, is told as LeftAlone, and is an error where it is named; copies of
    a DICOM image, but for the first, are told so, too. DICOM files under one input, or named one by one (as a shell
    expands a pattern), are grouped into series. Names are relative to the input (in a BIDS data set: to its root) or,
    where two would be the same, to a folder above; they differ, and do not depend on the order of the inputs.
    """
    found: list[Found] = []
    errors: list[ScanError] = []
    named: list[Path] = []
    for item in inputs:
        path = Path(item)
        try:
            path = _at_home(path)
            if path.is_file() and format_of(path) == "dicom_file":
                if not own_results:
                    _refuse(path)
                named.append(path)
            else:
                found += _find_one(path, own_results, errors)
        except ScanError as error:
            errors.append(error)
        except (OSError, ValueError) as error:  # no rights, a name that is too long, a pattern that makes no sense
            errors.append(_closed(path, error))
    if len(named) == 1:
        found.append(Found((named[0],), "dicom_file", named[0].name))
    elif named:
        named = sorted({path.parent.resolve() / path.name for path in named})  # names of results hold no ".."
        drives = sorted({path.drive for path in named})  # of Windows, which have no folder in common
        for files in ([path for path in named if path.drive == drive] for drive in drives):
            found += _group(files, Path(os.path.commonpath([path.parent for path in files])), errors)
    return with_distinct_names(without_repeats(found)), errors


def _at_home(path: Path) -> Path:
    """With the home folder for a leading ~, unless there is a file of that very name, or nobody who is called so."""
    try:
        return path if os.path.lexists(path) else path.expanduser()
    except RuntimeError:
        return path


def _closed(path: object, error: Exception) -> ScanError:
    return ScanError(path, f"cannot be searched ({error})", "Check its name and your rights.")


def _find_one(path: Path, own_results: bool, errors: list[ScanError]) -> list[Found]:
    """Raises ScanError if nothing is found; folders that cannot be listed are added to `errors`."""
    if path.is_file():
        kind = format_of(path)
        if kind is None:
            raise ScanError(path, "is no kind of image known here", f"Supported: {describe_formats()}.")
        if not own_results:
            _refuse(path)
        return [_alone(path, kind, path.name)]
    if path.is_dir():
        base, files = path, list(_walk([path], errors, own_results))
    elif has_magic(str(path)):
        base, files = _matches(path, errors)
    elif path.exists():
        raise ScanError(path, "is neither a file nor a folder", "Copy what it gives into a file.")
    else:
        raise ScanError(path, "does not exist", "Check the path.")
    images, left = _sorted_out(files, own_results)
    errors += left
    found = _group(images, base, errors)
    if not found:
        raise _nothing(path, left)
    return found


def _refuse(path: Path) -> None:
    """OtherKind for what is no image to denoise; OwnResult for a result of ours that is as we wrote it."""
    if (record := sidecar.load(path)) and sidecar.untouched(path, record):
        raise OwnResult(path, *OWN_RESULT)
    _check_kind(path)


def _check_kind(path: Path) -> None:
    """OtherKind for what is known to be no image to denoise, OwnResult for what says of itself that it is ours."""
    try:
        if check := KINDS.get(kind := format_of(path) or ""):
            check(path)
        if not kind and is_read_elsewhere(path):
            raise OtherKind(path, _ELSEWHERE, f"Supported: {describe_formats()}.")
        bids.check_kind(path)
    except OtherKind:
        raise
    except ScanError:  # damaged: reading it will say so
        pass


def _nothing(path: Path, left: Sequence[LeftAlone]) -> ScanError:
    """The error for a folder or a pattern without a scan."""
    others = f" to denoise ({len(left)} of other kinds: {left[0].path} {left[0].fault})" if left else ""
    fault = "matches no images" if has_magic(str(path)) and not path.is_dir() else "holds no images"
    hint = "hidden files, and results of diffdenoise, are passed over"
    return ScanError(path, fault + others, f"Supported: {describe_formats()}; {hint}.")


def _sorted_out(files: Iterable[Path], own_results: bool) -> tuple[list[Path], list[LeftAlone]]:
    """The files without those that are known to be no images to denoise, and why each of these is left alone."""
    images, left = [], []
    for path in sorted(files, key=_in_natural_order):
        try:
            _check_kind(path)
        except DiscList:
            continue
        except OtherKind as reason:
            if not (own_results and isinstance(reason, OwnResult)):
                left.append(LeftAlone(path, reason.fault, reason.remedy))
                continue
        images.append(path)
    return images, left


def _walk(starts: Iterable[Path], errors: list[ScanError], own_results: bool = False) -> Iterator[Path]:
    """All files below the folders, links to folders last; no folder is searched twice, whatever its names."""
    told = lambda error: errors.append(_closed(error.filename, error))  # noqa: E731
    searched: set[Path] = set()
    waiting = deque((start, frozenset[Path]()) for start in starts)
    while waiting:
        start, way = waiting.popleft()
        for place, folders, files in os.walk(start, onerror=told):
            here, real = Path(place), Path(os.path.realpath(place))
            if real in searched:
                folders.clear()
                continue
            searched.add(real)
            folders[:] = sorted(name for name in folders if not _passed_over(here / name, own_results))
            if beside := bids.beside_the_data(here, folders):
                errors += [LeftAlone(here / name, bids.BESIDE, "Name it to denoise it, too.") for name in beside]
                folders[:] = sorted({*folders} - {*beside})
            yield from (here / name for name in files if not _passed_over(here / name, own_results))
            links = [here / name for name in folders if (here / name).is_symlink()]  # os.walk does not enter these
            waiting += [(link, way | {real}) for link in links if not _leads_back(link, way | {real})]


def _leads_back(link: Path, way: Iterable[Path]) -> bool:
    """Whether a link is to a folder above itself, or above another link on the way to it.

    What else lies up there was not asked for, and may be the whole disk.
    """
    target = Path(os.path.realpath(link))
    return any(target == place or target in place.parents for place in way)


def _passed_over(path: Path, own_results: bool = False) -> bool:
    if (
        path.name.startswith(".")
        or _is_special(path)
        or any(os.path.isfile(path / marker) for marker in (RUN_MARKER, SPOOL_MARKER))  # noqa: PTH113 - no rights: no
    ):
        return True
    record = sidecar.load(path)
    return record is not None and not (own_results and record.get("quantity") == "denoised")


def _is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device, which may never end; links to nowhere or behind closed doors not."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)  # noqa: PTH110, PTH112, PTH113


def _matches(pattern: Path, errors: list[ScanError]) -> tuple[Path, list[Path]]:
    """The folder above the first wildcard, and all files that match or lie in folders that match."""
    parts = pattern.parts
    plain = next(index for index, part in enumerate(parts) if has_magic(part))
    base = Path(*parts[:plain])
    matches = [path for path in base.glob("/".join(parts[plain:])) if not _lies_hidden(path, base)]
    matches.sort(key=lambda path: (_is_linked(path, base), path))
    files = [path for path in matches if path.is_file()]
    files += _walk((match for match in matches if match.is_dir()), errors)
    return base, files


def _once(files: Iterable[Path], base: Path) -> list[Path]:
    """Each file once, by a name without links if it has one: else a series would have the same slices twice."""
    first: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: _is_linked(path, base)):
        first.setdefault(os.path.realpath(path), path)
    return list(first.values())


def _is_linked(path: Path, base: Path) -> bool:
    """Whether a link lies on the way from the base to the path, or at its end."""
    return Path(os.path.realpath(path)) != Path(os.path.realpath(base)) / path.relative_to(base)


def _lies_hidden(path: Path, base: Path) -> bool:
    """Whether the path, or a folder between it and the base, is passed over."""
    between = [path, *path.parents]
    return any(_passed_over(place) for place in between[: between.index(base)])


def _group(files: Iterable[Path], base: Path, errors: list[ScanError]) -> list[Found]:
    """One Found for each file, but one for all files of a DICOM series; copies of a slice are added to `errors`."""
    files = list(files)
    kinds = {path: kind for path in files if (kind := format_of(path)) is not None}
    kinds |= dict.fromkeys(dicom_group.emptied_slices(files, kinds), "dicom_file")
    ordered = sorted(_once(kinds, base), key=_in_natural_order)
    of_dicom = [path for path in ordered if kinds[path] == "dicom_file"]
    others = (path for path in ordered if kinds[path] != "dicom_file")
    found = [_alone(path, kinds[path], path.relative_to(base).as_posix()) for path in others]
    for paths in dicom_group.scans_among(of_dicom, errors):
        if len(paths) == 1:
            found.append(Found((paths[0],), "dicom_file", paths[0].relative_to(base).as_posix()))
        else:
            found.append(Found(tuple(paths), "dicom", _folder_name(paths, base)))
    return sorted(found, key=lambda item: natural(item.name))


def _alone(path: Path, kind: str, name: str) -> Found:
    """A file that is a scan by itself, and the one beside it that holds its pixels, if it does not."""
    return Found((path, *foreign.beside(path)) if kind == "foreign" else (path,), kind, name)


def _in_natural_order(path: Path) -> list[tuple[int, int, str]]:
    return natural(path.as_posix())


def _folder_name(paths: list[Path], base: Path) -> str:
    """The series' common folder, relative to the input; the input's own name for a series right inside it."""
    relative = folder_of(paths).relative_to(base)
    return relative.as_posix() if relative.parts else base.resolve().name or "series"
