"""What machine a scan comes from, as far as its file tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from diffdenoise.noise.texture import Machine
from diffdenoise.scans import bids
from diffdenoise.scans.scan import Scan

OF_MR = {"T1w", "T2w", "PDw", "T2starw", "FLAIR", "bold", "sbref", "dwi", "epi", "asl"}  # BIDS suffixes
ALIKE = {"CR": "CR/DX", "DX": "CR/DX"}  # modalities: both are radiographs
UNSAID = {"", "OT"}  # modalities: none, "other"


def modality_of(scan: Scan) -> str:
    """MR, CT, CR/DX, PT, ...: by that of DICOM, Hounsfield units or the suffix of BIDS; "" where none of them says."""
    said = scan.modality or (bids.modality_of(scan.paths[0]) if scan.paths else "")
    if scan.units == "HU":
        return "CT"
    if not said:
        return "MR" if suffix_of(scan) in OF_MR else ""
    return "" if said in UNSAID else ALIKE.get(said, said)


def machine_of(scan: Scan) -> Machine:
    """Of those whose noise is known to be of a kind of its own; "" for all others."""
    modality = modality_of(scan)
    return "CT" if modality == "CT" else "MR" if modality == "MR" else ""


def told_of(paths: Sequence[Path]) -> list[str]:
    """What tells the machine beside the files themselves: a modality in a JSON file, a suffix of BIDS; as found."""
    return [said for said in (bids.modality_of(paths[0]), bids.suffix_of(paths[0])) if said] if paths else []


def suffix_of(scan: Scan) -> str:
    """The suffix of BIDS, such as T1w; "" where it has none."""
    return bids.suffix_of(scan.paths[0]) if scan.paths else ""
