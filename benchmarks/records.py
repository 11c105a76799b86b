"""What the results hold: a record a cell, in a table task -> method -> record."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.methods import METHODS
from benchmarks.tasks import Task
from diffdenoise.run_folder import key_of

Record = dict[str, Any]
Table = dict[str, dict[str, Record]]


def by_patient(record: Record, measure: str) -> dict[str, float]:
    """Mean of a measure over each patient's images; nothing where it was not measured."""
    found: dict[str, list[float]] = {}
    for image in record.get("images", []):
        if measure in image:
            found.setdefault(image["patient"], []).append(image[measure])
    return {patient: float(np.mean(values)) for patient, values in found.items()}


def keys_of(task: Task, method: str, seconds: float, device: str) -> tuple[str, ...]:
    """The keys under which a cell's figures count: of all that they depend on.

    The first is the one to write: whole seconds without a decimal point, however they were given. Some results were
    written with one.
    """
    spellings = (int(seconds), float(seconds)) if seconds == int(seconds) else (seconds,)
    return tuple(key_of(task.key, method, METHODS[method].revision, spelling, device) for spelling in spellings)
