"""Whole counts: images of detectors that count (scintigraphy, photon-counting X-ray), stored as they were counted.

Their values are whole numbers of one step s, and for counting noise at brightness b

    variance = s b

exactly. So where the values are whole and what is measured is about that, it is that: what is measured beyond it is
grain or fine structure of the object, which is no noise.
"""

from __future__ import annotations

import numpy as np

MOST_COUNTS = 2**20  # to a pixel; of more, single precision does not tell whether they are whole
FEWEST_VALUES = 8  # different ones; of fewer, anything may be whole
ROUNDING = 0.01  # of a step
LEAST, MOST = 0.9, 1.5  # of what is measured over s b, the median; grain of radiographs makes 1.0 to 1.46 of 200 counts


def step_of(values: np.ndarray) -> float:
    """The largest step of which all values are whole numbers, 0 if there is none, or one is negative; any shape."""
    found = np.unique(values).astype(np.float64)
    if len(found) < FEWEST_VALUES or found[0] < 0:
        return 0.0
    apart = np.diff(found)
    step = (found[-1] - found[0]) / np.round(apart / apart.min()).sum()  # more precise than one difference
    counts = np.round(found / step)
    if counts[-1] > MOST_COUNTS:
        return 0.0
    return float(step) if np.abs(found / step - counts).max() < ROUNDING else 0.0


def counts_to_a_unit(values: np.ndarray, brightness: np.ndarray, sigmas: np.ndarray) -> float:
    """Counts to a unit of `values`, 0 if these are no whole counts; sigmas: measured at these brightnesses."""
    step = step_of(values)
    if not step:
        return 0.0
    over = float(np.median(np.square(sigmas) / np.maximum(step * brightness, 1e-30)))
    return 1 / step if LEAST < over < MOST else 0.0
