"""What machine a scan comes from, as far as its file tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffdenoise.noise.texture import Machine
from diffdenoise.scans import bids
from diffdenoise.scans.scan import Scan

OF_MR = {"T1w", "T2w", "PDw", "T2starw", "FLAIR", "bold", "sbref", "dwi", "epi", "asl"}  # BIDS suffixes


def machine_of(scan: Scan) -> Machine:
    """By the modality of DICOM, Hounsfield units or the suffix of BIDS; "" where none of them says, or another one."""
    modality = scan.modality or (bids.modality_of(scan.paths[0]) if scan.paths else "")
    if modality == "CT" or scan.units == "HU":
        return "CT"
    return "MR" if modality == "MR" or (not modality and suffix_of(scan) in OF_MR) else ""


def told_of(paths: Sequence[Path]) -> list[str]:
    """What tells the machine beside the files themselves: a modality in a JSON file, a suffix of BIDS; as found."""
    return [said for said in (bids.modality_of(paths[0]), bids.suffix_of(paths[0])) if said] if paths else []


def suffix_of(scan: Scan) -> str:
    """The suffix of BIDS, such as T1w; "" where it has none."""
    return bids.suffix_of(scan.paths[0]) if scan.paths else ""
