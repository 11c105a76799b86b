"""The images of the benchmark, split by patient; each set is a function of the folder that holds the data.

A set of clean images gets simulated noise. A set of measured ones is denoised as it is and compared with repetitions
that were neither input nor training data. All are scaled to about [0, 1].
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Array = np.ndarray  # (slices, rows, columns), float32

SEEN, SIGMA = 1.5, 25 / 255  # signal-to-noise ratio of faint blobs, in this noise
WIDTHS = (1.0, 2.0, 4.0)  # pixels, of blobs like exp(-r^2 / 2 w^2)
APART = 36  # pixels; of blobs


@dataclass(frozen=True)
class Images:
    """One patient's images (a scan, a radiograph); where several images belong to a patient, it is named alike.

    further: repetitions of the same object, each like pixels, for measured noise; inside: where to score, None: the
    foreground of the reference.
    """

    patient: str
    pixels: Array
    further: tuple[Array, ...] = ()
    inside: np.ndarray | None = None


@dataclass(frozen=True)
class Split:
    """train and test come from different patients; with one subject alone from blocks of slices.

    clean: pixels are references, noise is to be added. Without a `train` part the test images are trained on.
    inserts: present in the first half of the test images and absent in the second: name -> (row, column), or several.
    """

    train: list[Images]
    test: list[Images]
    clean: bool
    inserts: dict[str, tuple[int, int] | list[tuple[int, int]]] = field(default_factory=dict)


def chest_xrays(folder: Path, tested: int = 12) -> Split:
    """Radiographs of 47 patients, 8 bit: one image of each of the last 12 patients against all of the other 35."""
    with (folder / "cxr_hannover" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    patients = sorted({row["patient_id"] for row in rows})
    held = patients[-tested:]
    of = lambda row: folder / "cxr_hannover" / "png" / f"{row['image_id']}.png"  # noqa: E731
    read = lambda row: Images(row["patient_id"], picture(of(row)))  # noqa: E731
    first = {row["patient_id"]: row for row in reversed(rows)}
    return Split([read(row) for row in rows if row["patient_id"] not in held], [read(first[p]) for p in held], True)


def chest_xrays_reduced(folder: Path) -> Split:
    """The same radiographs, the mean of each 3 x 3 pixels: finer anatomy for its pixels, and next to none of the grain.

    Noise is added after that, so that what the references have of their own hardly counts beside it.
    """
    split = chest_xrays(folder)
    small = lambda images: [Images(image.patient, reduced(image.pixels)) for image in images]  # noqa: E731
    return Split(small(split.train), small(split.test), True)


def mr_3t(folder: Path) -> Split:
    """T1w, T2w and FLAIR slices of three people at 3 T: one for testing."""
    files = sorted((folder / "mri_ulf_055T" / "subjects_3T").glob("*.nii.gz"))
    scans = [Images(file.name[:6], _scaled(_volume(file))) for file in files]
    return Split([s for s in scans if s.patient != "sub-7A"], [s for s in scans if s.patient == "sub-7A"], True)


def colin27(folder: Path) -> Split:
    """Axial slices of the mean of 27 scans of one head: 60 for training, ten from 10 mm above for testing."""
    volume = _colin(folder)
    test = [Images(f"slice {number}", volume[number : number + 1].copy()) for number in range(110, 150, 4)]
    return Split([Images("Colin", volume[40:100].copy())], test, True)


def colin27_volume(folder: Path) -> Split:
    """The same, with all 40 slices from 10 mm above for testing, as one volume."""
    volume = _colin(folder)
    return Split([Images("Colin", volume[40:100].copy())], [Images("Colin, above", volume[110:150].copy())], True)


def colin27_faint(folder: Path) -> Split:
    """The same training slices; one slice from above them, 60 times with faint blobs in it and 60 times without."""
    split = colin27(folder)
    return faint(split.train, split.test[4].pixels, 60)


def chest_xray_faint(folder: Path) -> Split:
    """The same radiographs for training; the middle of another patient's, 40 times with faint blobs and 40 without."""
    split = chest_xrays(folder)
    whole = split.test[0].pixels
    rows, columns = (slice((side - 256) // 2, (side + 256) // 2) for side in whole.shape[1:])
    return faint(split.train, whole[:, rows, columns], 40)


def philips_b0(folder: Path) -> Split:
    """Two of five b0 volumes of a diffusion scan; the other three are the reference."""
    series = _series(folder / "mri_philips_dwi" / "dwi_17vol.nii.gz")[:5] / np.float32(2000)
    test = [Images(f"repetition {n}", series[n], tuple(series[2:])) for n in range(2)]
    return Split([], test, False)


def bold(folder: Path) -> Split:
    """Twenty frames of a functional scan; twenty later ones are the reference."""
    series = _series(folder / "mri_studyforrest_bold" / "bold_first40.nii.gz") / np.float32(700)
    test = [Images(f"frame {n}", series[n], tuple(series[20:])) for n in range(20)]
    return Split([], test, False)


def ct_phantom(folder: Path) -> Split:
    """Low-contrast CT phantom, simulated FBP, a tenth of the dose: ten images with inserts, ten without."""
    stored = np.load(folder / "ct_lcd_sim_fbp" / "lcd_ct_fbp.npz")
    truth = stored["ground_truth_raw"].astype(np.float32)
    inside = _disk(truth.shape, 100)[None]
    absent = np.where(inside[0], np.float32(1000), truth)
    test = [
        Images(f"{name} {number}", image[None].astype(np.float32) / 1000, (truth_[None] / 1000,), inside)
        for name, truth_ in (("present", truth), ("absent", absent))
        for number, image in enumerate(stored[f"dose010_{name}"])
    ]
    inserts = {"14 HU, 3 mm": (94, 160), "7 HU, 5 mm": (95, 95), "5 HU, 7 mm": (160, 95), "3 HU, 10 mm": (160, 160)}
    return Split([], test, False, inserts)


def phantom_pairs(folder: Path) -> Split:
    """MR phantoms of five scanners, scanned twice: the second scan, as noisy as the first, is the reference."""
    test = []
    for pair in sorted((folder / "mri_phantom_hazen" / "snr_pairs").iterdir()):
        a, b = (_dicom(file) for file in sorted(pair.iterdir()))
        test.append(Images(pair.name, a / np.quantile(a, 0.999), (b / np.quantile(a, 0.999),)))
    return Split([], test, False)


def low_field(folder: Path) -> Split:
    """Three people at 0.055 T: strong Rician noise and no reference."""
    files = sorted((folder / "mri_ulf_055T" / "subjects_055T").glob("*.nii.gz"))
    return Split([], [Images(file.name[:-7], _scaled(_volume(file))) for file in files], False)


DATASETS: dict[str, Callable[[Path], Split]] = {
    "colin27": colin27,
    "colin27 volume": colin27_volume,
    "colin27 faint": colin27_faint,
    "xray": chest_xrays,
    "xray faint": chest_xray_faint,
    "xray reduced": chest_xrays_reduced,
    "mr3t": mr_3t,
    "b0": philips_b0,
    "bold": bold,
    "ct": ct_phantom,
    "phantoms": phantom_pairs,
    "lowfield": low_field,
}


def own_folder(folder: Path) -> Split:
    """A user's clean scans: a sub-folder (or, without any, a file) a patient; the last third is for testing."""
    from diffdenoise.scans.files import find, read_scan

    found, errors = find([folder])
    if errors:
        raise errors[0]
    scans = []
    for item in found:
        parts = item.paths[0].relative_to(folder).parts
        scans.append(Images(parts[0], _scaled(read_scan(item).pixels)))
    patients = sorted({scan.patient for scan in scans})
    held = patients[-max(1, len(patients) // 3) :]
    test = [scan for scan in scans if scan.patient in held]
    return Split([scan for scan in scans if scan.patient not in held], test, True)


def faint(train: list[Images], clean: Array, times: int) -> Split:
    """Blobs of three widths on a grid, so faint that an ideal observer of white noise has an AUC of 0.86.

    Width w and height A make sqrt(pi) w A / sigma the signal-to-noise ratio of such an observer.
    """
    rows, columns = np.indices(clean.shape[1:])
    blobs, inserts = np.zeros_like(clean), {f"{width:g} px": [] for width in WIDTHS}
    for i, j in np.ndindex(4, 3):
        width = WIDTHS[(i + j) % len(WIDTHS)]
        row, column = (
            side // 2 + APART * at // 2 for side, at in zip(clean.shape[1:], (2 * i - 3, 2 * j - 2), strict=True)
        )
        distance = np.hypot(rows - row, columns - column)
        blobs += SEEN * SIGMA / (np.sqrt(np.pi) * width) * np.exp(-((distance / width) ** 2) / 2)
        inserts[f"{width:g} px"].append((row, column))
    there = [
        Images(f"{name} {n}", image)
        for name, image in (("present", clean + blobs), ("absent", clean))
        for n in range(times)
    ]
    return Split(train, there, True, inserts)


def _colin(folder: Path) -> Array:
    return _volume(folder / "mri_colin27" / "colin27_ch2.nii.gz")[:, ::-1] / np.float32(255)


def picture(file: Path) -> Array:
    """One grey 8-bit picture, (1, rows, columns) in [0, 1]."""
    from PIL import Image

    return np.asarray(Image.open(file).convert("L"), dtype=np.float32)[None] / 255


def _volume(file: Path) -> Array:
    import nibabel

    pixels = np.asarray(nibabel.load(file).dataobj, dtype=np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 1, 0))


def _series(file: Path) -> Array:
    import nibabel

    return np.ascontiguousarray(np.asarray(nibabel.load(file).dataobj, dtype=np.float32).transpose(3, 2, 1, 0))


def _dicom(file: Path) -> Array:
    import pydicom

    return pydicom.dcmread(file).pixel_array.astype(np.float32)[None]


def _scaled(pixels: Array) -> Array:
    return pixels / np.float32(np.quantile(pixels, 0.999))


def reduced(pixels: Array, times: int = 3) -> Array:
    """The mean of each `times` x `times` pixels of each slice; what is left over at the far edges is cut off."""
    slices, rows, columns = (side // step for side, step in zip(pixels.shape, (1, times, times), strict=True))
    whole = pixels[:, : rows * times, : columns * times]
    return whole.reshape(slices, rows, times, columns, times).mean((2, 4))


def _disk(shape: tuple[int, ...], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - (shape[0] - 1) / 2, columns - (shape[1] - 1) / 2) < radius
