"""Whole fits with the package's own pipeline, and what is needed to look at each of their stages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.ablations.lab import Lab, Task, as_array
from diffdenoise.inference import noise_level
from diffdenoise.model_file import Model
from diffdenoise.noise.estimate import NoiseLevel
from diffdenoise.normalisation import normalise, restore
from diffdenoise.pipeline import fit
from diffdenoise.preparation import Source
from diffdenoise.presets import make_config
from diffdenoise.rounds import image_seed
from diffdenoise.scans.scan import Scan


@dataclass(frozen=True)
class Fitted:
    """A model, its test slices normalised, (N, 1, H, W), and the way back: images (N, 1, H, W) to arrays in [0, 1]."""

    model: Model
    x_noisy: Tensor
    level: NoiseLevel
    scale: float
    seeds: list[int]
    back: Callable[[Tensor], np.ndarray]


def fitted(lab: Lab, task: Task, name: str, overrides: dict[str, Any]) -> Fitted:
    """The preset of the lab's size with changes, fitted on the task's noisy training slices alone."""
    config = make_config(lab.size.preset, {**overrides, "seed": task.seed})
    source = Source(task.name, lambda: Scan(task.noisy[0], task.name, "npy"))
    model = fit([source], config, lab.folder / f"fit-{name}", lab.device).model.to(lab.device)
    noisy = task.noisy[1]
    offset, scale = model.normalisation.range_of(noisy)
    x_noisy = torch.from_numpy(normalise(noisy, offset, scale))[:, None].to(lab.device)
    level, seeds = noise_level(model, noisy, offset, scale), [image_seed(0, image) for image in noisy]
    return Fitted(model, x_noisy, level, scale, seeds, lambda images: restore(as_array(images), offset, scale))
