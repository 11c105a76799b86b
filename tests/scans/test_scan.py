from pathlib import Path

import numpy as np

from diffdenoise.scans.scan import Scan


def test_a_scan_is_shown_in_a_line_without_its_pixels() -> None:
    paths = tuple(Path("t1", f"{number}.dcm") for number in range(300))
    scan = Scan(np.zeros((300, 64, 48), np.float32), "t1", "dicom", paths, "HU", 2, {"header": 1}, "CT")
    assert repr(scan) == ("Scan(t1: 300 x 64 x 48 (2 frames), float32, dicom CT, units HU, t1/0.dcm and 299 more)")
    assert repr(Scan(scan.pixels, "a", "npy")) == "Scan(a: 300 x 64 x 48, float32, npy, units arbitrary)"
