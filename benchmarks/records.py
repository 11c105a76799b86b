"""What the results hold: a record a cell, in a table task -> method -> record."""

from __future__ import annotations

from typing import Any

import numpy as np

Record = dict[str, Any]
Table = dict[str, dict[str, Record]]


def by_patient(record: Record, measure: str) -> dict[str, float]:
    """Mean of a measure over each patient's images; nothing where it was not measured."""
    found: dict[str, list[float]] = {}
    for image in record.get("images", []):
        if measure in image:
            found.setdefault(image["patient"], []).append(image[measure])
    return {patient: float(np.mean(values)) for patient, values in found.items()}
