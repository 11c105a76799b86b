"""The paper's own data, from a user's local copy: none of it may be passed on, so none of it is here.

    FOLDER/fastmri_knee/{singlecoil,multicoil}_{train,val}/*.h5      fastmri.med.nyu.edu
    FOLDER/fastmri_brain/multicoil_{train,val}/*AXT2*.h5
    FOLDER/m4raw/multicoil_{train,val}/SUBJECT_{T1,T2,FLAIR}0N.h5    zenodo.org/records/8056074
    FOLDER/covid_xray/{metadata.csv,images/}                         github.com/ieee8023/covid-chestxray-dataset

Those who hold a set unpack it as it comes. Volumes are scaled by their maximum, so that a data range of 1 is fastMRI's
convention. In M4Raw the noise is real: the first repetition is denoised, the mean of the others is the reference.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.datasets import Array, Images, Split, picture
from diffdenoise.errors import ConfigError

RECONSTRUCTIONS = ("reconstruction_rss", "reconstruction_esc")  # multi-coil, single-coil
TESTED = 5  # of the radiographs' patients, every fifth is for testing


def fastmri_knee(folder: Path) -> Split:
    """The volumes of the training folder, and those of the validation folder, which have references."""
    return _fastmri(folder / "fastmri_knee", "*.h5")


def fastmri_brain(folder: Path) -> Split:
    """The T2-weighted ones alone, as the paper has it."""
    return _fastmri(folder / "fastmri_brain", "*AXT2*.h5")


def m4raw(folder: Path, contrast: str) -> Split:
    """One contrast of a 0.3 T scanner, repeated two or three times."""
    first = f"*_{contrast}01.h5"
    train, test = ([_repeated(file) for file in _files(folder / "m4raw", part, first)] for part in ("train", "val"))
    return Split(train, test, clean=False)


def covid_xray(folder: Path) -> Split:
    """Frontal radiographs; every fifth patient is for testing."""
    root = folder / "covid_xray"
    with (root / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["modality"] == "X-ray" and row["view"] in ("PA", "AP")]
    patients = sorted({row["patientid"] for row in rows})
    held = set(patients[::TESTED])
    read = lambda row: Images(row["patientid"], picture(root / "images" / row["filename"]))  # noqa: E731
    train = [read(row) for row in rows if row["patientid"] not in held]
    return Split(train, [read(row) for row in rows if row["patientid"] in held], clean=True)


PAPER_DATASETS: dict[str, Callable[[Path], Split]] = {
    "fastmri_knee": fastmri_knee,
    "fastmri_brain": fastmri_brain,
    "m4raw T1": lambda folder: m4raw(folder, "T1"),
    "m4raw T2": lambda folder: m4raw(folder, "T2"),
    "m4raw FLAIR": lambda folder: m4raw(folder, "FLAIR"),
    "covid_xray": covid_xray,
}


def _fastmri(root: Path, pattern: str) -> Split:
    train, test = (
        [Images(file.stem, _volume(file)) for file in _files(root, part, pattern)] for part in ("train", "val")
    )
    return Split(train, test, clean=True)


def _files(root: Path, part: str, pattern: str) -> list[Path]:
    found = sorted(file for folder in root.glob(f"*_{part}") for file in folder.glob(pattern))
    if not found:
        raise ConfigError(f"There is no {pattern} in {root}/…_{part}. Unpack the set there, as it comes.")
    return found


def _repeated(first: Path) -> Images:
    """The first repetition; the others, on the same scale, for the reference."""
    others = [file for file in sorted(first.parent.glob(f"{first.stem[:-2]}0?.h5")) if file != first]
    if not others:
        raise ConfigError(f"{first} has no second repetition beside it.")
    scale = _stored(first).max()
    return Images(first.stem[:-2], _stored(first) / scale, tuple(_stored(file) / scale for file in others))


def _volume(file: Path) -> Array:
    pixels = _stored(file)
    return pixels / pixels.max()


def _stored(file: Path) -> Array:
    import h5py

    with h5py.File(file) as stored:
        name = next((name for name in RECONSTRUCTIONS if name in stored), None)
        if name is None:
            raise ConfigError(f"{file} holds none of {', '.join(RECONSTRUCTIONS)}. Is it a test file without them?")
        return np.asarray(stored[name], dtype=np.float32)
