"""Whole fits with the package's own pipeline, and what is needed to look at each of their stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks.ablations.lab import Lab, Task, as_array
from diffdenoise import second_opinion
from diffdenoise.domain import Domain
from diffdenoise.inference import denoise_slices, domain_of, second_opinion_on, seen_beside
from diffdenoise.model import Model
from diffdenoise.pipeline import fit
from diffdenoise.preparation import Source
from diffdenoise.presets import make_config
from diffdenoise.quality.reference import foreground
from diffdenoise.rounds import image_seed
from diffdenoise.run_folder import key_of
from diffdenoise.scans.scan import Scan
from diffdenoise.second_opinion import Shares
from diffdenoise.symmetry import over_symmetries


@dataclass(frozen=True)
class Fitted:
    """A model, and the test slices as it sees them, (N, 1, H, W)."""

    model: Model
    x_noisy: Tensor
    domain: Domain
    seeds: list[int]

    def back(self, images: Tensor) -> np.ndarray:
        """Images (N, 1, H, W) as the model sees them to arrays in [0, 1]."""
        return self.domain.back(as_array(images))


def without_teacher(lab: Lab, scans: Mapping[str, np.ndarray], overrides: dict[str, Any]) -> Model:
    """The preset `fast` at the lab's number of steps, fitted on noisy scans ([T,] slices, rows, columns) by name."""
    student = {"steps": lab.size.student, **overrides.get("student", {})}
    config = make_config("fast", {**overrides, "student": student}, lab.device)
    sources = [Source(name, partial(_scan, scan, name)) for name, scan in scans.items()]
    folder = lab.folder / f"alone-{key_of(sorted(scans), config.model_dump(mode='json'))}"
    return fit(sources, config, folder, lab.device).model.to(lab.device)


def _scan(pixels: np.ndarray, name: str) -> Scan:
    return Scan(pixels.reshape(-1, *pixels.shape[-2:]), name, "npy", frames=len(pixels) if pixels.ndim == 4 else 1)


@dataclass(frozen=True)
class Opinions:
    """What a model says of a scan: by the mean over eight turns, and if only the second opinion counted.

    shares: those of the second opinion; single: what they would be if the scan bore out one for the object and the
    background together; inside: what counts as the object.
    """

    first: np.ndarray
    second: np.ndarray
    shares: Shares
    single: Shares
    inside: np.ndarray

    def mixed(self, shares: Shares) -> np.ndarray:
        """The result by other shares."""
        share = np.where(self.inside, *map(np.float32, shares))
        return self.first + share * (self.second - self.first)


def opinions(model: Model, scan: np.ndarray, device: str) -> Opinions:
    """Of a scan (slices, rows, columns); the model has a second opinion."""
    assert model.second_opinion
    student, domain = partial(over_symmetries, model.student), domain_of(model, scan)
    ask = partial(second_opinion_on, model, domain, scan, seen_beside(model, scan), student, 1, device)
    found = ask()
    with patch.object(second_opinion, "KNOWN", 0.0):
        single = ask()
    alone = replace(model, second_opinion=replace(model.second_opinion, shares=Shares(1.0, 1.0)))
    first = denoise_slices(model, scan, "ensemble", device=device).pixels
    second = denoise_slices(alone, scan, "second_opinion", device=device).pixels
    shares = [one.shares if one else Shares(0.0, 0.0) for one in (found, single)]
    return Opinions(first, second, *shares, np.stack([foreground(image) for image in domain.into(scan)]))


def fitted(lab: Lab, task: Task, name: str, overrides: dict[str, Any]) -> Fitted:
    """The preset of the lab's size with changes, fitted on the task's noisy training slices alone."""
    config = make_config(lab.size.preset, {**overrides, "seed": task.seed})
    source = Source(task.name, lambda: Scan(task.noisy[0], task.name, "npy"))
    model = fit([source], config, lab.folder / f"fit-{name}", lab.device).model.to(lab.device)
    noisy = task.noisy[1]
    domain, seeds = domain_of(model, noisy), [image_seed(0, image) for image in noisy]
    return Fitted(model, torch.from_numpy(domain.into(noisy))[:, None].to(lab.device), domain, seeds)
