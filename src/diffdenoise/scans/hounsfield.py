"""CT that does not say so (NIfTI, NumPy, ...): Hounsfield units, told by the values themselves.

Air is at -1000 HU, nothing is less, and fat, water and soft tissue are within 150 of 0. Images of other machines have
no negative values, or have them on either side of 0 alike (phases, differences). What a reconstruction or a converter
puts outside the field of view is one value far below (-2000, -3024).
"""

from __future__ import annotations

import numpy as np

AIR, NOTHING, TISSUE = (-1050, -950), (-1900, -1100), (-150, 150)  # HU
LEAST_AIR, MOST_NOTHING, LEAST_TISSUE = 0.03, 0.01, 0.05  # shares of the pixels
MOST_PIXELS = 1_000_000  # looked at


def looks_like_hounsfield(pixels: np.ndarray) -> bool:
    """Whether these pixels, of any shape and real dtype, seem to be in Hounsfield units."""
    some = pixels.ravel()[:: 1 + 2 * (pixels.size // (2 * MOST_PIXELS))]  # odd: no same columns of each row

    def share(between: tuple[int, int]) -> float:
        return float(np.mean((some > between[0]) & (some < between[1])))

    return share(AIR) >= LEAST_AIR and share(NOTHING) <= MOST_NOTHING and share(TISSUE) >= LEAST_TISSUE
