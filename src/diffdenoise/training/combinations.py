"""Slices that are combinations of the frames of a series, made from the frames when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from diffdenoise.training.slices import Box, SliceStore, cut


class CombinationStore(SliceStore):
    """The scans of another store, of one channel, each with a volume for every row of its weights in place of a frame.

    weights: (volumes, frames) for each scan, how much of each frame there is in a volume; None leaves the frames alone.
    """

    sums = True

    def __init__(self, noisy: SliceStore, weights: Sequence[np.ndarray | None]) -> None:
        super().__init__(noisy.folder, alone=noisy.alone)
        self.weights = [
            np.eye(frames, dtype=np.float32) if rows is None else rows
            for rows, frames in zip(weights, noisy.frames, strict=True)
        ]
        self.places = [shape[0] // frames for shape, frames in zip(noisy.shapes, noisy.frames, strict=True)]
        self.frames = [len(rows) for rows in self.weights]
        volumes = zip(self.frames, self.places, noisy.shapes, strict=True)
        self.shapes = [(count * places, *shape[1:]) for count, places, shape in volumes]

    def slice(self, scan: int, index: int) -> Tensor:
        """One slice of a volume, (1, rows, columns)."""
        weights, frames = self._summed(scan, index)
        return torch.from_numpy(np.tensordot(weights, frames, 1))[None]

    def crops(self, boxes: list[Box]) -> Tensor:
        """(len(boxes), 1, side, side), contiguous."""
        made = [np.tensordot(weights, frames, 1)[None] for weights, frames in map(self.parts, boxes)]
        return torch.from_numpy(np.stack(made))

    def parts(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """What a crop is the sum of: so much (K,) of the crops (K, side, side) of frames, those that count."""
        weights, frames = self._summed(box.scan, box.slice)
        return weights, np.array(cut(frames, replace(box, slice=0)))

    def _summed(self, scan: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        volume, place = divmod(index, self.places[scan])
        weights = self.weights[scan][volume]
        frames = self.arrays[scan][place :: self.places[scan], 0]
        alone = np.flatnonzero(weights)
        return (weights, frames) if len(alone) > 1 else (weights[alone], frames[alone])
