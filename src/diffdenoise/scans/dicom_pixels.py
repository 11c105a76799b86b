"""DICOM pixel data: decoded frame by frame, and put back uncompressed (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from diffdenoise.scans import dicom_scale
from diffdenoise.scans.dicom_derive import discard
from diffdenoise.scans.dicom_scale import SignedScale, groups, in_hounsfield, scales
from diffdenoise.scans.planes import stacked

# what stored numbers meant before; wrong once the scale is another
_SCALE_DEPENDENT = (
    "ModalityLUTSequence",
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
# keyword of the pixels: (its tag, value representation, first word of the keywords that are about padding)
_FLOATS = {
    "FloatPixelData": (0x7FE00008, "OF", "Float"),
    "DoubleFloatPixelData": (0x7FE00009, "OD", "DoubleFloat"),
}
PIXEL_KEYWORDS = ("PixelData", *_FLOATS)
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# of ultrasound: one frame, several, a volume; and secondary captures of several frames of bytes
_OF_EIGHT_BITS = tuple(_STORAGE + end for end in ("6.1", "3.1", "6.2", "7.2"))


def shape_of(dataset: Any) -> tuple[int, int, int]:
    """(frames, rows, columns), as the header has them; 0 for what it does not say."""
    return int(dataset.get("NumberOfFrames") or 1), int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)


def refusal(dataset: Any) -> str | None:
    """Why these pixels cannot be changed and put back, or None."""
    positions = [(group, 0x0102) for group in range(0x6000, 0x6020, 2) if (group, 0x3000) not in dataset]
    if any(dataset[tag].value for tag in positions if tag in dataset):
        return "keeps an overlay inside its pixel data, which is not supported"
    return (None if _float_keyword(dataset) else _layout_refusal(dataset)) or dicom_scale.refusal(dataset)


def _layout_refusal(dataset: Any) -> str | None:
    if dataset.get("BitsAllocated") not in (8, 16, 32):
        return f"has {dataset.get('BitsAllocated')} bits a pixel, which is not supported"
    if dataset.get("HighBit") != dataset.get("BitsStored", 0) - 1:
        return f"has an unusual bit layout (high bit {dataset.get('HighBit')}, bits stored {dataset.get('BitsStored')})"
    return None


def stored_frames(dataset: Any) -> np.ndarray:
    """Decoded stored numbers, shape (frames, rows, columns); bits beyond BitsStored count for nothing (PS3.5 8.1.1)."""
    dataset.pixel_array_options(correct_unused_bits=True)
    return stacked(dataset.pixel_array)


def stored_words(dataset: Any) -> np.ndarray:
    """The same with all bits as they are in the file, where padding may exceed BitsStored."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:  # here they are the decoder's accident
        return stored_frames(dataset)
    dataset.pixel_array_options(correct_unused_bits=False)
    return stacked(dataset.pixel_array)


def physical(dataset: Any) -> np.ndarray:
    """Pixels in physical units, float32, shape (frames, rows, columns)."""
    frames = stored_frames(dataset)
    pixels = np.empty(frames.shape, np.float32)
    for index, (frame, scale) in enumerate(zip(frames, scales(dataset), strict=True)):
        pixels[index] = scale.physical(frame[None])[0]
    return pixels


def step_of(dataset: Any) -> float:
    """The largest step between neighbouring stored integers, in physical units; 0 for floats, or where a table says."""
    lines = [] if _float_keyword(dataset) else scales(dataset)
    return max((abs(line.slope) for line in lines if isinstance(line, dicom_scale.Rescale)), default=0.0)


def replace(dataset: Any, pixels: np.ndarray, scale: SignedScale | None) -> None:
    """Put pixels (frames, rows, columns; physical) into the dataset, uncompressed.

    Without a scale the stored type, its meaning and padding stay, and values saturate at BitsStored; what would come to
    lie on the padding value goes beside it, for a pixel that was one is to stay one. With a scale the type
    becomes signed 16 bits (floats stay floats, and ultrasound and captures of bytes have 8 bits without a sign), and
    padding becomes zero.
    """
    original, words = stored_frames(dataset), stored_words(dataset)
    padding = _padding(dataset, words) | _padding(dataset, original)  # writers extend the sign of few bits, or do not
    if scale is None:
        limits = None if _float_keyword(dataset) else dicom_scale.limits(dataset)
        triples = zip(pixels, original, scales(dataset), strict=True)
        result = np.concatenate([meaning.stored(new[None], old[None], limits) for new, old, meaning in triples])
        result = _beside_padding(result, dataset) if limits else result
        result = np.where(padding | (result == original), words, result)
    elif _float_keyword(dataset):
        result = np.where(padding, 0, pixels).astype(original.dtype)
        _forget_offsets(dataset)
    else:
        scale = scale.in_eight_bits() if dataset.SOPClassUID in _OF_EIGHT_BITS else scale
        result = scale.stored(pixels)
        result[padding] = scale.zero
        _set_signed(dataset, scale)
    discard(dataset, _PIXEL_DEPENDENT)
    _set_pixel_data(dataset, result)


def _float_keyword(dataset: Any) -> str | None:
    return next((keyword for keyword in _FLOATS if keyword in dataset), None)


def _set_pixel_data(dataset: Any, stored: np.ndarray) -> None:
    from pydicom.dataelem import DataElement

    whole = (0x7FE00010, "OB" if stored.itemsize == 1 else "OW", "")
    tag, representation, _ = _FLOATS.get(_float_keyword(dataset) or "", whole)
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    data += b"\0" * (len(data) % 2)
    dataset[tag] = DataElement(tag, representation, data)


def _set_signed(dataset: Any, scale: SignedScale) -> None:
    from pydicom import Dataset

    bits = 8 * scale.type.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(scale.zero == 0)
    rescale_type = "HU" if in_hounsfield(dataset) else "US"
    for item in (dataset, *groups(dataset)):
        discard(item, (*_SCALE_DEPENDENT, "PixelValueTransformationSequence", "FrameVOILUTSequence"))
    transformation, window = Dataset(), Dataset()
    transformation.RescaleSlope = f"{scale.slope:.8e}"
    transformation.RescaleIntercept = f"{-scale.zero * scale.slope:.8e}" if scale.zero else "0"
    transformation.RescaleType = rescale_type
    window.WindowCenter, window.WindowWidth = "0", f"{2 * scale.peak:.8e}"  # one for the whole series
    if dataset.get("SharedFunctionalGroupsSequence"):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [transformation], [window]
    else:
        dataset.update(transformation)
        dataset.update(window)


def _forget_offsets(dataset: Any) -> None:
    """A difference of two images has their unit, but not its zero; of floats, stored and physical become the same."""
    for item in (dataset, *groups(dataset)):
        for line in (item, *(item.get("PixelValueTransformationSequence") or [])):
            if "RescaleSlope" in line:
                line.RescaleSlope, line.RescaleIntercept = "1", "0"
        for line in item.get("RealWorldValueMappingSequence") or []:
            if "RealWorldValueIntercept" in line:
                line.RealWorldValueIntercept = 0.0


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray:
    """Where the stored number says "no pixel here" (PS3.3 C.7.5.1.1.2)."""
    low, high = _padding_range(dataset)
    return (stored >= low) & (stored <= high)


def _beside_padding(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """The same integers, those that say so moved to the nearest that do not."""
    low, high = _padding_range(dataset)
    hit = _padding(dataset, stored)
    if not hit.any():
        return stored
    least, most = dicom_scale.limits(dataset)
    nearer_below = 2 * stored.astype(np.int64) < low + high
    beside = np.where((nearer_below & (low > least)) | (high >= most), low - 1, high + 1)
    return np.where(hit, beside.clip(least, most), stored).astype(stored.dtype)


def _padding_range(dataset: Any) -> tuple[float, float]:
    """The least and the greatest stored number that says so; of none, the greatest is the smaller one."""
    _, _, word = _FLOATS.get(_float_keyword(dataset) or "", (0, "", ""))
    value, limit = (_first(dataset.get(f"{word}PixelPadding{kind}")) for kind in ("Value", "RangeLimit"))
    if value is None:
        return np.inf, -np.inf
    low, high = sorted((_as_stored(value, dataset), _as_stored(value if limit is None else limit, dataset)))
    return low, high


def _first(value: Any) -> Any:
    """Of several values, where the standard has one."""
    return next(iter(value), None) if isinstance(value, MutableSequence) else value


def _as_stored(value: Any, dataset: Any) -> float:
    if _float_keyword(dataset):
        return float(value)
    # writers mix up signed and unsigned here: read the same bits as the pixels are read
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    bits = int(dataset.BitsAllocated)
    number %= 1 << bits
    return number - (1 << bits) if dataset.PixelRepresentation == 1 and number >= 1 << (bits - 1) else number
