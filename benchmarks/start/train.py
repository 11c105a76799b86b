"""Train the student on synthetic images with synthetic noise; its weights are what a fit with `start` begins from.

    python -m benchmarks.start.train FOLDER            seven hours on one CPU core
    cp FOLDER/*-*.safetensors src/diffdenoise/training/start/

Goes on where it was stopped. First one network learns all noise: as ALL says, white or correlated, equal or growing
with brightness. From there each of the shipped ones goes on with noise of about one strength, white or correlated: a
fit knows its noise, and takes the one that is nearest. (Several can be trained side by side, by name, once the first
is there.)
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from benchmarks.noises import zero_filled
from benchmarks.start.images import synthetic_images
from diffdenoise.config import StudentSettings
from diffdenoise.noise.models import correlated
from diffdenoise.presets import make_config
from diffdenoise.run_folder import cached
from diffdenoise.scans.atomic import atomic_file
from diffdenoise.training.slices import SliceStore, draw_boxes, write_scan_slices
from diffdenoise.training.stage import Batch, Stage, train
from diffdenoise.training.start import REACH, STARTS, Start
from diffdenoise.training.student import make_student

VOLUMES, SLICES, SIDE = 20, 24, 192  # of the images: 480 in all
EVEN = 0.6  # share of the crops whose noise is as strong everywhere
LONGER = ("white-0.12", "correlated-0.12", "white-0.05")  # docs/start.md: why these
WEIGHT = -1.2  # power of the noise that a crop's error is weighted with: errors fall about so


@dataclass(frozen=True)
class Noises:
    """Of which noise the crops are: standard deviation from low to high, where images span [0, 1]; the share of them
    whose noise is white; of the others' noise the narrowest and the widest kernel in pixels, and how many of them have
    noise that lacks the high frequencies instead, as interpolated images do.
    """

    low: float
    high: float
    white: float
    widths: tuple[float, float]
    band: float


ALL = Noises(0.01, 0.45, 0.5, (0.3, 1.5), 0.0)
BANDS = (0.4, 0.8)  # of the frequencies along an axis, the share that noise of interpolated images has


def noises_of(start: Start) -> Noises:
    """What a start is for."""
    low, high = start.sigma / REACH, start.sigma * REACH
    return Noises(low, high, float(start.white), (0.4, 1.6), 1 / 3)


class StartStage(Stage):
    """Noisy crops in, clean crops wanted, by L2."""

    settings: StudentSettings

    def __init__(self, settings: StudentSettings, clean: SliceStore, noises: Noises, seed: int) -> None:
        super().__init__(make_student(settings), settings, seed)
        self.clean, self.noises = clean, noises

    def batch_at(self, step: int, generator: Generator) -> Batch:
        boxes = draw_boxes(self.clean.shapes, self.seed, step, self.settings.batch, self.settings.crop)
        crops = self.clean.crops(boxes)
        noise, sigma = draw_noise(crops, self.noises, generator)
        return crops + noise, crops, sigma**WEIGHT

    def loss_of(self, batch: Batch, generator: Generator) -> Tensor:
        x_noisy, clean, weight = batch
        return (weight * (self(x_noisy).float() - clean) ** 2).mean()


def draw_noise(crops: Tensor, noises: Noises, generator: Generator) -> tuple[Tensor, Tensor]:
    """(noise like the crops (N, 1, H, W), its strength (N, 1, 1, 1)), of all kinds that these noises are."""
    uniform = lambda: torch.rand(len(crops), 1, 1, 1, generator=generator)  # noqa: E731
    sigma = noises.low * (noises.high / noises.low) ** uniform()
    narrow, wide = noises.widths
    widths = torch.where(uniform() < noises.white, 0.0, narrow + (wide - narrow) * uniform()).flatten()
    growing = torch.where(uniform() < EVEN, 0.0, uniform())
    shape = (1 - growing + growing * crops.clamp(min=0) / 0.4).sqrt()
    banded = (uniform() < noises.band).flatten() & (widths > 0)
    bands = (BANDS[0] + (BANDS[1] - BANDS[0]) * uniform()).flatten()
    fields = [
        zero_filled(crop.shape, float(band), generator) if cut else correlated(0 * crop, 1.0, float(width), generator)
        for crop, width, band, cut in zip(crops, widths, bands, banded, strict=True)
    ]
    return sigma * shape * torch.stack(fields), sigma


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    names = ", ".join(start.name for start in STARTS)
    parser.add_argument("names", nargs="*", help=f"of {names}; all if there is none")
    parser.add_argument(
        "--steps",
        type=int,
        nargs=3,
        default=(12_000, 20_000, 6000),
        help=f"of the first, of {', '.join(LONGER)}, and of each other",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    images = cached(given.folder / "images", f"{VOLUMES} {SLICES} {SIDE} {given.seed}", _draw(given.seed))
    clean, (first, longer, other) = SliceStore(images), given.steps
    general = _trained(given.folder, "all", StartStage(_settings(first), clean, ALL, given.seed), given.device)
    for start in STARTS:
        if start.name in (given.names or [start.name]):
            settings = _settings(longer if start.name in LONGER else other)
            stage = StartStage(settings, clean, noises_of(start), given.seed + 1)
            stage.network.load_state_dict(load_file(general))
            _trained(given.folder, start.name, stage, given.device)


def _settings(steps: int) -> StudentSettings:
    changes = {"steps": steps, "batch": 16, "neighbours": 0, "start": "random"}
    return make_config("fast", {"student": changes}).student


def _trained(folder: Path, name: str, stage: StartStage, device: str) -> Path:
    """The file of the weights, trained unless they are there."""
    file = folder / f"{name}.safetensors"
    if not file.exists():
        train(stage, name, folder / "training" / name, device, _say)
        state = stage.network.state_dict()
        with atomic_file(file) as beside:
            save_file({key: tensor.detach().cpu().half().contiguous() for key, tensor in state.items()}, beside)
        print(f"Weights: {file}")
    return file


def _draw(seed: int):  # type: ignore[no-untyped-def]
    def make(folder: Path) -> None:
        for number in range(VOLUMES):
            images = synthetic_images(SLICES, SIDE, 1000 * (seed + 1) + number)
            write_scan_slices(folder, number, images[:, None])

    return make


def _say(what: str, done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
