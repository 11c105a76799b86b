"""The Scan: pixels in physical units, and what is needed to write a result back in the same kind of file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, repr=False)
class Scan:
    """One image, stack, volume or series.

    pixels: float32, shape (slices, rows, columns), in the file's physical units (HU for CT, scaled values for NIfTI).
    name: path of the result relative to an output folder, such as ``sub-01/anat.nii.gz``; for a DICOM series a folder.
    format: key of `diffdenoise.scans.files.FORMATS`.
    paths: the files it was read from, in slice order where a slice is a file.
    frames: so many volumes of the same places, one after the other (time points, directions).
    units: "HU" or "8-bit" where equal numbers mean the same in every such scan, else "arbitrary" (MR; PET, whose noise
    depends on the dose).
    source: private to the format's module: header, geometry, dtype.
    modality: as DICOM has it (MR, CT, PT, ...); empty where the file does not say.
    axis: of the file's volume, across which the slices are taken; None where there is no choice.
    step: between neighbouring numbers that its file can hold, in physical units; 0 for floats (of files with several,
    that of the last).
    doubt: what is told of how it was read, if that may be wrong, with the remedy; empty where the file is clear.
    stamps: size and time of change of each file before it was read; empty where there is none, or nobody knows.
    """

    pixels: np.ndarray
    name: str
    format: str
    paths: tuple[Path, ...] = ()
    units: str = "arbitrary"
    frames: int = 1
    source: Any = None
    modality: str = ""
    axis: int | None = None
    step: float = 0.0
    doubt: str = ""
    stamps: dict[Path, tuple[int, int]] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        """In a line: what it is called and like, and where it is from."""
        frames = f" ({self.frames} frames)" if self.frames > 1 else ""
        kind = " ".join(part for part in (self.format, self.modality) if part)
        files = f", {self.paths[0]}" + f" and {len(self.paths) - 1} more" * (len(self.paths) > 1) if self.paths else ""
        shape = " x ".join(map(str, self.pixels.shape))
        return f"Scan({self.name}: {shape}{frames}, {self.pixels.dtype}, {kind}, units {self.units}{files})"

    def with_pixels(self, pixels: np.ndarray) -> Scan:
        """The same scan with other pixels of the same shape (ValueError otherwise)."""
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"expected pixels of shape {self.pixels.shape}, got {pixels.shape}")
        return replace(self, pixels=pixels)


MAPS = ("uncertainty", "spread", "removed")  # what may be written beside a result


@dataclass(frozen=True)
class Provenance:
    """How a result came about; written as a JSON sidecar and, for DICOM, into the tags.

    model: fingerprint of the model file; settings: everything else that decides the pixels (sampler, seed, ...).
    quantity: "denoised", "uncertainty" (standard deviation of the error), "spread" (half the difference of a symmetric
    pair) or "removed" (noisy - denoised). found: what the scan itself decided, told in the sidecar and compared with
    nothing, for it follows from the rest.
    """

    version: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    quantity: str = "denoised"
    found: dict[str, Any] = field(default_factory=dict)
