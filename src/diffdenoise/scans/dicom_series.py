"""Which DICOM files belong together, and in which order: from headers alone."""

from __future__ import annotations

import math
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from diffdenoise.scans.stored import memory, reading, too_large
from diffdenoise.text import natural

_DIRECTION, _CORNER = "ImageOrientationPatient", "ImagePositionPatient"
_KEYS = (
    "MediaStorageSOPClassUID",
    "SOPClassUID",
    "ImageType",
    "ComplexImageComponent",
    "Modality",
    "ContributingEquipmentSequence",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BurnedInAnnotation",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "Rows",
    "Columns",
    "NumberOfFrames",
    _DIRECTION,
    _CORNER,
    "InstanceNumber",
)
_OF_GE = 0x00430010, 0x0043102F  # who defines the block of private elements; which part of a complex image this is
_GE_PARTS = "MPRI"  # by its number there
_TERMS = {"PHASE MAP": "P", "PHASE SUBTRACT": "P"}  # of PS3.3 C.8.3.1.1.1, for what scanners call so
T = TypeVar("T")
PARTS = frozenset({"M", "P", "R", "I"})  # of complex MR images, in ImageType; some scanners put them into one series
DICOMDIR = "1.2.840.10008.1.3.10"
DEFLATED = "1.2.840.10008.1.2.1.99"
SAME_DIRECTION = 0.01  # of a cosine; within a series positions vary but not the direction
SAME_PLACE = 0.01  # mm along the normal; slices are further apart
_BLOCK = 1 << 20


class Keys(NamedTuple):
    """What two files must share to be slices of one scan, their direction aside; and to be copies of one slice.

    broken: the file does not tell; it may be a slice of any scan.
    """

    series: tuple[object, ...]
    direction: tuple[float, ...]
    copy: tuple[object, ...]
    broken: bool = False


@contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's remarks on values that break the standard: not ours to mend, they go back as they came."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def has_mark(path: Path) -> bool:
    """Whether the file's content says that it is DICOM ("DICM" after 128 bytes)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def keys_of(path: Path) -> Keys | None:
    """None for a DICOMDIR, which is no image but a list. A file not to be parsed, or with several frames, is alone, but
    for copies of the latter.

    Their directions are to be compared by `is_along`.
    """
    alone = Keys(("alone", path), (), ("alone", path))
    try:
        with quiet():
            return _keys_of(header_of(path), alone)
    except Exception:  # a damaged file: reading it will say what is wrong
        return alone._replace(broken=True)


def is_along(direction: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether slices of these directions may be of one scan: alike, but for the scanner's last digits."""
    pairs = zip(direction, other, strict=False)
    return len(direction) == len(other) and all(abs(one - two) <= SAME_DIRECTION for one, two in pairs)


def _keys_of(header: Any, alone: Keys) -> Keys | None:
    if header.file_meta.get("MediaStorageSOPClassUID") == DICOMDIR:
        return None
    if not header.get("SeriesInstanceUID"):
        return alone._replace(broken=header.get("SeriesInstanceUID") is None and header.get("Rows") is None)  # cut off
    instance = header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID")
    # careless anonymisers give all slices one UID: place and number tell these from copies
    copy = (str(instance), _numbers(header.get(_CORNER)), _number(header)) if instance else alone.copy
    if int(header.get("NumberOfFrames") or 1) > 1:
        return Keys(("alone", header.SeriesInstanceUID, *copy), (), copy)
    series = (str(header.SeriesInstanceUID), str(header.get("Rows")), str(header.get("Columns")), parts_of(header))
    return Keys(series, _numbers(header.get(_DIRECTION)), copy)


def parts_of(header: Any) -> frozenset[str]:
    """Which part of a complex MR image it is, of `PARTS`; none where that goes unsaid."""
    words = {str(word).upper() for word in words_of(header.get("ImageType"))}
    words = {_TERMS.get(word, word) for word in words}
    creator, said = (header.get(tag) for tag in _OF_GE)
    if said is None or creator is None or str(creator.value).strip() != "GEMS_PARM_01":
        return PARTS & words
    number = said.value[0] if isinstance(said.value, bytes | Sequence) and len(said.value) else said.value
    return frozenset(_GE_PARTS[number]) if number in range(len(_GE_PARTS)) else PARTS & words


def series_slug(path: Path) -> str:
    """A short name for the file's series, fit for a folder: its number and description."""
    try:
        header = header_of(path)
        words = f"{header.get('SeriesNumber') or ''} {header.get('SeriesDescription') or ''}"
    except Exception:  # as above
        words = ""
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower() or "series"


def header_of(path: Path) -> Any:
    """The few elements that decide kind, series and order."""
    import pydicom
    from pydicom.tag import Tag

    check_inflated(path)
    return pydicom.dcmread(
        path, stop_before_pixels=True, force=True, specific_tags=[Tag(key) for key in (*_KEYS, *_OF_GE)]
    )


def check_inflated(path: Path) -> None:
    """ScanError if a deflated file (all behind its first group is one stream) unpacks to more than memory can hold.

    pydicom unpacks it in one go. Beyond a gigabyte, more than a hundredfold is no image either.
    """
    from pydicom.filereader import _read_file_meta_info, read_preamble  # as dcmread itself finds the stream

    with path.open("rb") as file:
        read_preamble(file, force=True)
        if _read_file_meta_info(file).get("TransferSyntaxUID") != DEFLATED:
            return
        most = min(memory() / 2, max(1 << 30, 100 * path.stat().st_size))
        stream, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while packed := stream.unconsumed_tail or file.read(_BLOCK):
            size += len(stream.decompress(packed, _BLOCK))
            if size > most:
                raise too_large(path)


def in_slice_order(paths: tuple[Path, ...]) -> tuple[tuple[Path, ...], int]:
    """(the files in order, of how many volumes).

    By position along the slices' normal, else by instance number, else by file name (numbers as numbers): what one of
    the files lacks, or what is no number in it, orders none. Where every position was imaged equally often (over time,
    in several directions) volume by volume. Raises ScanError, which names the file that cannot be read.
    """
    headers = []
    for path in paths:
        with reading(path, "DICOM"), quiet():
            headers.append(header_of(path))
    directions, corners = ([header.get(of) for header in headers] for of in (_DIRECTION, _CORNER))
    places, numbers = places_along_normal(directions, corners), list(map(_number, headers))
    by_number = None not in numbers

    def key(index: int) -> tuple[object, ...]:
        place, number = places[index] if places else 0, numbers[index] if by_number else 0
        return (place, number, natural(paths[index].name), str(paths[index]))

    ordered = sorted(range(len(paths)), key=key)
    in_volumes, volumes = by_volume(ordered, places.__getitem__) if places else (ordered, 1)
    return tuple(paths[index] for index in in_volumes), volumes


def by_volume(ordered: list[T], place_of: Callable[[T], Any]) -> tuple[list[T], int]:
    """What is sorted by place, volume by volume if each place is there equally often; and the number of volumes."""
    places = [list(group) for _, group in groupby(ordered, key=place_of)]
    if len({len(place) for place in places}) != 1:
        return ordered, 1
    return [item for volume in zip(*places, strict=True) for item in volume], len(places[0])


def words_of(value: Any) -> list[Any]:
    """The values of an element that may have none, one or many."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _number(header: Any) -> int | None:
    """InstanceNumber; None where there is none, or something that is no number."""
    try:
        return int(header.get("InstanceNumber"))
    except (TypeError, ValueError, OverflowError):
        return None


def places_along_normal(directions: Sequence[Any], corners: Sequence[Any]) -> list[int] | None:
    """Of parallel slices, the number of each one's place along their normal (PS3.3 C.7.6.2.1.1), rising from 0.

    directions, corners: ImageOrientationPatient and ImagePositionPatient of each. The normal is the first one's, for
    the last digits of the others may differ; far from the origin these are millimetres. Places within SAME_PLACE are
    one. None where one of them is not known, or not parallel.
    """
    angles, points = ([_numbers(value) for value in values] for values in (directions, corners))
    parallel = all(len(angle) == 6 and is_along(angle, angles[0]) for angle in angles)
    if not parallel or not all(len(point) == 3 for point in points):
        return None
    along = np.array(points) @ np.cross(angles[0][:3], angles[0][3:])
    order = np.argsort(along, kind="stable")
    numbers = np.empty(len(along), int)
    numbers[order] = np.cumsum(np.diff(along[order], prepend=along[order[0]]) > SAME_PLACE)
    return numbers.tolist()


def _numbers(value: Any) -> tuple[float, ...]:
    """Of an element with several; empty where it is not told, or one of them is no finite number."""
    try:
        found = tuple(float(x) for x in value or ())
    except (TypeError, ValueError):
        return ()
    return found if all(map(math.isfinite, found)) else ()
