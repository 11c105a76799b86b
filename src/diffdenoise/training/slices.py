"""Normalised slices on disk, memory-mapped, and the crops a training step draws from them.

A store is a folder with one .npy file per scan, shape (slices, channels, rows, columns), float32. Which crops a step
sees is a function of (seed, step) alone, so that a resumed training equals an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffdenoise.errors import ConfigError
from diffdenoise.scans.atomic import atomic_file

SMALLEST_CROP = 16
MOST_OPEN = 64  # files of a store at a time: scans may be more than a process may open


@dataclass(frozen=True)
class Box:
    """A crop: scan and slice number, corner, side, and one of the eight symmetries of the square."""

    scan: int
    slice: int
    row: int
    column: int
    side: int
    turn: int


class Mapped(Sequence[np.ndarray]):
    """Arrays in .npy files, each mapped into memory when it is asked for, and few at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._opened = lru_cache(MOST_OPEN)(lambda number: np.load(paths[number], mmap_mode="r"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: Any) -> Any:
        """The array of this number; IndexError beyond the last."""
        return self._opened(number)


class SliceStore:
    """Reads a folder of scans; `shapes` are (slices, channels, rows, columns) per scan.

    frames: of each scan, so many volumes lie one after the other; one each if not given. alone: of each scan, whether
    its slices count as without neighbours, for they share noise; none do if not given.
    """

    sums = False  # whether a slice is a sum of images, each with noise of its own

    def __init__(self, folder: Path, frames: list[int] | None = None, alone: list[bool] | None = None) -> None:
        self.folder = folder
        self.arrays = Mapped(scans_of(folder))
        self.shapes = [array.shape for array in self.arrays]
        self.frames = frames or [1] * len(self.shapes)
        self.alone = alone or [False] * len(self.shapes)

    def slice(self, scan: int, index: int) -> Tensor:
        """One slice, (channels, rows, columns)."""
        return torch.from_numpy(np.array(self.arrays[scan][index]))

    def crops(self, boxes: list[Box]) -> Tensor:
        """(len(boxes), channels, side, side), contiguous."""
        return torch.from_numpy(np.stack([cut(self.arrays[box.scan][box.slice], box) for box in boxes]))

    def parts(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """What a crop is the sum of: so much (K,) of images (K, side, side) whose noise is independent; here of one."""
        return np.ones(1, np.float32), self.crops([box])[0].numpy()

    def neighbour(self, box: Box, offset: int) -> Box | None:
        """The same place so many slices further on, None beyond the ends of the volume and where slices are alone."""
        if self.alone[box.scan]:
            return None
        there = neighbour(box.slice, offset, self.shapes[box.scan][0], self.frames[box.scan])
        return None if there is None else replace(box, slice=there)


def neighbour(number: int, offset: int, slices: int, frames: int) -> int | None:
    """The slice so many further on in the same of several volumes that lie one after the other, None if none is."""
    there, size = number + offset, slices // frames
    return there if 0 <= there < slices and there // size == number // size else None


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The crop of one slice, (channels, rows, columns)."""
    crop = image[:, box.row : box.row + box.side, box.column : box.column + box.side]
    crop = np.rot90(crop, box.turn % 4, axes=(1, 2))
    return crop[..., ::-1] if box.turn >= 4 else crop


def scans_of(folder: Path) -> list[Path]:
    """The files of a store, by number; what a killed process left half-written has another name."""
    return sorted(folder.glob("[0-9]*.npy"), key=lambda path: int(path.stem))


def write_scan_slices(folder: Path, index: int, slices: np.ndarray) -> None:
    """Add one scan, (slices, channels, rows, columns), to a store."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{index:05d}.npy", np.ascontiguousarray(slices, dtype=np.float32))


def fill_store(
    folder: Path,
    shapes: list[tuple[int, ...]],
    make: Callable[[int, int], Tensor],
    chosen: list[list[int]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """A store of these shapes with make(scan, slice), (channels, rows, columns), for the chosen slices, all if None.

    The others stay NaN. So do those that an interruption left undone: called again, it goes on with them.
    """
    chosen = chosen or [list(range(shape[0])) for shape in shapes]
    done, total = 0, sum(map(len, chosen))
    for scan, (shape, indices) in enumerate(zip(shapes, chosen, strict=True)):
        path = folder / f"{scan:05d}.npy"
        if not path.exists():
            _write_empty(path, shape)
        images = np.lib.format.open_memmap(path, "r+")
        for index in indices:
            if np.isnan(images[index]).any():
                images[index] = make(scan, index).float().cpu().numpy()
            done += 1
            progress(done, total)


def _write_empty(path: Path, shape: tuple[int, ...]) -> None:
    """An array of NaN, slice by slice: a full disk is an error here, through a memory map it would kill the process."""
    empty = np.full(shape[1:], np.nan, np.float32)
    head = {"descr": np.lib.format.dtype_to_descr(empty.dtype), "fortran_order": False, "shape": shape}
    with atomic_file(path) as beside, beside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        for _ in range(shape[0]):
            file.write(empty.tobytes())


def is_usable(shape: tuple[int, ...]) -> bool:
    """Whether slices of this shape are large enough to train on."""
    return min(shape[-2:]) >= SMALLEST_CROP


def draw_boxes(
    shapes: list[tuple[int, ...]],
    seed: int,
    step: int,
    count: int,
    crop: int,
    chosen: Sequence[Sequence[int]] | None = None,
) -> list[Box]:
    """`count` random crops, every slice equally likely, from the generator of (seed, step).

    crop: wanted side in pixels; smaller where one of the drawn slices is. chosen: slice numbers to draw from per scan,
    all if None. Raises ConfigError if no scan is at least SMALLEST_CROP pixels wide and high.
    """
    usable = [scan for scan, shape in enumerate(shapes) if is_usable(shape)]
    if not usable:
        raise ConfigError(f"Every image is smaller than {SMALLEST_CROP} pixels on a side: too little to train on.")
    numbers = chosen or [range(shape[0]) for shape in shapes]
    ends = np.cumsum([len(numbers[scan]) for scan in usable])
    random = np.random.default_rng([seed, step])
    drawn = []
    for place in random.integers(ends[-1], size=count):
        index = int(np.searchsorted(ends, place, side="right"))
        drawn.append((usable[index], numbers[usable[index]][int(place - ends[index])]))  # counted from the scan's end
    side = min(crop, *(min(shapes[scan][-2:]) for scan, _ in drawn))
    boxes = []
    for scan, number in drawn:
        rows, columns = shapes[scan][-2:]
        corner = random.integers(rows - side + 1), random.integers(columns - side + 1)
        boxes.append(Box(scan, number, int(corner[0]), int(corner[1]), side, int(random.integers(8))))
    return boxes
