"""Greyscale PNG pictures of 8 or 16 bits.

A result keeps every chunk of the source that describes the picture (text, resolution, gamma, ...): only the header
and the pixel data are new.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from diffdenoise.errors import OtherKind, ScanError
from diffdenoise.scans.scan import Provenance, Scan
from diffdenoise.scans.stored import DEFLATE, check_size, reading, step_of, to_physical, to_stored, units_of

SUFFIXES: tuple[str, ...] = (".png",)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 4: 2, 6: 4}  # 1 for the others
_COLOUR_TYPES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGB with alpha"}


def read(paths: tuple[Path, ...], name: str) -> Scan:
    """The scan in one PNG, shape (1, rows, columns); ScanError for colour, palettes and fewer than 8 bits."""
    grey = _grey(_load(paths[0]))
    return Scan(to_physical(grey[None]), name, "png", paths, units_of(grey.dtype), step=step_of(grey.dtype))


def write(scan: Scan, target: Path, provenance: Provenance) -> None:
    """Same mode and bit depth; a float32 TIFF for quantities other than "denoised", which PNG cannot hold."""
    if provenance.quantity != "denoised":
        import tifffile

        tifffile.imwrite(target, scan.pixels[0].astype(np.float32), metadata=None, software=False)
        return
    original = _load(scan.paths[0])
    grey = to_stored(scan.pixels, _grey(original)[None])[0]
    if original.ndim == 2:
        result = grey
    else:  # equal colour channels, and the alpha channel as it was
        result = original.copy()
        result[..., : _colours(original)] = grey[..., None]
    target.write_bytes(_splice(_encode(result), scan.paths[0].read_bytes()))


def check_kind(path: Path) -> None:
    """OtherKind for colour pictures and masks; only where grey may hide in colour channels pixels are looked at."""
    with reading(path, "PNG"), path.open("rb") as file:
        start = file.read(26)
    if len(start) == 26 and start.startswith(_SIGNATURE):
        _check_kind(path, depth=start[24], colour_type=start[25])
        if start[25] not in (0, 4):
            _load(path)


def _load(path: Path) -> np.ndarray:
    """The stored picture: (rows, columns) or (rows, columns, channels)."""
    import PIL.Image

    with reading(path, "PNG"):
        with path.open("rb") as file:
            start = file.read(26)
        if not start.startswith(_SIGNATURE):
            raise ScanError(path, "is not a PNG, whatever its name says", "Rename it or export it again.")
        _check_kind(path, depth=start[24], colour_type=start[25])
        shape = int.from_bytes(start[20:24], "big"), int.from_bytes(start[16:20], "big")
        check_size(path, shape, start[24] // 8 * _CHANNELS.get(start[25], 1), DEFLATE)
        with _of_any_size(), PIL.Image.open(path, formats=["PNG"]) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise ScanError(path, "is an animation", "Export each picture as a file of its own.")
            stored = np.array(image)
    if stored.ndim == 3 and not (stored[..., : _colours(stored)] == stored[..., :1]).all():
        raise OtherKind(path, "is a colour picture", "Only greyscale is supported: convert it to grey first.")
    return stored


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Pillow warns of and refuses large pictures; `check_size` has looked at this one."""
    import PIL.Image

    most = PIL.Image.MAX_IMAGE_PIXELS
    PIL.Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = most


def _check_kind(path: Path, depth: int, colour_type: int) -> None:
    kind = _COLOUR_TYPES.get(colour_type, "unknown")
    if colour_type == 3:
        raise OtherKind(path, "uses a colour palette", "Only greyscale is supported: convert it to grey first.")
    if depth < 8:
        raise OtherKind(path, f"has {depth} bit(s) a pixel", "At least 8 bits are needed: export it again.")
    if depth == 16 and colour_type != 0:  # Pillow would quietly cut these to 8 bits
        raise OtherKind(path, f"is {kind} of 16 bits", "16 bits are supported for plain greyscale: convert it.")


def _colours(stored: np.ndarray) -> int:
    return 1 if stored.ndim == 2 or stored.shape[2] == 2 else 3


def _grey(stored: np.ndarray) -> np.ndarray:
    return stored if stored.ndim == 2 else stored[..., 0]


def _encode(picture: np.ndarray) -> bytes:
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def _splice(new: bytes, old: bytes) -> bytes:
    """Header and pixel data of `new` amid the other chunks of `old`."""
    fresh = _chunks(new)
    pixels = [chunk for kind, chunk in fresh if kind == b"IDAT"]
    result = [_SIGNATURE, fresh[0][1]]
    for kind, chunk in _chunks(old)[1:]:
        if kind == b"IDAT":
            result += pixels
            pixels = []  # the source may hold several: ours go where its first was
        else:
            result.append(chunk)
    return b"".join(result)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, whole chunk) in file order, up to IEND; damaged side chunks (wrong checksum) are left out."""
    chunks, at = [], len(_SIGNATURE)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at : at + 12 + length]
        kind = chunk[4:8]
        if kind in (b"IHDR", b"IDAT", b"IEND") or zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"):
            chunks.append((kind, chunk))
        at += len(chunk)
        if kind == b"IEND":
            break
    return chunks
