"""Crops of noisy slices on which a student is tried, made noisier by recorruption (see `noise.recorruption`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.noise.phases import noise_like
from diffdenoise.noise.rays import amplitudes_over, draw_along
from diffdenoise.noise.recorruption import recorrupt
from diffdenoise.quality.reference import foreground

CROPS, SIDE = 8, 160  # at most; pixels
ALPHA = 0.3  # more, and the student sees more noise than it was trained on; less, and little is known of what is wanted


class Crop(NamedTuple):
    """A part of a slice.

    seen: what the student is given, (1, C, H, W), the slice itself first; own: which channels are that, (C, 1, 1);
    level: of its noise; z: noise like that, (1, 1, H, W); object: what is no background, likewise; over: how many times
    as strong as its brightness says noise is there.
    """

    seen: Tensor
    own: Tensor
    level: NoiseLevel
    z: Tensor
    object: Tensor
    over: np.ndarray | float


def middle_of(seen: Tensor, own: list[bool], level: NoiseLevel, seed: int) -> Crop:
    """The middle of a slice (1, C, H, W) and of its neighbours, with noise like its own."""
    x_noisy, over = seen[:, :1], level.over(seen.shape)
    generator = torch.Generator().manual_seed(seed)
    along = amplitudes_over(x_noisy[0, 0].numpy(), level.rays) if level.rays else None
    unit = None if along is None else draw_along(along, level.texture, generator)
    z = noise_like(x_noisy, level, level.texture, generator, over, unit)
    rows, columns = (slice(start, start + SIDE) for start in (max(0, (side - SIDE) // 2) for side in seen.shape[-2:]))
    there = over[..., rows, columns] if isinstance(over, np.ndarray) else over
    own_channels, image = torch.tensor(own)[:, None, None], objects(x_noisy)
    return Crop(seen[..., rows, columns], own_channels, level, z[..., rows, columns], image[..., rows, columns], there)


def objects(x_noisy: Tensor) -> Tensor:
    """What is imaged in a whole slice (1, 1, H, W), holes in it included; the same shape, boolean, on the CPU."""
    return torch.from_numpy(foreground(x_noisy.cpu().numpy()))


def spread_over(count: int) -> list[int]:
    """Numbers of CROPS of so many slices, evenly spread; of fewer, all."""
    return np.linspace(0, count - 1, min(CROPS, count)).round().astype(int).tolist()


class Tried(NamedTuple):
    """What a student said of a crop with z and with -z; given, said: (2, 1, H, W), on its device."""

    crop: Crop
    given: Tensor
    said: Tensor


def try_on(student: Callable[[Tensor], Tensor], crop: Crop, device: str) -> Tried:
    """The crop made noisier, and what the student says of it."""
    given, _ = recorrupt(crop.seen[:, :1], torch.cat([crop.z, -crop.z]), ALPHA)
    with torch.no_grad():
        shown = [torch.where(crop.own, image, crop.seen).to(device) for image in given]
        return Tried(crop, given.to(device), torch.cat([student(seen).float() for seen in shown]))
