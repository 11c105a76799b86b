"""Damage to a file: a function of its bytes and a random generator. Inside what is packed, too."""

from __future__ import annotations

import gzip
import re
import struct
import zlib

import numpy as np

HEADER = 700  # bytes in which the formats' fields mostly lie
TELLING = (0, 1, -1, 2, 7, 99, 127, 255, 256, 32767, 32768, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63)
FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e-300, 1e300)
NUMBER = re.compile(rb"-?\d+(\.\d+)?")

Random = np.random.Generator


def mutated(whole: bytes, suffix: str, random: Random) -> bytes:
    """One to four damages; inside what gzip packed, or with a PNG's checksums put right, half of the time."""
    inside = random.random() < 0.5
    if inside and suffix.endswith(".gz"):
        return gzip.compress(_damaged(gzip.decompress(whole), random), compresslevel=1)
    damaged = _damaged(whole, random)
    return _with_right_checksums(damaged) if inside and suffix == ".png" else damaged


def _damaged(data: bytes, random: Random) -> bytes:
    for _ in range(int(random.integers(1, 5))):
        data = KINDS[int(random.integers(len(KINDS)))](data, random)
    return data


def _place(data: bytes, random: Random) -> int:
    """A position; in the header, half of the time."""
    end = min(HEADER, len(data)) if random.random() < 0.5 else len(data)
    return int(random.integers(end)) if end else 0


def _flip(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :] if data else data


def _byte(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([int(random.integers(256))]) + data[at + 1 :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def _cut_out(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + int(random.integers(1, 200)) :]


def _repeated(data: bytes, random: Random) -> bytes:
    at, length = _place(data, random), int(random.integers(1, 200))
    return data[:at] + data[at : at + length] * int(random.integers(2, 9)) + data[at + length :]


def _moved(data: bytes, random: Random) -> bytes:
    """A piece of the file over another one."""
    at, source, length = _place(data, random), _place(data, random), int(random.integers(1, 100))
    piece = data[source : source + length]
    return data[:at] + piece + data[at + len(piece) :]


def _binary_number(data: bytes, random: Random) -> bytes:
    """A telling number where a field may be."""
    at = _place(data, random) // 2 * 2
    order = "<>"[int(random.integers(2))]
    if random.random() < 0.2:
        field = struct.pack(order + "fd"[int(random.integers(2))], _float(random))
    else:
        size = int(random.choice([2, 4, 8]))
        field = struct.pack(order + {2: "H", 4: "I", 8: "Q"}[size], _telling(random) % 256**size)
    return data[:at] + field + data[at + len(field) :]


def _float(random: Random) -> float:
    value = FLOATS[int(random.integers(len(FLOATS)))]
    return value if abs(value) < 1e38 or not np.isfinite(value) else float(np.sign(value) * 1e38)


def _telling(random: Random) -> int:
    return TELLING[int(random.integers(len(TELLING)))]


def _written_number(data: bytes, random: Random) -> bytes:
    """Another number where one is written out, as in the headers of NumPy, NRRD, MetaImage and AFNI."""
    found = list(NUMBER.finditer(data[:4000]))
    if not found:
        return data
    number = found[int(random.integers(len(found)))]
    text = str(_telling(random)) if random.random() < 0.8 else str(_float(random))
    return data[: number.start()] + text.encode() + data[number.end() :]


KINDS = (_flip, _byte, _cut, _cut_out, _repeated, _moved, _binary_number, _binary_number, _written_number)


def _with_right_checksums(data: bytes) -> bytes:
    at, parts = 8, [data[:8]]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        parts.append(data[at : end - 4] + struct.pack(">I", zlib.crc32(data[at + 4 : end - 4])))
        at = end
    return b"".join([*parts, data[at:]])
