"""Between stored numbers and physical pixels, and from any reader's failure to one clear error; for all formats.

physical = stored * slope + intercept

A stored number comes back bit for bit where its pixel was not changed (so int32, float64 and NaN survive float32).
NaN, infinities and numbers beyond LARGEST are no pixels: they are 0 to the networks, and come back as they were.
Where float32 would round the noise away (a float64 of 1e9, give or take 1), nothing is read.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from diffdenoise.errors import ScanError

LARGEST = 1e15  # beyond are marks for "no value here" (1e20, 1e30, 3.4e38), which would drown every image
PLANES, MOST_PIXELS = 8, 1_000_000  # looked at for what float32 rounds away: about so many planes; rows of them
FEWEST = 100  # pixels that differ from their neighbours, without which nothing is said of that
ALIKE = 1e-6, 1e-13  # of the range, of the largest value: a smaller difference to the neighbours is no noise
MOST_ROUNDED = 0.25  # of that difference, in the middle: noise whose sigma is about one step of float32
THIN = 4  # times as long are both other axes of an array, if its last one seems to be that of the slices
DEFLATE = 1032  # zlib's and gzip's packing: no byte of it becomes more bytes than that


class RoundedAwayError(ValueError):
    """What neighbouring pixels differ by is lost in float32."""

    fault = "holds numbers so large that 32-bit floats round away what differs between neighbouring pixels, its noise"
    remedy = "Subtract a constant from it, such as its mean, in 64 bits; it may be added to the result."


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a format's library raises inside the block into a ScanError that names the file.

    Missing, closed and empty files are found before the block starts.
    """
    if not os.path.exists(path):  # noqa: PTH110 - Path's raises where a link leads into a folder without rights
        raise ScanError(path, "does not exist", "Check the path; a link may point to nowhere, or where you may not go.")
    if not os.access(path, os.R_OK):
        raise ScanError(path, "cannot be opened: its rights forbid it", "Ask its owner for the right to read it.")
    if path.is_file() and path.stat().st_size == 0:
        raise ScanError(path, "is an empty file", "Copy or export it again.")
    try:
        yield
    except ScanError:
        raise
    except RoundedAwayError as error:
        raise ScanError(path, error.fault, error.remedy) from error
    except Exception as error:  # parsers meet damaged files with almost any exception
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            raise too_large(path) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        remedy = f"It may be damaged, incomplete or not {kind} at all: copy or export it again."
        raise ScanError(path, f"cannot be read as {kind} ({reason})", remedy) from error


def check_numeric(path: Path, dtype: np.dtype, complex_too: bool = False) -> None:
    """ScanError unless the stored numbers are integers or floats, real ones if not complex_too."""
    if dtype.kind not in ("iufc" if complex_too else "iuf"):
        words = {"c": "complex numbers", "b": "truth values (a mask)", "V": "several values a pixel (such as RGB)"}
        fault = f"holds {words.get(dtype.kind, f'values of type {dtype}')}, which are not supported"
        raise ScanError(path, fault, "Export one real-valued channel, such as the magnitude.")


def check_size(path: Path, shape: tuple[int, ...], stored: float, growth: float = 1, held: int | None = None) -> None:
    """ScanError unless an image of this shape has pixels, its file can hold them, and so can the memory.

    Asked before anything is allocated: a header may claim what it likes. stored: bytes of one pixel in the file, or,
    packed, what they are unpacked. growth: what one byte can become when it is unpacked, at most (see DEFLATE).
    held: bytes that there are for the pixels, those of the whole file if not given.
    """
    if min(shape, default=0) <= 0:
        raise ScanError(path, f"holds no pixels (shape {shape})", "Export it again.")
    pixels = math.prod(map(int, shape))
    held = path.stat().st_size if held is None else held
    if pixels * stored > held * growth:
        fault = f"announces {_bytes(pixels * stored)} of pixels, more than the {_bytes(held)} in the file can hold"
        raise ScanError(path, fault, "It is damaged or cut off: copy or export it again.")
    check_memory(path, pixels, stored)


def check_memory(path: object, pixels: int, stored: float) -> None:
    """ScanError unless so many pixels find room, as they are stored (so many bytes each) and as float32."""
    need = pixels * (stored + 4)
    if need > memory():
        raise too_large(path, f" ({_bytes(need)}, this machine has {_bytes(memory())})")


def too_large(path: object, figures: str = "") -> ScanError:
    """The error for what does not fit."""
    return ScanError(path, f"does not fit into memory{figures}", "Cut it into parts, or take a machine with more.")


def memory() -> float:
    """Bytes of memory that this process may use: the machine's, or its container's; inf where that is not known."""
    limits = [math.inf]
    with suppress(AttributeError, OSError, ValueError):  # not on Windows
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # "max" where there is no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits)


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def units_of(dtype: np.dtype) -> str:
    """Units of a plain picture: 8-bit grey means the same everywhere, other numbers do not."""
    return "8-bit" if dtype == np.uint8 else "arbitrary"


def step_of(dtype: np.dtype, slope: float = 1.0) -> float:
    """Between neighbouring stored integers, in physical units; 0 for floats."""
    return abs(slope) if dtype.kind in "iu" else 0.0


def looks_coloured(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is more likely (rows, columns, colours) than (slices, rows, columns)."""
    return len(shape) == 3 and shape[-1] in (3, 4) and min(shape[:2]) > 4


def doubt_of_axes(shape: tuple[int, ...]) -> str:
    """What to say of an array that is more likely (rows, columns, slices) than (slices, rows, columns), else ""."""
    if len(shape) != 3 or shape[-1] * THIN > min(shape[:2]):
        return ""
    rows, columns, slices = shape
    return (
        f"It is taken as {rows} slices of {columns} x {slices} pixels. If it is {slices} slices of {rows} x {columns}, "
        "move the last axis first: numpy.moveaxis(x, -1, 0)."
    )


def to_physical(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Pixels as C-contiguous float32, same shape (slices, rows, columns); what is no pixel becomes 0.

    Raises RoundedAwayError where that would lose the noise.
    """
    check_rounding(stored, slope, intercept)
    pixels = np.empty(stored.shape, np.float32)
    for index, plane in enumerate(stored):  # by slice: float64 copies stay small
        pixels[index] = _plane_to_physical(plane, slope, intercept)
    np.copyto(pixels, 0, where=~np.isfinite(pixels))
    return pixels


def check_rounding(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> None:
    """Raises RoundedAwayError where pixels (slices, rows, columns) lose in float32 what differs between neighbours."""
    if stored.dtype.kind == "f" and stored.itemsize <= 4 and intercept == 0:  # has no more digits than float32
        return
    planes = stored[:: max(1, len(stored) // PLANES)]
    rows = planes[:, :: max(1, planes.size // MOST_PIXELS)]
    with np.errstate(over="ignore", invalid="ignore"):
        exact = rows.astype(np.float64) * slope + intercept
    exact[~(np.abs(exact) <= LARGEST)] = 0
    steps = np.abs(np.diff(exact, n=2)) / np.sqrt(3)  # from both neighbours, so that slopes in the image do not count
    lost = np.abs(exact - exact.astype(np.float32))[..., 1:-1]
    least = abs(slope) / 2 if stored.dtype.kind in "iu" else 0.0  # of the steps of integers that are not 0
    if lost.max(initial=0) <= MOST_ROUNDED * least:
        return
    inner = exact[(exact > exact.min()) & (exact != 0)]  # without a background, which may be far from all else
    low, high = np.percentile(inner, [1, 99]) if inner.size else (0.0, 0.0)
    telling = steps > max(ALIKE[0] * (high - low), ALIKE[1] * np.abs(exact).max())
    if telling.sum() >= FEWEST and np.median(lost[telling]) > MOST_ROUNDED * np.median(steps[telling]):
        raise RoundedAwayError


def to_stored(
    pixels: np.ndarray,
    original: np.ndarray,
    slope: float = 1.0,
    intercept: float = 0.0,
    limits: tuple[int, int] | None = None,
) -> np.ndarray:
    """Pixels back in the dtype of `original` (same shape): integers rounded and saturated, never wrapped.

    Positions that were NaN, infinite or not changed keep the original's number. `limits` narrows an integer type, as
    DICOM's BitsStored does. Raises ValueError where the shapes differ.
    """
    _same_shape(pixels, original)
    stored = np.empty(original.shape, original.dtype)
    low, high = _limits(original.dtype, limits)
    for index, (plane, before) in enumerate(zip(pixels, original, strict=True)):
        physical = _plane_to_physical(before, slope, intercept)
        keep = ~np.isfinite(physical) | (physical == plane)
        values = (plane.astype(np.float64) - intercept) / slope
        if original.dtype.kind in "iu":
            values = np.rint(values)
        new = np.clip(values, low, high).astype(original.dtype)
        stored[index] = np.where(keep, before, new)
    return stored


def to_float32(pixels: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Signed, fractional pixels (such as the removed part) as float32; what is no pixel stays as in the original."""
    _same_shape(pixels, original)
    result = pixels.astype(np.float32)
    for plane, before in zip(result, original, strict=True):
        bad = ~(np.abs(before) <= np.float64(LARGEST))
        with np.errstate(over="ignore"):
            plane[bad] = before[bad]
    return result


def as_quantity(pixels: np.ndarray, original: np.ndarray, quantity: str) -> np.ndarray:
    """Denoised pixels as the original is stored, those of a map as float32."""
    return to_stored(pixels, original) if quantity == "denoised" else to_float32(pixels, original)


def _same_shape(pixels: np.ndarray, original: np.ndarray) -> None:
    if pixels.shape != original.shape:
        raise ValueError(f"result has shape {pixels.shape}, its source {original.shape}: did the source file change?")


def _plane_to_physical(plane: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        physical = plane.astype(np.float64) * slope + intercept
        return np.where(np.abs(physical) > LARGEST, np.inf, physical).astype(np.float32)


def _limits(dtype: np.dtype, limits: tuple[int, int] | None) -> tuple[float, float]:
    if dtype.kind == "f":
        info = np.finfo(dtype)
        return float(info.min), float(info.max)
    low, high = limits or (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    # float(2**63 - 1) is 2**63, one too many for int64: step down to the next number float64 knows
    top = float(high) if int(float(high)) <= high else float(np.nextafter(float(high), 0))
    return float(low), top
