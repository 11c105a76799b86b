"""DICOM pixel data: stored numbers to physical values and back, frame by frame (PS3.3 C.7.6.3, C.7.6.16.2.9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffdenoise.scans.stored import to_physical, to_stored

# what stored numbers meant before; wrong once the scale is another
_SCALE_DEPENDENT = (
    "RealWorldValueMappingSequence",
    "VOILUTSequence",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "LargestMonochromePixelValue",
    "PresentationLUTSequence",
)
# derived from the pixels; optional, so better absent than wrong
_PIXEL_DEPENDENT = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "PixelDataProviderURL",
)


@dataclass(frozen=True)
class SignedScale:
    """A linear scale that fits a signed quantity into 16 bits: physical = stored * slope."""

    slope: float

    @classmethod
    def covering(cls, pixels: np.ndarray) -> SignedScale:
        """The finest scale on which no pixel saturates."""
        peak = max(abs(float(pixels.min())), abs(float(pixels.max())))
        # DICOM writes the slope in at most 16 characters: round it up there, so that the peak still fits
        return cls(float(f"{peak / 32767 * (1 + 1e-7):.8e}") if peak > 0 else 1.0)


def shape_of(dataset: Any) -> tuple[int, int, int]:
    """(frames, rows, columns), as the header has them; 0 for what it does not say."""
    return int(dataset.get("NumberOfFrames") or 1), int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)


def refusal(dataset: Any) -> str | None:
    """Why these pixels cannot be changed and put back, or None."""
    if any(has_modality_lut(item) for item in (dataset, *_groups(dataset))):
        return "maps pixels through a table (Modality LUT), which is not supported yet"
    positions = [(group, 0x0102) for group in range(0x6000, 0x6020, 2) if (group, 0x3000) not in dataset]
    if any(dataset[tag].value for tag in positions if tag in dataset):
        return "keeps an overlay inside its pixel data, which is not supported"
    if dataset.get("BitsAllocated") not in (8, 16, 32):
        return f"has {dataset.get('BitsAllocated')} bits a pixel, which is not supported"
    if dataset.get("HighBit") != dataset.get("BitsStored", 0) - 1:
        return f"has an unusual bit layout (high bit {dataset.get('HighBit')}, bits stored {dataset.get('BitsStored')})"
    if any(not np.isfinite([slope, intercept]).all() or slope == 0 for slope, intercept in rescale(dataset)):
        return "has an unusable scale (a rescale slope of zero, or no number)"
    return None


def has_modality_lut(item: Any) -> bool:
    """Whether stored numbers go through a table rather than slope and intercept."""
    return bool(item.get("ModalityLUTSequence"))


def stored_frames(dataset: Any) -> np.ndarray:
    """Decoded stored numbers, shape (frames, rows, columns); bits beyond BitsStored count for nothing (PS3.5 8.1.1)."""
    dataset.pixel_array_options(correct_unused_bits=True)
    array = dataset.pixel_array
    return array.reshape(-1, *array.shape[-2:])


def stored_words(dataset: Any) -> np.ndarray:
    """The same with all bits as they are in the file, where padding may exceed BitsStored."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:  # here they are the decoder's accident
        return stored_frames(dataset)
    dataset.pixel_array_options(correct_unused_bits=False)
    array = dataset.pixel_array
    return array.reshape(-1, *array.shape[-2:])


def rescale(dataset: Any) -> list[tuple[float, float]]:
    """(slope, intercept) of each frame; of a functional group if there is one, else of the image, else (1, 0)."""
    count = shape_of(dataset)[0]
    shared = _transformation(_item(dataset, "SharedFunctionalGroupsSequence", 0)) or dataset
    pairs = []
    for index in range(count):
        source = _transformation(_item(dataset, "PerFrameFunctionalGroupsSequence", index)) or shared
        slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
        pairs.append((1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)))
    return pairs


def physical(dataset: Any) -> np.ndarray:
    """Rescaled pixels, float32, shape (frames, rows, columns)."""
    frames = stored_frames(dataset)
    parts = [to_physical(frame[None], *pair) for frame, pair in zip(frames, rescale(dataset), strict=True)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def replace(dataset: Any, pixels: np.ndarray, scale: SignedScale | None) -> None:
    """Put pixels (frames, rows, columns; physical) into the dataset, uncompressed.

    Without a scale the stored type, rescale and padding stay, and values saturate at BitsStored. With one the type
    becomes signed 16 bits, and padding becomes zero.
    """
    original, words = stored_frames(dataset), stored_words(dataset)
    padding = _padding(dataset, words)
    if scale is None:
        limits = _limits(dataset)
        pairs = zip(pixels, original, rescale(dataset), strict=True)
        result = np.concatenate([to_stored(new[None], old[None], *pair, limits) for new, old, pair in pairs])
        result = np.where(padding | (result == original), words, result)
    else:
        result = np.clip(np.rint(pixels.astype(np.float64) / scale.slope), -32768, 32767).astype(np.int16)
        result[padding] = 0
        _set_signed(dataset, scale, float(np.abs(pixels).max()))
    _discard(dataset, _PIXEL_DEPENDENT)
    _set_pixel_data(dataset, result)


def _set_pixel_data(dataset: Any, stored: np.ndarray) -> None:
    from pydicom.dataelem import DataElement

    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    data += b"\0" * (len(data) % 2)
    dataset[0x7FE00010] = DataElement(0x7FE00010, "OB" if stored.itemsize == 1 else "OW", data)


def _set_signed(dataset: Any, scale: SignedScale, peak: float) -> None:
    from pydicom import Dataset

    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    for item in (dataset, *_groups(dataset)):
        _discard(item, (*_SCALE_DEPENDENT, "PixelValueTransformationSequence", "FrameVOILUTSequence"))
    transformation, window = Dataset(), Dataset()
    transformation.RescaleIntercept, transformation.RescaleSlope = "0", f"{scale.slope:.8e}"
    transformation.RescaleType = "HU" if dataset.get("Modality") == "CT" else "US"
    window.WindowCenter, window.WindowWidth = "0", f"{max(2 * peak, scale.slope):.8e}"
    if dataset.get("SharedFunctionalGroupsSequence"):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [transformation], [window]
    else:
        dataset.update(transformation)
        dataset.update(window)


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Where the stored number says "no pixel here" (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((_as_stored(value, dataset), _as_stored(value if limit is None else limit, dataset)))
    return (stored >= low) & (stored <= high)


def _as_stored(value: Any, dataset: Any) -> int:
    # writers mix up signed and unsigned here: read the same bits as the pixels are read
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    bits = int(dataset.BitsAllocated)
    number %= 1 << bits
    return number - (1 << bits) if dataset.PixelRepresentation == 1 and number >= 1 << (bits - 1) else number


def _limits(dataset: Any) -> tuple[int, int]:
    bits = int(dataset.BitsStored)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dataset.PixelRepresentation == 1 else (0, (1 << bits) - 1)


def _groups(dataset: Any) -> list[Any]:
    """All functional groups: the shared one and each frame's."""
    return [
        *(dataset.get("SharedFunctionalGroupsSequence") or []),
        *(dataset.get("PerFrameFunctionalGroupsSequence") or []),
    ]


def _item(dataset: Any, keyword: str, index: int) -> Any:
    items = dataset.get(keyword) or []
    return items[index] if index < len(items) else None


def _transformation(group: Any) -> Any:
    return _item(group, "PixelValueTransformationSequence", 0) if group is not None else None


def _discard(item: Any, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        if keyword in item:
            delattr(item, keyword)
