"""What the results hold: a record a cell, in a table task -> method -> record."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.methods import METHODS
from benchmarks.tasks import Task
from diffdenoise.run_folder import key_of

Record = dict[str, Any]
Table = dict[str, dict[str, Record]]
OLD = "°"  # a row that was measured before its method's last change


class MissingError(Exception):
    """A cell is not there, or not to be compared."""


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


def mean(record: Record, measure: str) -> float | None:
    """Of a measure, over the patients; None where it was not measured."""
    values = list(by_patient(record, measure).values())
    return float(np.mean(values)) if values else None


def has(table: Table, task: str, method: str) -> bool:
    """Whether the cell is there, and did not fail."""
    return "images" in table.get(task, {}).get(method, {})


def record_of(table: Table, task: str, method: str) -> Record:
    """Of a cell. Raises MissingError."""
    if not has(table, task, method):
        raise MissingError
    return table[task][method]


def is_old(table: Table, task: str, method: str) -> bool:
    """Whether the method has changed since it was measured. Raises MissingError."""
    return bool(record_of(table, task, method).get("outdated"))


def ahead(table: Table, task: str, method: str, other: str, measure: str = "psnr_foreground") -> float:
    """Mean over the patients by how much a method is above another. Raises MissingError."""
    mine, theirs = (by_patient(record_of(table, task, name), measure) for name in (method, other))
    return float(np.mean([mine[patient] - theirs[patient] for patient in theirs]))
