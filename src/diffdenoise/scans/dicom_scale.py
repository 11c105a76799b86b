"""What DICOM's stored numbers mean: rescaled by slope and intercept, or looked up in a table (PS3.3 C.11.1).

physical = stored * slope + intercept, of the image or of each frame (PS3.3 C.7.6.16.2.9); or values[stored - first]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffdenoise.scans.stored import to_physical, to_stored

_WIDEST_TABLE = 16  # bits; PS3.3 C.11.1.1.1 counts its entries with 16


@dataclass(frozen=True)
class Rescale:
    """A straight line."""

    slope: float
    intercept: float

    def physical(self, stored: np.ndarray) -> np.ndarray:
        """Frames (n, rows, columns) in physical units, float32."""
        return to_physical(stored, self.slope, self.intercept)

    def stored(self, pixels: np.ndarray, original: np.ndarray, limits: tuple[int, int] | None) -> np.ndarray:
        """Back in the dtype of `original`, rounded and saturated at limits; unchanged pixels keep their number."""
        return to_stored(pixels, original, self.slope, self.intercept, limits)


@dataclass(frozen=True)
class Table:
    """A Modality LUT that rises or falls all the way; values: of the stored numbers first, first + 1, ...

    Numbers before and after have the first and the last value.
    """

    first: int
    values: np.ndarray

    def physical(self, stored: np.ndarray) -> np.ndarray:
        """Frames (n, rows, columns) in physical units, float32."""
        places = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        return self.values[places].astype(np.float32)

    def stored(self, pixels: np.ndarray, original: np.ndarray, limits: tuple[int, int] | None) -> np.ndarray:
        """The numbers whose values are nearest; unchanged pixels keep theirs. limits: those of the table count."""
        rising = self.values[-1] > self.values[0]
        ascending = self.values if rising else self.values[::-1]
        within = np.clip(pixels, ascending[0], ascending[-1])
        place = np.searchsorted((ascending[1:] + ascending[:-1]) / 2, within)
        nearest = self.first + (place if rising else len(ascending) - 1 - place)
        return np.where(self.physical(original) == pixels, original, nearest).astype(original.dtype)


@dataclass(frozen=True)
class SignedScale:
    """A linear scale that fits a signed quantity into 16 or 8 bits: physical = (stored - zero) * slope."""

    slope: float
    zero: int = 0  # the stored number that means 0; without one, numbers are signed

    @property
    def type(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        return np.dtype(np.uint8 if self.zero else np.int16)

    @property
    def peak(self) -> float:
        """The largest number that can be stored."""
        return (np.iinfo(self.type).max - self.zero) * self.slope

    @classmethod
    def covering(cls, pixels: np.ndarray) -> SignedScale:
        """The finest scale on which no pixel saturates."""
        peak = max(abs(float(pixels.min())), abs(float(pixels.max())))
        # DICOM writes the slope in at most 16 characters: round it up there, so that the peak still fits
        return cls(float(f"{peak / 32767 * (1 + 1e-7):.8e}") if peak > 0 else 1.0)

    def in_eight_bits(self) -> SignedScale:
        """As coarse as 8 bits without a sign need it."""
        # five digits, so that 128 times as much has a place in DICOM to the last digit, and zero comes back as zero
        return SignedScale(float(f"{self.slope * 32767 / 127:.4e}"), zero=128)

    def stored(self, pixels: np.ndarray) -> np.ndarray:
        """The nearest stored numbers."""
        limits = np.iinfo(self.type)
        nearest = np.rint(pixels.astype(np.float64) / self.slope) + self.zero
        return np.clip(nearest, limits.min, limits.max).astype(self.type)


def scales(dataset: Any) -> list[Rescale | Table]:
    """What the stored numbers of each frame mean; a table counts for all."""
    count = int(dataset.get("NumberOfFrames") or 1)
    if dataset.get("ModalityLUTSequence"):
        return [_table(dataset)] * count
    shared = _transformation(_item(dataset, "SharedFunctionalGroupsSequence", 0)) or dataset
    return [
        _rescale(_transformation(_item(dataset, "PerFrameFunctionalGroupsSequence", index)) or shared)
        for index in range(count)
    ]


def refusal(dataset: Any) -> str | None:
    """Why results could not be put back through the dataset's scale, or None."""
    if any(group.get("ModalityLUTSequence") for group in groups(dataset)):
        return "maps the pixels of a frame through a table of its own (Modality LUT), which is not supported"
    if dataset.get("ModalityLUTSequence"):
        if int(dataset.get("BitsStored", 0)) > _WIDEST_TABLE:
            return f"maps pixels of more than {_WIDEST_TABLE} bits through a table (Modality LUT)"
        steps = np.diff(_table(dataset).values)
        if not steps.any() or (steps.min() < 0 < steps.max()):
            return "maps pixels through a table (Modality LUT) that rises and falls, so no result could be put back"
        return None
    lines = [scale for scale in scales(dataset) if isinstance(scale, Rescale)]
    if any(not np.isfinite([line.slope, line.intercept]).all() or line.slope == 0 for line in lines):
        return "has an unusable scale (a rescale slope of zero, or no number)"
    return None


def in_hounsfield(dataset: Any) -> bool:
    """Whether the physical units are HU: those of CT, which says of what else it is (PS3.3 C.8.2.1, C.11.1.1.2)."""
    groups_too = [dataset, *(found for group in groups(dataset) if (found := _transformation(group)))]
    types = [str(item.get("RescaleType") or "HU") for item in groups_too]
    return dataset.get("Modality") == "CT" and all(type_.startswith("HU") for type_ in types)


def limits(dataset: Any) -> tuple[int, int]:
    """The least and the greatest number that BitsStored holds."""
    bits = int(dataset.BitsStored)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dataset.PixelRepresentation == 1 else (0, (1 << bits) - 1)


def groups(dataset: Any) -> list[Any]:
    """All functional groups: the shared one and each frame's."""
    return [
        *(dataset.get("SharedFunctionalGroupsSequence") or []),
        *(dataset.get("PerFrameFunctionalGroupsSequence") or []),
    ]


def _table(dataset: Any) -> Table:
    from pydicom.pixels import apply_modality_lut

    low, high = limits(dataset)
    values = apply_modality_lut(np.arange(low, high + 1, dtype=np.int32), dataset).astype(np.float64)
    inner = np.flatnonzero(np.diff(values))  # without what only repeats the first and the last value
    start, stop = (inner[0], inner[-1] + 2) if len(inner) else (0, 1)
    return Table(low + int(start), values[start:stop])


def _rescale(source: Any) -> Rescale:
    slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
    return Rescale(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))


def _item(dataset: Any, keyword: str, index: int) -> Any:
    items = dataset.get(keyword) or []
    return items[index] if index < len(items) else None


def _transformation(group: Any) -> Any:
    return _item(group, "PixelValueTransformationSequence", 0) if group is not None else None
