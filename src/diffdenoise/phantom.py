"""The demo's images: slices of a brain without noise, and known fine details drawn into them.

The brain is the MNI ICBM152 2009a symmetric T1 template at 1 mm (Fonov et al. 2011), skull and scalp removed, which
nilearn's wheel carries. A mean of 152 people, it is free of noise and soft: the details put back what it lacks at 1
to 3 pixels.
"""

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from diffdenoise.errors import ConfigError
from diffdenoise.quality.reference import Mask, foreground

Floats = NDArray[np.float32]

VOLUME = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
INSTALL = "Install it, in the checkout, with: pip install '.[demo]'"
TISSUE = 0.15  # darker pixels (air in the filled outline) get no details
RIM = 3  # pixels within the outline kept free of details
GAP = 3  # pixels between two details at least
TRIES = 20  # places tried for a detail that would leave [0, 1]


@dataclass(frozen=True)
class Kind:
    """A kind of detail: how many a slice gets, its size in pixels, its contrasts (of [0, 1])."""

    count: int
    diameters: tuple[int, ...]
    contrasts: tuple[float, float]
    length: tuple[int, int] = (0, 0)


DOTS = Kind(count=22, diameters=(1, 2, 3), contrasts=(0.15, 0.4))
LINES = Kind(count=12, diameters=(1,), contrasts=(0.12, 0.4), length=(7, 15))
DISKS = Kind(count=6, diameters=(6, 7, 8, 9), contrasts=(0.08, 0.12))


def mni_slices(first: int, count: int, step: int = 1) -> Floats:
    """Axial T1 slices (count, 233, 197) in [0, 1], 1 mm pixels, anterior up, the patient's right on the left.

    `first` counts from the neck (0) to the crown (188). Raises ConfigError if nilearn is not installed or the volume
    has no such slices.
    """
    volume = _volume()
    last = first + (count - 1) * step
    if count < 1 or step < 1 or first < 0 or last >= volume.shape[2]:
        raise ConfigError(f"slices {first} to {last} by {step}: the volume has slices 0 to {volume.shape[2] - 1}")
    axial = volume[::-1, ::-1, first : last + 1 : step]  # stored right-, anterior- and upwards
    return np.ascontiguousarray(axial.transpose(2, 1, 0), dtype=np.float32) / np.float32(255)


def add_details(slices: Floats, seed: int) -> tuple[Floats, Floats]:
    """Draw about 40 known fine details into each slice; returns (slices + detail, detail), both (slices, rows, cols).

    Dots of 1, 2 and 3 px, lines 1 px wide, and faint disks of 6 to 9 px, bright and dark, contrast 0.08 to 0.4, inside
    the brain and apart from each other; fewer where there is no room. The result stays within [0, 1]. Slice i depends
    on its image, `seed` and i alone.
    """
    slices = np.asarray(slices, dtype=np.float32)
    detail = np.stack([_slice_details(image, np.random.default_rng([seed, i])) for i, image in enumerate(slices)])
    return slices + detail, detail


def _slice_details(image: Floats, rng: np.random.Generator) -> Floats:
    from scipy import ndimage

    inside = ndimage.binary_erosion(foreground(image), iterations=RIM)
    free = inside & (image > TISSUE)
    detail = np.zeros_like(image)
    for kind in (DISKS, LINES, DOTS):  # the large ones first, while there is room
        for _ in range(kind.count):
            drawn = _draw(image, free, kind, rng)
            detail += drawn
            free &= ~ndimage.binary_dilation(drawn != 0, np.ones((3, 3)), iterations=GAP)
    return detail


def _draw(image: Floats, free: Mask, kind: Kind, rng: np.random.Generator) -> Floats:
    """One detail on free pixels, (rows, cols); all zero if there is no room for it."""
    from scipy import ndimage

    stroke = _stroke(rng.uniform(*kind.length), rng.uniform(0, np.pi), float(rng.choice(kind.diameters)))
    contrast = np.float32(rng.uniform(*kind.contrasts) * rng.choice((-1, 1)))
    offsets = np.argwhere(stroke > 0) - len(stroke) // 2
    centres = np.argwhere(ndimage.binary_erosion(free, stroke > 0))
    for centre in rng.permutation(centres)[:TRIES]:
        pixels = tuple((centre + offsets).T)
        for signed in (contrast, -contrast):  # the other sign where this one would leave [0, 1]
            changed = image[pixels] + signed * stroke[stroke > 0]
            if changed.min() >= 0 and changed.max() <= 1:
                drawn = np.zeros_like(image)
                drawn[pixels] = signed * stroke[stroke > 0]
                return drawn
    return np.zeros_like(image)


def _stroke(length: float, angle: float, diameter: float) -> Floats:
    """The share of each pixel that a straight stroke of a round pen covers, on an odd square; length 0 is a dot."""
    reach = int(np.ceil((length + diameter) / 2 + 0.5))
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = np.clip(rows * np.sin(angle) + cols * np.cos(angle), -length / 2, length / 2)
    distance = np.hypot(rows - along * np.sin(angle), cols - along * np.cos(angle))
    return np.clip(diameter / 2 + 0.5 - distance, 0, 1).astype(np.float32)


def _volume() -> NDArray[np.uint8]:
    """The template, uint8 (197, 233, 189), axes right, anterior, superior."""
    import nibabel

    try:
        source = resources.files("nilearn") / "datasets" / "data" / VOLUME
    except ImportError as error:
        raise ConfigError(f"The demo's volume comes with nilearn, which is not installed. {INSTALL}") from error
    if not source.is_file():
        raise ConfigError(f"This nilearn does not carry {VOLUME}. {INSTALL}")
    with resources.as_file(source) as path:
        return np.asarray(nibabel.load(path).dataobj, dtype=np.uint8)  # type: ignore[attr-defined]
